"""Redis is billed by the command: two for each webhook, settling included, and none while nothing happens."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import httpx
from redis.asyncio import Redis

from tests.system.person import Person
from tests.system.product import OPERATOR_KEY, Product
from tests.system.waiting import eventually

WEBHOOKS = 40
HOUSEKEEPING = 4
"""A lease that is renewed, a look for the mail of dead processes: seldom, and however many webhooks there are."""
QUIET_S = 3.0


class Commands:
    """What clients sent, as the server saw it; what a script calls inside the server is no command of a client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.seen: Counter[str] = Counter()

    async def until(self, end: str) -> None:
        """Count until the command with this argument comes by."""
        async with self._redis.monitor() as monitor:
            async for one in monitor.listen():
                if end in one["command"]:
                    return
                if one["client_type"] != "lua":
                    self.seen[one["command"].split(" ", 1)[0].upper()] += 1


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[Commands]:
    """Count the commands of others for as long as the block runs."""
    end = uuid4().hex
    async with Redis.from_url(url) as watched, Redis.from_url(url) as own, anyio.create_task_group() as tasks:
        commands = Commands(watched)
        tasks.start_soon(commands.until, end)
        probe = uuid4().hex

        async def counts() -> bool:
            await own.echo(probe)
            return commands.seen["ECHO"] > 0

        await eventually(counts, "the server tells what it is asked")
        commands.seen.clear()
        yield commands
        await own.echo(end)


async def test_a_webhook_costs_two_commands(product: Product, client: httpx.AsyncClient, person: Person) -> None:
    # Scripts are loaded and connections opened at the first use; that is paid once.
    warm = await person.accepted(client, ticker="NQ1!", action="buy", price="18250.25", id="warm")
    await settled(product, client, person, [warm])
    async with counting(product.redis_url) as commands:
        signals = [
            await person.accepted(client, ticker="NQ1!", action=side, price="18250.25", id=f"{number}")
            for number, side in enumerate(["buy", "sell"] * (WEBHOOKS // 2))
        ]
        await settled(product, client, person, signals)
    assert commands.seen.total() <= 2 * WEBHOOKS + HOUSEKEEPING, commands.seen
    assert commands.seen.total() >= 2 * WEBHOOKS, f"the journal was not asked: {commands.seen}"


async def test_while_nothing_happens_nothing_is_asked(product: Product, client: httpx.AsyncClient) -> None:
    async with counting(product.redis_url) as commands:

        async def asked_again() -> bool:
            return commands.seen.total() > HOUSEKEEPING

        with anyio.move_on_after(QUIET_S) as window:
            await eventually(asked_again, "commands while nothing happens", within_s=2 * QUIET_S)
    assert window.cancelled_caught, f"idle, and still asking: {commands.seen}"


async def settled(product: Product, client: httpx.AsyncClient, person: Person, signals: list[str]) -> None:
    """Wait until these signals are worked off and nothing is left in the journal."""
    await eventually(lambda: product.ledger.have_outcomes(person.id, signals), "the signals are worked off")

    async def nothing_pending() -> bool:
        answer = await client.get("/ops/actors", headers={"X-API-Key": OPERATOR_KEY})
        return all(actor["durable"]["pending"] == 0 for actor in answer.json()["actors"] if actor["durable"])

    await eventually(nothing_pending, "the journal is empty")
