"""SIGTERM: sockets are told, what was acknowledged is settled or journalled, and the exit code is 0."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.system.listener import GOING_AWAY, Listener, listening
from tests.system.load import loading
from tests.system.product import STOP_WITHIN_S, Product

SOCKETS = 5


@asynccontextmanager
async def sockets(product: Product, token: str) -> AsyncIterator[list[Listener]]:
    """Several open sockets of one user."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(listening(product.socket_url, token=token)) for _ in range(SOCKETS)]


async def test_sigterm_under_load_loses_nothing_and_tells_the_sockets(own_product: Product) -> None:
    product = own_product
    await product.start()
    person = await product.person("trader")
    async with loading(product, person) as load, sockets(product, person.token) as open_sockets:
        await load.acknowledges(60)
        product.terminate()
        assert [await socket.close_code() for socket in open_sockets] == [GOING_AWAY] * SOCKETS
        assert await product.ended(within_s=STOP_WITHIN_S) == 0, product.last_words()
    assert set(load.refused) <= {503}, "whoever still comes in is told to come again, if anything"
    await product.start()
    await load.settled()
    assert await product.ledger.faults(person.id) == []


async def test_sigterm_while_a_client_reads_nothing_still_ends(own_product: Product) -> None:
    """A client that answers no close frame must not hold the process up."""
    product = own_product
    await product.start()
    person = await product.person("trader")
    async with product.client() as client, AsyncExitStack() as stack:
        # Its own reader stops after one message, so the close frame stays unread.
        deaf = await stack.enter_async_context(
            listening(product.socket_url, additional_headers=person.bearer, max_queue=1, close_timeout=0.1)
        )
        await deaf.heard()
        await person.accepted(client, ticker="NQ1!", action="buy", price="18250.25")
        product.terminate()
        assert await product.ended(within_s=STOP_WITHIN_S) == 0, product.last_words()


async def test_sigint_stops_it_with_exit_code_0_too(own_product: Product) -> None:
    await own_product.start()
    own_product.process.send_signal(signal.SIGINT)
    assert await own_product.ended(within_s=STOP_WITHIN_S) == 0, own_product.last_words()
