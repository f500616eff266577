"""How long what is kept: events, and marks for as long as mail can come that is held against them."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.storage.support import EXECUTOR, NOON, Journals, Trader, own
from trendedge.actors.codec import encode_execute, received_at
from trendedge.actors.messages import ExecuteSignal
from trendedge.actors.retention import Purging, Removed, Retention
from trendedge.domain.book import ExecutionRequest
from trendedge.runtime import Appended, DeadLetter, Journal, JournalUnavailable
from trendedge.storage.executions import DuplicateMark
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore, open_redis
from trendedge.storage.redis_journal import RedisJournal

DAY = timedelta(days=1)
MARK = "one meaning"


@pytest.fixture
async def trader(database: Database) -> Trader:
    return await Trader.join(database)


@pytest.fixture
async def journals(database: Database, redis_store: RedisStore) -> Journals:
    return await own(database, redis_store, EXECUTOR)


def purging(database: Database, journals: Journals) -> Purging:
    return Purging(database, [journals.redis, journals.postgres], mailbox=EXECUTOR, retention=Retention())


async def bury(journal: Journal, request: ExecutionRequest, *, payload: bytes | None = None) -> str:
    """Give up on a signal; the id of its letter."""
    message = ExecuteSignal(
        signal_id=request.signal_id,
        user_id=request.user_id,
        account_id=request.account_id,
        received_at=request.received_at,
        request_id="r",
        signal=request.signal,
        raw="{}",
    )
    encoded = encode_execute(message) if payload is None else payload
    appended = await journal.append(EXECUTOR, encoded)
    assert isinstance(appended, Appended)
    await journal.bury(EXECUTOR, appended.entry_id, encoded, DeadLetter("ValueError: x", "", 3))
    return (await journal.dead_letters(EXECUTOR))[0].dead_id


async def marks(database: Database) -> list[str]:
    return [row["mark"] for row in await database.fetch("select mark from signal_marks order by marked_at")]


async def test_events_of_a_week_and_marks_of_a_month_are_kept_and_every_record(
    database: Database, trader: Trader, journals: Journals
) -> None:
    for age_days in (35, 28, 8, 6):  # all of them days on which the exchange is open
        await trader.commit(trader.request(at=NOON - age_days * DAY), mark=f"{age_days}")
    tables = ("signals", "orders", "fills", "trades", "positions", "journal_entries", "analytics_daily")
    before = {table: await database.fetchval(f"select count(*) from {table}") for table in tables}
    assert await purging(database, journals).purge(NOON) == Removed(events=3, marks=1)
    assert await marks(database) == ["28", "8", "6"]
    assert {table: await database.fetchval(f"select count(*) from {table}") for table in tables} == before
    assert await purging(database, journals).purge(NOON) == Removed(events=0, marks=0)


@pytest.mark.parametrize("age_days", [5, 400])
@pytest.mark.parametrize("store", ["redis", "postgres"])
async def test_however_late_a_letter_is_replayed_it_is_held_against_the_marks_of_its_time(
    database: Database, trader: Trader, journals: Journals, store: str, age_days: int
) -> None:
    journal: Journal = getattr(journals, store)
    then = NOON - age_days * DAY
    await trader.commit(trader.request(at=then - DAY), mark="the day before")
    first = trader.request(at=then)
    await trader.commit(first, mark=MARK)
    second = trader.request(at=then, after_s=59)
    dead_id = await bury(journal, second)
    for number in range(60):  # more than a page, all of them younger
        await bury(journal, trader.request(at=NOON, after_s=number))
    await purging(database, journals).purge(NOON)
    assert MARK in await marks(database)
    assert await trader.commit(second, mark=MARK) == DuplicateMark(first.signal_id)
    await journal.discard(EXECUTOR, dead_id)
    removed = await purging(database, journals).purge(NOON)
    assert removed.marks == (0 if age_days == 5 else 1)


async def test_a_letter_that_nobody_can_read_counts_from_its_burial(
    database: Database, trader: Trader, journals: Journals
) -> None:
    await bury(journals.redis, trader.request(), payload=b"\xff")
    await trader.commit(trader.request(), mark=MARK)
    now = datetime.now(UTC)
    assert (await purging(database, journals).purge(now + 31 * DAY)).marks == (1 if now > NOON else 0)


async def test_while_the_letters_of_a_store_cannot_be_read_no_mark_is_removed(
    database: Database, trader: Trader, journals: Journals
) -> None:
    await trader.commit(trader.request(at=NOON - 40 * DAY), mark=MARK)
    async with open_redis("redis://127.0.0.1:1", connect_timeout_s=1) as nowhere:
        up: Journal = journals.postgres
        down: Journal = RedisJournal(nowhere, ownership=journals.ownership)
        for both in ([up, down], [down, up]):
            with pytest.raises(JournalUnavailable):
                await Purging(database, both, mailbox=EXECUTOR, retention=Retention()).purge(NOON)
    assert await marks(database) == [MARK]
    assert await database.fetchval("select count(*) from events") == 0


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b'{"received_at": 5}', b'{"received_at": "soon"}', b"\xff"])
def test_when_an_alert_came_in_is_unknown_where_it_cannot_be_read(payload: bytes) -> None:
    assert received_at(payload) is None
