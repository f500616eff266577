"""What the owner of a signal can read of it when it was given up, or an operator has decided on its letter."""

import asyncio

import pytest

from tests.actors.support import make_owner
from tests.actors.test_executor import command_for
from tests.storage.support import Journals, end_lease, own
from trendedge.actors.codec import decode_execute, encode_execute
from trendedge.actors.executor import burial
from trendedge.actors.messages import ExecuteSignal
from trendedge.actors.policies import WEBHOOK_PROCESSING
from trendedge.actors.replay import revival
from trendedge.actors.tree import EXECUTOR_MAILBOX as BOX
from trendedge.runtime import Appended, Durability, Fenced, UnknownDeadLetter
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.mailbox import Envelope
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.execution_store import PostgresExecutions
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import RedisStore

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
async def command(database: Database) -> ExecuteSignal:
    return command_for(await make_owner(database))


def log_of(journals: Journals, database: Database) -> DurableLog:
    """The executor's mail as the process with these journals knows it."""
    store = PostgresExecutions(database, journals.ownership, mailbox=BOX)
    durability = Durability(journals.both, BOX, encode_execute, decode_execute, burial(store), revival(store.reopen))
    return DurableLog(durability, lambda message: message.account_id, outage=WEBHOOK_PROCESSING.outage)


async def given_up(log: DurableLog, command: ExecuteSignal) -> None:
    """It was accepted, and has failed for good."""
    appended = await log.append(command, None)
    assert isinstance(appended, Appended)
    envelope = Envelope(command, enqueued_at=0.0)
    envelope.entry_id = appended.entry_id
    await log.bury(envelope, ValueError("no"))


async def status_of(database: Database, command: ExecuteSignal) -> str | None:
    status: str | None = await database.fetchval("select status from signals where id::text = $1", command.signal_id)
    return status


async def test_while_postgresql_is_away_a_signal_is_not_buried(
    command: ExecuteSignal, database: Database, redis_store: RedisStore
) -> None:
    journals = await own(database, redis_store, BOX)
    async with open_database(NOWHERE) as down:
        log = log_of(journals, down)
        await given_up(log, command)
        assert (log.pending, await journals.both.count(BOX)) == (1, (1, 0))
        await log.bury_doomed()
        assert await journals.both.count(BOX) == (1, 0)


async def test_a_fenced_process_leaves_what_it_gives_up_to_the_one_that_adopts_it(
    command: ExecuteSignal, database: Database, redis_store: RedisStore
) -> None:
    journals = await own(database, redis_store, BOX)
    log = log_of(journals, database)
    other = await own(database, redis_store, BOX, "b")
    await other.ownership.fence(journals.ownership.of(BOX))  # and Redis has not heard of it yet
    await given_up(log, command)
    assert log.lost
    assert (await journals.both.count(BOX), await status_of(database, command)) == ((1, 0), None)


async def test_of_two_processes_of_which_one_replays_a_letter_and_one_discards_it_one_decides(
    command: ExecuteSignal, database: Database, redis_store: RedisStore
) -> None:
    here, there = await own(database, redis_store, BOX, "a"), await own(database, redis_store, BOX, "b")
    ours, theirs = log_of(here, database), log_of(there, database)
    await given_up(ours, command)
    for _ in range(20):
        [letter] = await here.both.dead_letters(BOX)
        assert await status_of(database, command) == "dead"
        discarded, replayed = await asyncio.gather(
            ours.discard(letter.dead_id), theirs.replay(letter.dead_id, now=0.0), return_exceptions=True
        )
        left = await there.both.count(BOX)
        if isinstance(replayed, Envelope):
            assert isinstance(discarded, UnknownDeadLetter)
            assert (await status_of(database, command), left) == ("accepted", (1, 0))
            await theirs.bury(replayed, ValueError("no"))
        else:
            assert (discarded, type(replayed)) == (None, UnknownDeadLetter)
            assert (await status_of(database, command), left) == ("dead", (0, 0))
            await given_up(ours, command)


async def test_while_postgresql_is_away_a_letter_is_not_replayed(
    command: ExecuteSignal, database: Database, redis_store: RedisStore
) -> None:
    journals = await own(database, redis_store, BOX)
    await given_up(log_of(journals, database), command)
    [letter] = await journals.both.dead_letters(BOX)
    async with open_database(NOWHERE) as down:
        away = log_of(journals, down)
        with pytest.raises(StoreUnavailable):
            await away.replay(letter.dead_id, now=0.0)
        assert (await journals.both.count(BOX), await status_of(database, command)) == ((1, 0), "dead")


async def test_a_fenced_process_takes_back_no_outcome_that_the_new_owner_has_told(
    command: ExecuteSignal, database: Database, redis_store: RedisStore
) -> None:
    sleeper, heir = await own(database, redis_store, BOX, "a"), await own(database, redis_store, BOX, "b")
    ours, theirs = log_of(sleeper, database), log_of(heir, database)
    await given_up(ours, command)
    [letter] = await sleeper.both.dead_letters(BOX)
    store = PostgresExecutions(database, sleeper.ownership, mailbox=BOX)

    async def sleep_before(message: ExecuteSignal) -> None:
        await end_lease(redis_store, database, BOX, "a")
        [envelope] = await theirs.adopt(3, now=0.0)
        await revival(PostgresExecutions(database, heir.ownership, mailbox=BOX).reopen)(message)
        await theirs.bury(envelope, ValueError("no"))
        await revival(store.reopen)(message)

    sleepy = Durability(sleeper.both, BOX, encode_execute, decode_execute, burial(store), sleep_before)
    with pytest.raises(Fenced):
        await DurableLog(sleepy, lambda message: message.account_id).replay(letter.dead_id, now=0.0)
    assert await status_of(database, command) == "dead"
    assert await heir.both.count(BOX) == (0, 1)
