"""Clients that dawdle or leave in the middle hold nobody up."""

import json

import anyio
import anyio.abc
import httpx
import psutil
import pytest

from tests.system.envelope import check_envelope
from tests.system.person import WEBHOOK, Person
from tests.system.product import Product
from tests.system.trading import ALERT, trades
from tests.system.waiting import eventually
from tests.system.wire import connected

pytestmark = pytest.mark.usefixtures("unharmed")

BODY_ENDS_WITHIN_S = 45.0
"""CONTRACT: a slow body ends after 30 s."""


async def test_a_body_byte_by_byte_holds_nobody_up_and_ends_with_408(
    product: Product, client: httpx.AsyncClient, victim: Person
) -> None:
    body = json.dumps(ALERT | {"api_key": victim.key}).ljust(65_536).encode()
    async with connected(product.port) as wire:
        await wire.send(f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        reply = None
        with anyio.fail_after(BODY_ENDS_WITHIN_S):
            for at in range(len(body)):
                await wire.send(body[at : at + 1])
                try:
                    reply = await wire.reply(within_s=1.0)
                    break
                except TimeoutError:
                    await trades(product, client, victim)
    assert reply is not None
    assert reply.status == 408, reply
    check_envelope(408, reply.body)


async def test_a_client_that_gives_up_in_the_middle_leaves_nothing(
    product: Product, client: httpx.AsyncClient, victim: Person
) -> None:
    before = await product.ledger.outcomes(victim.id)
    for _ in range(20):
        async with connected(product.port) as wire:
            await wire.send(f"POST {WEBHOOK}/{victim.key} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode())
            await wire.send(json.dumps(ALERT).encode())
    assert (await client.get("/health")).status_code == 200
    assert await product.ledger.outcomes(victim.id) == before


async def test_many_slow_clients_hold_nobody_up(product: Product, client: httpx.AsyncClient, victim: Person) -> None:
    async with anyio.create_task_group() as tasks:

        async def dawdle(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with connected(product.port) as wire:
                await wire.send(f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{{".encode())
                task_status.started()
                await anyio.sleep_forever()

        for _ in range(100):
            await tasks.start(dawdle)
        await trades(product, client, victim)
        tasks.cancel_scope.cancel()


async def test_a_client_that_leaves_takes_its_connection_with_it(product: Product) -> None:
    """A connection that only its client has closed would otherwise hold a descriptor until its idle time is over."""
    for _ in range(10):
        async with product.client() as client:
            assert (await client.get("/health")).status_code == 200

    async def none_left() -> bool:
        connections = psutil.Process(product.process.pid).net_connections()
        return not any(connection.status == psutil.CONN_CLOSE_WAIT for connection in connections)

    await eventually(none_left, "the server closes what its clients have closed", within_s=10)
