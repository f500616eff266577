"""Durable messages on one Redis: how fast they are taken, how fast one worker drains them, how long each takes.

PostgreSQL gives the epoch that each journal acts with, and has no part in what is measured.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

from benchmarks.distribution import Distribution
from benchmarks.errors import BenchmarkError
from trendedge.runtime import (
    Actor,
    ChildSpec,
    Durability,
    DurableRef,
    MailboxSpec,
    Overflow,
    SupervisorSpec,
    running,
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
    """One worker, a full backlog: from the first handling to the last."""
    latency: Distribution | None
    """From the send to the handler, at 100 a second."""


class Recorder(Actor[float]):
    """Writes down when each message was sent, and when it was handled."""

    def __init__(self, handled: list[tuple[float, float]]) -> None:
        self._handled = handled

    async def receive(self, message: float) -> None:
        self._handled.append((message, perf_counter()))


def _one_of_ten(message: float) -> str:
    return str(int(message * 1e6) % 10)


async def durable(servers: Mapping[str, str], count: int, seconds: float, *, ten_keys: bool) -> Durables:
    """Measure ours on an empty Redis and a migrated database.

    :param ten_keys: up to ten messages are handled at once, as the others do; else one after the other, in order
    """
    key = _one_of_ten if ten_keys else None
    async with (
        open_redis(servers["UPSTASH_REDIS_URL"]) as redis,
        open_database(servers["DATABASE_URL"], pool_size=1) as database,
    ):
        await redis.command("FLUSHALL")
        append_per_s = await _append(_journal(redis, database), count)
        drained_per_s = await _drain(_journal(redis, database), count, key)
        return Durables(append_per_s, drained_per_s, await _latency(_journal(redis, database), seconds, key))


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
async def _recording(
    journal: RedisJournal, handled: list[tuple[float, float]], key: Callable[[float], str] | None
) -> AsyncIterator[DurableRef[float]]:
    ref = DurableRef[float]("recorder")
    child = ChildSpec(
        "recorder",
        lambda: Recorder(handled),
        ref,
        mailbox=MailboxSpec(1_000_000, Overflow.FAIL, key=key),
        durability=Durability(journal, MAILBOX, _TIME.pack, lambda payload: _TIME.unpack(payload)[0]),
    )
    async with running(SupervisorSpec("root", [child])):
        yield ref


async def _settled(ref: DurableRef[float]) -> None:
    log = ref.cell.log
    while log is not None and log.pending:  # noqa: ASYNC110 - the log has no event for outsiders
        await asyncio.sleep(0.001)


async def _drain(journal: RedisJournal, count: int, key: Callable[[float], str] | None) -> float:
    handled: list[tuple[float, float]] = []
    async with _recording(journal, handled, key) as ref:
        await _settled(ref)
    ends = sorted(done for _, done in handled)
    if len(ends) != count:
        raise BenchmarkError(f"{len(ends)} of {count} durable messages were handled")
    return (count - 1) / (ends[-1] - ends[0])


async def _latency(journal: RedisJournal, seconds: float, key: Callable[[float], str] | None) -> Distribution | None:
    handled: list[tuple[float, float]] = []
    async with _recording(journal, handled, key) as ref, asyncio.TaskGroup() as senders:
        begun = perf_counter()
        for number in range(int(100 * seconds)):
            await asyncio.sleep(max(0.0, begun + number / 100 - perf_counter()))
            senders.create_task(ref.tell(perf_counter()))
        await _settled(ref)
    return Distribution.of([done - sent for sent, done in handled])
