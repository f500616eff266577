"""The product several times over, each process with a home of its own, on one PostgreSQL and one Redis."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from tests.system import servers
from tests.system.ledger import Ledger
from tests.system.load import Load
from tests.system.person import Person
from tests.system.product import Product
from tests.system.waiting import eventually

LEASE_S = 1.0
"""Of each process. Short, for adoption comes after it, at the next look of one every two leases.

On a busy machine a process may well be late by itself: that is one more disturbance, and nothing may come of it."""
PACE_S = 0.04
"""Of each connection: what is held up for some seconds has to be worked off afterwards."""


@dataclass
class Cluster:
    """Processes by their place, and the traders whose alerts they share."""

    products: Sequence[Product]
    people: list[Person] = field(default_factory=list)

    def __getitem__(self, place: int) -> Product:
        return self.products[place]

    @property
    def ledger(self) -> Ledger:
        return self.products[0].ledger

    async def start(self, *products: Product) -> None:
        """Start these processes at the same moment, and wait until all are ready."""
        for product in products:
            product.spawn()
        for product in products:
            await product.until_ready()


@asynccontextmanager
async def cluster(
    home: Path, *, processes: int, running: int | None = None, lease_s: float = LEASE_S
) -> AsyncIterator[Cluster]:
    """So many processes, of which `running` (all, if not said) are started, and two traders."""
    postgres, redis = servers.postgres(home), servers.redis(home)
    async with servers.running(postgres, redis):
        settings = {
            "DATABASE_URL": postgres.url,
            "UPSTASH_REDIS_URL": redis.url,
            "MAILBOX_LEASE_S": str(lease_s),
            "LOG_LEVEL": "WARNING",
        }
        products = [Product(home / f"process-{place}", **settings) for place in range(processes)]
        try:
            started = Cluster(products)
            await started.start(*products[:running])
            started.people += [await products[0].person(name) for name in ("one", "two")]
            yield started
        finally:
            await _end(products)


async def _end(products: Sequence[Product]) -> None:
    running = [product for product in products if product.running]
    for product in running:
        product.process.send_signal(signal.SIGCONT)  # one that is stopped hears of nothing else
        product.terminate()
    for product in running:
        await product.ended()


@dataclass
class Crowd:
    """The alerts of all traders to all processes, and what became of them."""

    cluster: Cluster
    loads: list[Load]

    def on(self, product: Product) -> list[Load]:
        """The loads on one process."""
        return [load for load in self.loads if load.product is product]

    async def acknowledged_by(self, product: Product, more: int) -> None:
        """Wait until this process has acknowledged so many more alerts of each trader."""
        async with anyio.create_task_group() as tasks:
            for load in self.on(product):
                tasks.start_soon(load.acknowledges, more)

    async def post_again(self, to: Product) -> None:
        """Post what was never answered once more, to this process, until it is taken."""

        async def taken(load: Load) -> bool:
            try:
                await load.post_again(to)
            except AssertionError:
                return False
            return True

        for load in self.loads:
            await eventually(lambda load=load: taken(load), "what was not answered is taken")  # type: ignore[misc]

    async def settled(self) -> None:
        """Wait until every acknowledged alert has its outcome."""
        for load in self.loads:
            await load.settled()

    async def faults(self) -> list[str]:
        """Every violation of "exactly once", of all traders."""
        return [fault for person in self.cluster.people for fault in await self.cluster.ledger.faults(person.id)]

    async def disorder(self, *products: Product) -> list[str]:
        """Signals that a process acknowledged one after the other and that were executed in another order."""
        loads = (load for product in products for load in self.on(product))
        return [found for load in loads for found in await load.disorder()]


@asynccontextmanager
async def crowding(cluster: Cluster, *products: Product, connections: int = 2) -> AsyncIterator[Crowd]:
    """Post alerts of every trader to these processes for as long as the block runs."""
    crowd = Crowd(cluster, [Load(product, person, PACE_S) for product in products for person in cluster.people])
    async with anyio.create_task_group() as tasks:
        for load in crowd.loads:
            tasks.start_soon(partial(load.run, connections=connections))
        yield crowd
        tasks.cancel_scope.cancel()


def logged(product: Product, event: str) -> list[dict[str, Any]]:
    """What the process logged under this name."""
    return [record for record in product.records() if record["message"] == event]


async def until_logged(product: Product, event: str) -> dict[str, Any]:
    """Wait for the process to log this."""

    async def found() -> dict[str, Any] | None:
        return next(iter(logged(product, event)), None)

    return await eventually(found, f"{product.home.name} logs {event!r}")
