"""Durable messages on one Redis: how fast they are taken, how fast one worker drains them, how long each takes.

PostgreSQL gives the epoch that each journal acts with, and has no part in what is measured.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

import anyio

from benchmarks.distribution import Distribution
from trendedge.runtime import (
    Actor,
    ChildSpec,
    Durability,
    DurableRef,
    MailboxSpec,
    Overflow,
    Supervisor,
    SupervisorSpec,
)
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import RedisStore, open_redis
from trendedge.storage.redis_journal import RedisJournal

MAILBOX = "bench"
_TIME = struct.Struct("d")


@dataclass(frozen=True, slots=True)
class Durables:
    """What one system does with durable messages."""

    append_per_s: float | None
    """Ten senders, no worker."""
    drained_per_s: float | None
    """One worker, from a full backlog to the last settlement."""
    latency: Distribution | None
    """From the send to the handler, at 100 a second."""


class Recorder(Actor[float]):
    """Writes down how long each message was under way."""

    def __init__(self, taken_s: list[float]) -> None:
        self._taken_s = taken_s

    async def receive(self, message: float) -> None:
        self._taken_s.append(perf_counter() - message)


async def durable(servers: Mapping[str, str], count: int, seconds: float) -> Durables:
    """Measure ours on an empty Redis and a migrated database."""
    async with (
        open_redis(servers["UPSTASH_REDIS_URL"]) as redis,
        open_database(servers["DATABASE_URL"], pool_size=1) as database,
    ):
        await redis.command("FLUSHALL")
        append_per_s = await _append(_journal(redis, database), count)
        drained_per_s = await _drain(_journal(redis, database), count)
        return Durables(append_per_s, drained_per_s, await _latency(_journal(redis, database), seconds))


def _journal(redis: RedisStore, database: Database) -> RedisJournal:
    """As a process of its own opens it."""
    return RedisJournal(redis, ownership=PostgresOwnership(database, node="bench"))


async def _append(journal: RedisJournal, count: int) -> float:
    await journal.recover(MAILBOX)
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            await journal.append(MAILBOX, _TIME.pack(perf_counter()))

    begun = perf_counter()
    await asyncio.gather(*(send() for _ in range(10)))
    return count / (perf_counter() - begun)


@asynccontextmanager
async def _recording(journal: RedisJournal, taken_s: list[float]) -> AsyncIterator[DurableRef[float]]:
    ref, ready = DurableRef[float]("recorder"), anyio.Event()
    child = ChildSpec(
        "recorder",
        lambda: Recorder(taken_s),
        ref,
        mailbox=MailboxSpec(1_000_000, Overflow.FAIL),
        durability=Durability(journal, MAILBOX, _TIME.pack, lambda payload: _TIME.unpack(payload)[0]),
    )
    root = Supervisor(SupervisorSpec("root", [child]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(root.run, ready.set)
        await ready.wait()
        yield ref
        root.request_stop()


async def _settled(ref: DurableRef[float]) -> None:
    log = ref.cell.log
    while log is not None and log.pending:  # noqa: ASYNC110 - the log has no event for outsiders
        await asyncio.sleep(0.001)


async def _drain(journal: RedisJournal, count: int) -> float:
    begun = perf_counter()
    async with _recording(journal, []) as ref:
        await _settled(ref)
        return count / (perf_counter() - begun)


async def _latency(journal: RedisJournal, seconds: float) -> Distribution | None:
    taken_s: list[float] = []
    async with _recording(journal, taken_s) as ref, anyio.create_task_group() as senders:
        begun = perf_counter()
        for number in range(int(100 * seconds)):
            await asyncio.sleep(max(0.0, begun + number / 100 - perf_counter()))
            senders.start_soon(ref.tell, perf_counter())
        await _settled(ref)
    return Distribution.of(taken_s)
