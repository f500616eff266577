"""Rubbish on a WebSocket is answered or ends that socket, and no other."""

import httpx
import pytest

from tests.system.listener import listening
from tests.system.person import Person
from tests.system.product import Product
from tests.system.trading import trades

pytestmark = pytest.mark.usefixtures("unharmed")

TOO_LARGE = 1009
FRAMES = {
    "no JSON": "hello",
    "half an object": '{"type":',
    "null": "null",
    "another type": '{"type":"rule the world"}',
    "channels that are none": '{"type":"subscribe","channels":["everything"]}',
    "channels that are no list": '{"type":"subscribe","channels":"trades"}',
    "a surrogate": '{"type":"resume","after":"\\ud800"}',
    "NUL": '{"type":"resume","after":"\\u0000"}',
    "depth": "[" * 5000,
    "binary": b"\x00\xff\xfe",
    "an empty binary frame": b"",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize("known", [True, False], ids=["authenticated", "a stranger"])
async def test_rubbish_on_a_websocket_is_answered_or_ends_it(
    product: Product, client: httpx.AsyncClient, victim: Person, frame: str | bytes, known: bool
) -> None:
    await trades(product, client, victim)  # from now on there is a trade, and each alert updates it
    async with listening(product.socket_url, token=victim.token if known else None) as socket:
        await socket.send(frame)
        if not known:
            assert await socket.close_code() == 4401
            return
        await socket.heard()
        signal_id = await trades(product, client, victim)
        await socket.event("trade.updated", signal_id=signal_id)


@pytest.mark.parametrize("size", [20_000, 1_000_000])
async def test_a_huge_frame_ends_the_websocket(product: Product, victim: Person, size: int) -> None:
    """The server has to close the connection too (RFC 6455, 7.1.1): until it has, this client waits."""
    async with listening(product.socket_url, token=victim.token, close_timeout=15) as socket:
        await socket.send("x" * size)
        assert await socket.close_code(within_s=10) == TOO_LARGE
