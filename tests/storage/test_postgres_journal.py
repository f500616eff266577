"""PostgreSQL as a journal, behind a network that stands still or a lock that is held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.storage.network import network
from tests.storage.support import Journals, end_lease, own
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Entry, Journal, Settlement
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import RedisStore

WEBHOOK_S = 3.0
"""All that there is for an alert."""


async def test_a_silent_network_holds_up_nobody_for_longer_than_a_webhook_has(
    database_url: str, redis_store: RedisStore
) -> None:
    async with network(database_url) as between, open_database(between.url, pool_size=2) as database:
        journal = (await own(database, redis_store, BOX)).postgres
        entry_id = await append(journal, b"known")
        between.hold()
        for act in (journal.append(BOX, b"x"), journal.settle(BOX, [Settlement(entry_id)]), journal.adopt(BOX)):
            async with asyncio.timeout(WEBHOOK_S + 1):
                with pytest.raises(JournalUnavailable):
                    await act
        between.let_go()
        await append(journal, b"y")


async def delivered(journal: Journal) -> list[Entry]:
    """What a look brings that brings anything."""
    async with asyncio.timeout(30):
        while not (found := await journal.adopt(BOX)):  # noqa: ASYNC110 - a look is the only way to know
            await asyncio.sleep(0.05)
    return found


async def test_an_append_that_arrives_long_after_it_was_given_up_is_delivered(
    database_url: str, redis_store: RedisStore
) -> None:
    async with network(database_url) as between, open_database(between.url, pool_size=1) as database:
        journal = (await own(database, redis_store, BOX, doubt_s=1)).postgres
        await append(journal, b"known")
        between.hold()
        with pytest.raises(JournalUnavailable):
            await journal.append(BOX, b"late")
        await asyncio.sleep(1)  # until the doubt is older than what is about to be stored
        between.let_go()
        async with asyncio.timeout(10):
            while await journal.count(BOX) != (2, 0):  # noqa: ASYNC110 - the state of a server, which tells nobody
                await asyncio.sleep(0.01)
        assert [entry.payload for entry in await delivered(journal)] == [b"late"]
        assert await journal.adopt(BOX) == []


async def test_an_append_that_is_stored_after_a_look_is_delivered_by_the_next(
    database_url: str, database: Database, redis_store: RedisStore
) -> None:
    async with open_database(database_url, pool_size=1) as its:
        journal = (await own(its, redis_store, BOX, doubt_s=0)).postgres
        await append(journal, b"known")  # from here on its connection knows the statement
        async with database.transaction() as somebody:
            await somebody.execute("lock table mailbox_entries in share mode")
            with pytest.raises(JournalUnavailable):
                await journal.append(BOX, b"late")
            assert await journal.adopt(BOX) == []
        assert [entry.payload for entry in await delivered(journal)] == [b"late"]
        assert await journal.adopt(BOX) == []


async def test_a_clock_of_the_database_that_is_set_back_turns_no_mail_around(
    database: Database, redis_store: RedisStore
) -> None:
    """By as much as a correction of the time, or a standby that takes over, may do."""
    before = (await own(database, redis_store, BOX, "a")).postgres
    await append(before, b"buy")
    await database.execute("update mailbox_entries set created_at = created_at + interval '0.5 s'")
    await append(before, b"close")
    again = (await own(database, redis_store, BOX, "a")).postgres
    assert [entry.payload for entry in await again.recover(BOX)] == [b"buy", b"close"]
    await end_lease(redis_store, database, BOX, "a")
    heir = (await own(database, redis_store, BOX, "b")).postgres
    assert [entry.payload for entry in await heir.adopt(BOX)] == [b"buy", b"close"]


async def leave(database: Database, node: str, number: int, length: int) -> None:
    """Entries of as many bytes that begin with their numbers, and no lease unless the node has appended before."""
    await database.execute(
        """
        insert into mailbox_entries (mailbox, node, payload)
        select $1, $2, convert_to(rpad(number || ' ', $4, 'x'), 'UTF8') from generate_series(0, $3 - 1) as number
        """,
        BOX,
        node,
        number,
        length,
    )


async def test_a_large_backlog_is_adopted_beside_another_one(database: Database, redis_store: RedisStore) -> None:
    """Comparing each entry with all that are known takes PostgreSQL longer than it has, and then the event loop."""
    dead, heir = [await own(database, redis_store, BOX, node) for node in ("dead", "heir")]
    await leave(database, heir.ownership.node, 20_000, 10)
    assert len(await heir.postgres.recover(BOX)) == 20_000
    await leave(database, dead.ownership.node, 20_000, 10)
    assert len(await heir.postgres.adopt(BOX)) == 20_000


@asynccontextmanager
async def slow_heir(database_url: str, redis: RedisStore, times: LeaseTimes) -> AsyncIterator[Journals]:
    """A process whose PostgreSQL is behind 8 Mbit/s."""
    async with network(database_url, bytes_a_second=1_000_000) as slow, open_database(slow.url) as database:
        yield await own(database, redis, BOX, "heir", times=times)


async def test_a_backlog_that_takes_longer_than_an_answer_may_is_adopted_in_pages(
    database_url: str, database: Database, redis_store: RedisStore
) -> None:
    await leave(database, (await own(database, redis_store, BOX, "dead")).ownership.node, 900, 3_000)
    await leave(database, "dead", 1, 200_000)
    async with slow_heir(database_url, redis_store, DEFAULT_TIMES) as heir:
        found = await heir.both.adopt(BOX)
        assert [int(one.payload.partition(b" ")[0]) for one in found] == [*range(900), 0]
        assert await heir.both.adopt(BOX) == []


async def test_whoever_reads_a_long_backlog_holds_its_lease_meanwhile(
    database_url: str, database: Database, redis_store: RedisStore
) -> None:
    dead, third = [await own(database, redis_store, BOX, node) for node in ("dead", "third")]
    await leave(database, dead.ownership.node, 900, 3_000)
    async with slow_heir(database_url, redis_store, LeaseTimes(6)) as heir:  # to be renewed each second
        reading = asyncio.create_task(heir.postgres.adopt(BOX))
        async with asyncio.timeout(10):
            while await heir.postgres.count(BOX) != (900, 0):  # noqa: ASYNC110 - the state of a server
                await asyncio.sleep(0.01)
        await end_lease(redis_store, database, BOX, "heir")
        assert len(await reading) == 900
        assert await third.postgres.adopt(BOX) == []


async def test_what_was_adopted_before_the_answer_was_lost_is_delivered_by_the_next_look(
    database_url: str, database: Database, redis_store: RedisStore
) -> None:
    await leave(database, (await own(database, redis_store, BOX, "dead")).ownership.node, 900, 3_000)
    async with slow_heir(database_url, redis_store, DEFAULT_TIMES) as heir:
        cut_off = asyncio.create_task(heir.both.adopt(BOX))
        async with asyncio.timeout(10):
            while await heir.postgres.count(BOX) != (900, 0):  # noqa: ASYNC110 - the state of a server
                await asyncio.sleep(0.01)
        cut_off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut_off
        await database.execute("update mailbox_entries set created_at = created_at - interval '1 minute'")
        assert len(await heir.both.adopt(BOX)) == 900
