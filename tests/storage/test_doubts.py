"""What a store holds that this process was not told of: an append without an answer, or mail from before its start."""

import asyncio

import pytest

from tests.storage.support import own
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.ownership import Owner
from trendedge.storage.postgres import Database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_journal import RedisJournal

type Journal = RedisJournal | PostgresJournal

STORES = pytest.mark.parametrize("store", ["redis", "postgres"])


async def set_back(store: str, database: Database, redis: RedisStore) -> None:
    """By an hour, as it looks to an entry: that is an hour younger."""
    if store == "postgres":
        await database.execute("update mailbox_entries set created_at = created_at + interval '1 hour'")
        return
    [(entry_id, fields)] = await redis.command("XRANGE", f"mailbox:{BOX}:a", "-", "+")
    await redis.command("DEL", f"mailbox:{BOX}:a")
    await redis.command("XADD", f"mailbox:{BOX}:a", f"{int(entry_id.partition(b'-')[0]) + 3_600_000}-0", *fields)


async def started_without_it(
    store: str, database: Database, redis: RedisStore, doubt_s: float, monkeypatch: pytest.MonkeyPatch
) -> Journal:
    """The journal of a process at whose start the store was down, with mail of the one before it."""
    before = await own(database, redis, BOX)
    await append(before.redis if store == "redis" else before.postgres, b"acknowledged")
    await set_back(store, database, redis)
    again = await own(database, redis, BOX, doubt_s=doubt_s)
    journal: Journal = again.redis if store == "redis" else again.postgres

    async def down(mailbox: str) -> list[Owner]:
        raise JournalUnavailable("the store", "down")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "look", down)
        with pytest.raises(JournalUnavailable):
            await journal.recover(BOX)
    return journal


@STORES
async def test_a_clock_of_a_store_that_is_set_back_holds_back_no_mail_for_longer_than_its_doubt(
    store: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await started_without_it(store, database, redis_store, 0.2, monkeypatch)
    async with asyncio.timeout(20):
        while not (found := await journal.adopt(BOX)):  # noqa: ASYNC110 - a look is the only way to know
            await asyncio.sleep(0.01)
    assert [entry.payload for entry in found] == [b"acknowledged"]
    assert await journal.adopt(BOX) == []


@STORES
async def test_what_may_be_an_append_whose_answer_is_coming_in_is_not_delivered_by_a_second_look_either(
    store: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await started_without_it(store, database, redis_store, 3600, monkeypatch)
    assert [await journal.adopt(BOX) for _ in range(3)] == [[], [], []]
