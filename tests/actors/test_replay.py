"""A dead signal that is replayed trades after all, and once, whatever happens in between."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tests.actors.support import Desk, desk, make_owner, now, settled
from tests.actors.test_executor import command_for
from tests.storage.support import own
from trendedge.actors.codec import encode_execute
from trendedge.actors.messages import ExecuteSignal
from trendedge.actors.replay import Rehearsal
from trendedge.actors.tree import EXECUTOR_MAILBOX
from trendedge.runtime import DeadLetters, UnknownDeadLetter
from trendedge.runtime.ownership import Owner
from trendedge.storage.executions import reopen_signal
from trendedge.storage.halt import set_halt
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore


@pytest.fixture
async def command(database: Database) -> ExecuteSignal:
    """What an alert of half an hour ago has become."""
    return replace(command_for(await make_owner(database)), received_at=now() - timedelta(minutes=30))


@pytest.fixture
async def at_the_desk(command: ExecuteSignal, database: Database, redis_store: RedisStore) -> AsyncIterator[Desk]:
    """A desk where the command, delivered twice, has killed three processes: it has two dead letters."""
    journal = (await own(database, redis_store, EXECUTOR_MAILBOX, node="test-node")).redis
    for _ in range(2):
        await journal.append(EXECUTOR_MAILBOX, encode_execute(command))
    for _ in range(2):
        process = (await own(database, redis_store, EXECUTOR_MAILBOX, node="test-node")).redis
        for entry in await process.recover(EXECUTOR_MAILBOX):
            await process.settle(EXECUTOR_MAILBOX, [], begin=[entry.entry_id])
    async with desk(database, redis_store) as place:
        await settled(place)  # they are buried beside what is delivered
        yield place


async def ids(place: Desk) -> list[str]:
    letters, _ = await DeadLetters(place.root).page()
    return [letter["id"] for letter in letters]


async def orders(database: Database) -> int:
    count: int = await database.fetchval("select count(*) from orders")
    return count


async def test_a_replayed_signal_trades_once_however_many_letters_it_has(
    at_the_desk: Desk, command: ExecuteSignal
) -> None:
    subscriber = at_the_desk.sockets.attach(command.user_id)
    assert await at_the_desk.status_of(command.signal_id) == "dead"
    letters = DeadLetters(at_the_desk.root)
    for letter in await ids(at_the_desk):
        await letters.replay(letter)
        with pytest.raises(UnknownDeadLetter):
            await letters.replay(letter)
        await settled(at_the_desk)
        assert await at_the_desk.status_of(command.signal_id) == "filled"
        assert await orders(at_the_desk.database) == 1
    assert await ids(at_the_desk) == []
    trace = await at_the_desk.database.fetchrow("select rejection, checks, timings_ms from signals")
    assert trace is not None
    assert trace["rejection"] is None
    assert all(check["passed"] for check in trace["checks"])
    assert trace["timings_ms"].keys() == {"accepted_to_decision", "decision"}
    with anyio.fail_after(10):
        frames = list(await subscriber.next_frames())
    assert '"trade.created"' in frames[0]


async def test_replays_at_once_trade_once(at_the_desk: Desk, command: ExecuteSignal) -> None:
    letters = DeadLetters(at_the_desk.root)

    async def replay(letter: str) -> None:
        try:
            await letters.replay(letter)
        except UnknownDeadLetter:
            lost.append(letter)

    lost: list[str] = []
    async with anyio.create_task_group() as tasks:
        for letter in await ids(at_the_desk) * 5:
            tasks.start_soon(replay, letter)
    await settled(at_the_desk)
    assert len(lost) == 8
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("filled", 1)


async def test_without_a_replay_what_is_dead_stays_dead(
    at_the_desk: Desk, command: ExecuteSignal, redis_store: RedisStore
) -> None:
    await at_the_desk.at.executor.tell(command)
    await settled(at_the_desk)
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("dead", 0)


async def test_a_replay_that_its_process_did_not_survive_is_made_by_the_one_that_adopts_it(
    at_the_desk: Desk, command: ExecuteSignal, redis_store: RedisStore
) -> None:
    assert await at_the_desk.status_of(command.signal_id) == "dead"
    journal = (await own(at_the_desk.database, redis_store, EXECUTOR_MAILBOX, node="another")).both
    [_, dead_id] = (await ids(at_the_desk))[0].split(":", 1)
    assert await journal.replay(EXECUTOR_MAILBOX, dead_id) is not None  # and then the process died
    await journal.release()
    assert await at_the_desk.at.executor.adopt() == 1
    await settled(at_the_desk)
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("filled", 1)


async def take_back_the_outcome(place: Desk, command: ExecuteSignal) -> None:
    """As a replay does whose process then dies, or whose answer is lost."""
    row = await place.database.fetchrow("select mailbox, node, epoch from mailbox_owners")
    assert row is not None
    assert await reopen_signal(place.database, command.signal_id, owner=Owner(*row.values()))


async def test_a_letter_whose_outcome_was_taken_back_can_be_discarded_or_replayed(
    at_the_desk: Desk, command: ExecuteSignal
) -> None:
    letters = DeadLetters(at_the_desk.root)
    first, second = await ids(at_the_desk)
    await take_back_the_outcome(at_the_desk, command)
    assert await at_the_desk.status_of(command.signal_id) == "accepted"
    await letters.discard(first)
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("dead", 0)
    await take_back_the_outcome(at_the_desk, command)
    await letters.replay(second)
    await settled(at_the_desk)
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("filled", 1)


async def test_discarding_a_letter_of_a_signal_that_traded_changes_nothing(
    at_the_desk: Desk, command: ExecuteSignal
) -> None:
    letters = DeadLetters(at_the_desk.root)
    first, second = await ids(at_the_desk)
    await letters.replay(first)
    await settled(at_the_desk)
    await letters.discard(second)
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("filled", 1)


async def test_a_rehearsal_decides_on_the_present_book_and_stores_nothing(
    at_the_desk: Desk, command: ExecuteSignal
) -> None:
    rehearse = Rehearsal(at_the_desk.database, now)
    rehearsed = await rehearse(command)
    assert rehearsed["trades"]
    decision: dict[str, Any] = rehearsed["decision"]
    assert (decision["status"], decision["rejection"], decision["contract"]["symbol"]) == ("filled", None, "NQ")
    assert [fill["price"] for fill in decision["fills"]] == ["18250.25"]
    assert decision["orders"][0]["side"] == "buy"
    assert [trade["status"] for trade in decision["trades"]] == ["open"]
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("dead", 0)
    await set_halt(at_the_desk.database, halted=True, who="test")
    halted = await rehearse(command)
    assert (halted["trades"], halted["decision"]["rejection"]["code"]) == (False, "HALTED")
    await set_halt(at_the_desk.database, halted=False, who="test")
    await DeadLetters(at_the_desk.root).replay((await ids(at_the_desk))[0])
    await settled(at_the_desk)
    after = await rehearse(command)
    assert (after["trades"], after["decision"]) == (False, None)
    assert "already has the outcome filled" in after["note"]


async def test_a_signal_that_was_sent_again_meanwhile_is_a_duplicate(at_the_desk: Desk, command: ExecuteSignal) -> None:
    again = replace(command, signal_id="7f2a3c1e-0000-4000-8000-000000000000", received_at=command.received_at)
    await at_the_desk.at.executor.tell(again)
    await settled(at_the_desk)
    rehearsed = await Rehearsal(at_the_desk.database, now)(command)
    assert (rehearsed["trades"], rehearsed["decision"]["rejection"]["code"]) == (False, "DUPLICATE")
    await DeadLetters(at_the_desk.root).replay((await ids(at_the_desk))[0])
    await settled(at_the_desk)
    assert (await at_the_desk.status_of(command.signal_id), await orders(at_the_desk.database)) == ("rejected", 1)
