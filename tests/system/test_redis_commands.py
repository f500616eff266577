"""Redis is billed by the command: two for each webhook, settling included, and none while nothing happens."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import httpx
from redis.asyncio import Redis

from tests.system.cluster import LEASE_S, Cluster, cluster, logged
from tests.system.person import Person
from tests.system.product import OPERATOR_KEY, Product
from tests.system.waiting import eventually
from trendedge.storage.node import LeaseTimes
from trendedge.storage.redis_scripts import LOOK

WEBHOOKS = 40
HOUSEKEEPING = 4
"""A lease that is renewed, a look for the mail of dead processes: seldom, and however many webhooks there are."""
QUIET_S = 3.0
ROUNDS = 3
DAY_S = 24 * 60 * 60
IDLE_COMMANDS_A_DAY = 3_000
ALERT = {"ticker": "NQ1!", "action": "buy", "price": "18250.25"}


class Commands:
    """What clients sent, as the server saw it; what a script calls inside the server is no command of a client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.seen: Counter[str] = Counter()
        self.words: list[list[str]] = []
        """Of each of them."""

    async def until(self, end: str) -> None:
        """Count until the command with this argument comes by."""
        async with self._redis.monitor() as monitor:
            async for one in monitor.listen():
                if end in one["command"]:
                    return
                if one["client_type"] != "lua":
                    words = one["command"].split(" ")
                    self.seen[words[0].upper()] += 1
                    self.words.append(words)


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
        commands.words.clear()
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


async def test_each_of_two_idle_processes_asks_for_the_mail_of_the_dead_and_for_nothing_else(tmp_path: Path) -> None:
    """Probed and scraped, oftener than a container is. What is asked scales with the lease, which is short here."""
    async with cluster(tmp_path, processes=2) as both, both[0].client() as first, both[1].client() as second:
        clients = {both[0]: first, both[1]: second}
        for product, client in clients.items():
            signals = [await both.people[0].accepted(client, **ALERT, id=product.home.name)]
            await settled(product, client, both.people[0], signals)

        async def undisturbed() -> tuple[list[list[str]], float] | None:
            before = disturbances(both)
            async with counting(both[0].redis_url) as commands:
                began = anyio.current_time()
                await eventually(lambda: each_looks(commands, clients.values()), f"each process looks {ROUNDS} times")
                lasted_s = anyio.current_time() - began
            return (commands.words, lasted_s) if disturbances(both) == before else None

        sent, lasted_s = await eventually(undisturbed, "Redis is not taken for down", within_s=60)
    looks = Counter(words[3] for words in sent if words[1:2] == [LOOK.sha])
    assert looks.total() == len(sent), sent
    assert max(looks.values()) <= lasted_s / LeaseTimes(LEASE_S).look_every_s + 1
    assert DAY_S / LeaseTimes().look_every_s <= IDLE_COMMANDS_A_DAY


async def each_looks(commands: Commands, clients: Iterable[httpx.AsyncClient]) -> bool:
    """Probe and scrape all, as containers are; whether each process has looked often enough."""
    for client in clients:
        for path in ("/health", "/metrics", "/ops/actors"):
            assert (await client.get(path, headers={"X-API-Key": OPERATOR_KEY})).status_code == 200
    looks = Counter(words[3] for words in commands.words if words[0].upper() == "EVALSHA")
    return len(looks) == 2 and min(looks.values()) >= ROUNDS


def disturbances(both: Cluster) -> int:
    """How often a process that the machine was too busy for has lost sight of Redis, or found it again."""
    events = ("journal degraded", "journal recovered")
    return sum(len(logged(product, event)) for product in both.products for event in events)


async def settled(product: Product, client: httpx.AsyncClient, person: Person, signals: list[str]) -> None:
    """Wait until these signals are worked off and nothing is left in the journal."""
    await eventually(lambda: product.ledger.have_outcomes(person.id, signals), "the signals are worked off")

    async def nothing_pending() -> bool:
        answer = await client.get("/ops/actors", headers={"X-API-Key": OPERATOR_KEY})
        return all(actor["durable"]["pending"] == 0 for actor in answer.json()["actors"] if actor["durable"])

    await eventually(nothing_pending, "the journal is empty")
