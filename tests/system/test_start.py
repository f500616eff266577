"""A start that cannot succeed ends with one sentence that says what to do."""

import socket

from tests.system.product import Product


async def test_a_port_that_is_taken_is_named_with_what_to_do(own_product: Product) -> None:
    with socket.create_server(("127.0.0.1", own_product.port)):
        own_product.spawn()
        assert await own_product.ended(within_s=60) == 1
    (line,) = own_product.errors.read_text("utf-8").splitlines()
    assert f"cannot listen on 127.0.0.1:{own_product.port}: Address already in use" in line
    assert "set PORT" in line
