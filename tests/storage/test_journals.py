"""One suite for every journal: what runs here in Redis must run in PostgreSQL, in both behind the failover, in the
simulation's memory, and in the double of the runtime's tests as far as it concerns one process."""

import asyncio
import copy
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import batched

import pytest

from tests.runtime import support
from tests.storage.support import end_lease, own
from trendedge.runtime.errors import Fenced
from trendedge.runtime.journal import (
    SETTLED_AT_ONCE,
    Announcement,
    Appended,
    Buried,
    DeadLetter,
    Duplicate,
    Journal,
    Settlement,
    Unique,
)
from trendedge.runtime.ownership import Claim, Owner, Ownership
from trendedge.runtime.simulation import MemoryJournal, MemoryServer
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.leased_journal import LeasedJournal
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_journal import RedisJournal

BOX = "executor"
LETTER = DeadLetter("ValueError: no", "Traceback ...", 3, {"key": "a\x00b"})
ODD = DeadLetter("ValueError: \ud83d", "Traceback \ud83d", 3, {"key": "\ud83d", "\ud83d": "x"})
"""Python has a text for each half of a pair of surrogates; no store can hold it."""


@dataclass(frozen=True)
class Stores:
    """The real servers, and the store that a journal under test keeps its entries in."""

    database: Database
    redis: RedisStore
    kind: str
    memory: MemoryServer = field(default_factory=MemoryServer)
    double: support.MemoryJournal = field(default_factory=support.MemoryJournal)
    owners: dict[int, Ownership] = field(default_factory=dict)
    """By the id of the journal that was opened with it."""

    async def journal(self, node: str = "a", *, times: LeaseTimes = DEFAULT_TIMES) -> Journal:
        """A journal as a process with this node id would open it, with an epoch of its own."""
        journals = await own(self.database, self.redis, BOX, node, times=times)
        journal: Journal
        match self.kind:
            case "redis":
                journal = journals.redis
            case "postgres":
                journal = journals.postgres
            case "memory":
                journal = memory = MemoryJournal(self.memory, node=node)
                await memory.ownership.take(BOX)
                self.owners[id(journal)] = memory.ownership
                return journal
            case "double":
                self.double.die()
                return self.double
            case _:
                journal = journals.both
        self.owners[id(journal)] = journals.ownership
        return journal

    async def may_commit(self, journal: Journal) -> bool:
        """Whether a commit that proves the epoch of this journal's process is let through."""
        owner = self.owners[id(journal)].of(BOX)
        if self.kind == "memory":
            return self.memory.registry.valid(owner)
        newest = "select epoch from mailbox_owners where mailbox = $1 and node = $2"
        return bool(await self.database.fetchval(newest, BOX, owner.node) == owner.epoch)

    async def renew_lease(self, journal: Journal) -> None:
        """What `keep_lease` does at every heartbeat."""
        match journal:
            case RedisJournal() | PostgresJournal():
                await journal._renew_lease(BOX)
            case MemoryJournal():
                await journal._renew(journal.ownership.of(BOX))
            case FailoverJournal():
                for side in journal._sides.both:
                    await self.renew_lease(side.journal)
            case _:
                raise AssertionError(journal)

    async def everything(self) -> object:
        """All that the stores hold: entries, attempts, marks, dead letters, epochs and leases."""
        memory = self.memory
        in_memory = (memory.streams, memory.dead, memory.marks, memory.begun, memory.leases, memory.fences)
        in_redis = {key: await self.redis.command("DUMP", key) for key in await self.redis.command("KEYS", "*")}
        tables = ("mailbox_entries", "dead_letters", "signal_marks", "mailbox_owners")
        in_postgres = [await self.database.fetch(f"select t::text from {table} as t order by 1") for table in tables]
        return copy.deepcopy(in_memory), in_redis, in_postgres

    async def end_lease(self, node: str) -> None:
        """What happens 30 s after the node's last sign of life."""
        self.memory.end_lease(node)
        await end_lease(self.redis, self.database, BOX, node)


SHARED = ("redis", "postgres", "failover", "memory")
several_owners = pytest.mark.parametrize("stores", SHARED, indirect=True)
"""About owners and leases, of which the double of the runtime's tests knows nothing; nor does it of other mailboxes."""


@pytest.fixture(params=[*SHARED, "double"])
def stores(request: pytest.FixtureRequest, database: Database, redis_store: RedisStore) -> Stores:
    return Stores(database, redis_store, request.param)


async def append(journal: Journal, payload: bytes, unique: Unique | None = None) -> str:
    outcome = await journal.append(BOX, payload, unique=unique)
    assert isinstance(outcome, Appended)
    return outcome.entry_id


async def test_what_was_appended_is_recovered_by_the_next_process_of_the_node_oldest_first(stores: Stores) -> None:
    first = await stores.journal()
    for number in range(12):
        await append(first, b"%d" % number)
    recovered = await (await stores.journal()).recover(BOX)
    assert [entry.payload for entry in recovered] == [b"%d" % number for number in range(12)]


async def test_any_bytes_come_back_as_they_were(stores: Stores) -> None:
    payload = bytes(range(256)) * 40
    await append(await stores.journal(), payload)
    assert [entry.payload for entry in await (await stores.journal()).recover(BOX)] == [payload]


async def test_a_settled_entry_is_gone_and_settling_twice_is_harmless(stores: Stores) -> None:
    journal = await stores.journal()
    gone, kept = await append(journal, b"gone"), await append(journal, b"kept")
    await journal.settle(BOX, [Settlement(gone)])
    await journal.settle(BOX, [Settlement(gone)])
    assert [entry.entry_id for entry in await (await stores.journal()).recover(BOX)] == [kept]


async def test_an_unsettled_entry_outlives_all_that_is_settled_after_it_and_nothing_else_stays(stores: Stores) -> None:
    """Nothing is trimmed by length or age: what an entry takes up is given back when it is settled."""
    journal = await stores.journal()
    old = await append(journal, b"old")
    later = [await append(journal, b"later") for _ in range(6 * SETTLED_AT_ONCE)]
    assert await journal.count(BOX) == (1 + len(later), 0)
    for some in batched(later, SETTLED_AT_ONCE):
        await journal.settle(BOX, [Settlement(entry_id) for entry_id in some])
    assert await journal.count(BOX) == (1, 0)
    assert [entry.entry_id for entry in await (await stores.journal()).recover(BOX)] == [old]


async def test_many_are_settled_at_once_and_those_that_are_gone_do_not_matter(stores: Stores) -> None:
    journal = await stores.journal()
    ids = [await append(journal, b"%d" % number) for number in range(SETTLED_AT_ONCE + 1)]
    await journal.settle(BOX, [Settlement(ids[3])])
    await journal.settle(BOX, [Settlement(entry_id) for entry_id in ids[:-1]])
    assert [entry.entry_id for entry in await (await stores.journal()).recover(BOX)] == [ids[-1]]


async def test_a_recovered_entry_can_be_settled(stores: Stores) -> None:
    await append(await stores.journal(), b"x")
    journal = await stores.journal()
    (entry,) = await journal.recover(BOX)
    await journal.settle(BOX, [Settlement(entry.entry_id)])
    assert await (await stores.journal()).recover(BOX) == []


async def test_attempts_are_counted_across_processes(stores: Stores) -> None:
    await append(await stores.journal(), b"x")
    counts = []
    for _ in range(3):
        journal = await stores.journal()
        (entry,) = await journal.recover(BOX)
        counts.append(entry.attempts)
        await journal.settle(BOX, [], begin=[entry.entry_id])
    assert counts == [0, 1, 2]


async def test_an_attempt_that_is_taken_back_was_never_made(stores: Stores) -> None:
    first = await stores.journal()
    for payload in (b"x", b"y"):
        await append(first, payload)
    journal = await stores.journal()
    x, y = (entry.entry_id for entry in await journal.recover(BOX))
    await journal.settle(BOX, [], begin=[x, y])
    again = await stores.journal()
    assert [entry.attempts for entry in await again.recover(BOX)] == [1, 1]
    await again.settle(BOX, [], begin=[x])
    await again.uncount(BOX, [x, y])  # of its own: another has died over each
    assert [entry.attempts for entry in await (await stores.journal()).recover(BOX)] == [1, 1]


async def test_to_begin_and_to_take_that_back_can_be_repeated_and_the_last_of_them_counts(stores: Stores) -> None:
    first = await stores.journal()
    for payload in (b"x", b"y", b"z"):
        await append(first, payload)
    journal = await stores.journal()
    x, y, z = (entry.entry_id for entry in await journal.recover(BOX))
    for _ in range(2):
        await journal.settle(BOX, [], begin=[x, y, z])
    for _ in range(2):
        await journal.uncount(BOX, [y, z])
    await journal.settle(BOX, [], begin=[z])
    assert [entry.attempts for entry in await (await stores.journal()).recover(BOX)] == [1, 0, 1]


async def test_a_process_sees_the_attempts_of_others_and_not_its_own(stores: Stores) -> None:
    first = await stores.journal()
    await append(first, b"x")
    [entry] = await first.recover(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)
    await first.settle(BOX, [], begin=[entry.entry_id])
    [entry] = await first.recover(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)
    [entry] = await (await stores.journal()).recover(BOX)
    assert entry.attempts == 1


async def test_whoever_has_appended_may_have_died_of_it_unless_it_says_that_it_has_not(stores: Stores) -> None:
    first = await stores.journal()
    for payload in (b"x", b"y"):
        await append(first, payload)
    _, y = (entry.entry_id for entry in await first.recover(BOX))
    await first.uncount(BOX, [y])
    found = await (await stores.journal()).recover(BOX)
    assert [(entry.attempts, entry.first_open) for entry in found] == [(0, True), (0, False)]


@several_owners
async def test_a_mark_that_comes_late_says_nothing(stores: Stores) -> None:
    """As of a command that was given up and is on its way all the same."""
    journal = await stores.journal()
    entry_id = await append(journal, b"x")
    turns = [stores.owners[id(journal)].next_turn() for _ in range(4)]

    async def begin(turn: int) -> None:
        await underneath(journal).settle(BOX, [], begin=[own_id], turn=turn)

    own_id = entry_id.removeprefix("1:")
    for turn in (turns[1], turns[0]):
        await underneath(journal).uncount(BOX, [own_id], turn=turn)
        await begin(turns[0])
    assert await marks(stores, journal) == (0, False)
    await begin(turns[3])
    await underneath(journal).uncount(BOX, [own_id], turn=turns[2])
    assert await marks(stores, journal) == (1, False)


def underneath(journal: Journal) -> LeasedJournal | MemoryJournal:
    """The one store that a journal writes to."""
    if isinstance(journal, FailoverJournal):
        return journal._sides.first.journal
    assert isinstance(journal, RedisJournal | PostgresJournal | MemoryJournal)
    return journal


async def marks(stores: Stores, journal: Journal) -> tuple[int, bool]:
    """What another process of the node would be told of the only entry, without taking it."""
    ownership = stores.owners[id(journal)]
    process, ownership._process = ownership._process, "another"
    [entry] = await journal.recover(BOX)
    ownership._process = process
    return entry.attempts, entry.first_open


@several_owners
async def test_who_may_have_died_of_it_stays_known_through_adoptions(stores: Stores) -> None:
    first = await stores.journal("a")
    for payload in (b"x", b"y"):
        await append(first, payload)
    _, y = (entry.entry_id for entry in await first.recover(BOX))
    await first.uncount(BOX, [y])
    await stores.end_lease("a")
    for node in "bcd":
        heir = await stores.journal(node)
        adopted = await heir.adopt(BOX)
        await heir.settle(BOX, [], begin=[entry.entry_id for entry in adopted])
        await heir.uncount(BOX, [adopted[1].entry_id])
        await stores.end_lease(node)
    adopted = await (await stores.journal("e")).adopt(BOX)
    assert [(entry.attempts, entry.first_open) for entry in adopted] == [(3, True), (0, False)]


@several_owners
async def test_the_marks_of_a_process_are_its_own_through_a_fence(stores: Stores) -> None:
    sleeper, heir, _ = await fenced(stores)
    [entry] = await sleeper.recover(BOX)
    await sleeper.settle(BOX, [], begin=[entry.entry_id])
    await stores.end_lease("a")
    [adopted] = await heir.adopt(BOX)
    assert adopted.attempts == 1
    with suppress(Fenced):
        await sleeper.recover(BOX)
    assert await sleeper.recover(BOX) == []
    await stores.end_lease("b")
    [entry] = await sleeper.adopt(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)


async def test_one_call_settles_some_entries_and_counts_an_attempt_at_each_of_others(stores: Stores) -> None:
    first = await stores.journal()
    for number in range(4):
        await append(first, b"%d" % number)
    journal = await stores.journal()
    ids = [entry.entry_id for entry in await journal.recover(BOX)]
    await journal.settle(BOX, [], begin=ids[:2])
    journal = await stores.journal()
    await journal.recover(BOX)
    await journal.settle(BOX, [Settlement(ids[0])], begin=ids[1:3])
    found = await (await stores.journal()).recover(BOX)
    assert [(entry.payload, entry.attempts) for entry in found] == [(b"1", 2), (b"2", 1), (b"3", 0)]


async def test_reading_the_mail_is_no_attempt_at_it(stores: Stores) -> None:
    await append(await stores.journal(), b"x")
    counts = [[entry.attempts for entry in await (await stores.journal()).recover(BOX)] for _ in range(3)]
    assert counts == [[0], [0], [0]]


@several_owners
async def test_mailboxes_do_not_mix(stores: Stores) -> None:
    journal = await stores.journal()
    for mailbox, payload in (("one", b"1"), ("two", b"2")):
        await journal.recover(mailbox)
        await journal.append(mailbox, payload)
    assert [entry.payload for entry in await (await stores.journal()).recover("two")] == [b"2"]
    assert await journal.count("one") == (1, 0)


async def test_a_taken_mark_gives_back_the_first_value_and_writes_nothing(stores: Stores) -> None:
    journal = await stores.journal()
    await append(journal, b"first", Unique("mark", "signal-1", 60))
    assert await journal.append(BOX, b"second", unique=Unique("mark", "signal-2", 60)) == Duplicate("signal-1")
    assert await journal.count(BOX) == (1, 0)


async def test_a_mark_outlives_the_settlement_of_its_entry(stores: Stores) -> None:
    journal = await stores.journal()
    await journal.settle(BOX, [Settlement(await append(journal, b"first", Unique("mark", "1", 60)))])
    assert await journal.append(BOX, b"second", unique=Unique("mark", "2", 60)) == Duplicate("1")


async def test_a_mark_is_free_again_when_its_time_is_over(stores: Stores) -> None:
    journal = await stores.journal()
    first = await append(journal, b"first", Unique("mark", "1", 1))
    async with asyncio.timeout(20):
        while isinstance(second := await journal.append(BOX, b"second", unique=Unique("mark", "2", 1)), Duplicate):
            assert second.value == "1"
            await asyncio.sleep(0.02)
    assert second.entry_id != first


async def test_an_append_repeated_after_a_lost_reply_is_the_same_entry(stores: Stores) -> None:
    journal, mark = await stores.journal(), Unique("mark", "signal-1", 60)
    entry_id = await append(journal, b"x", mark)
    assert await append(journal, b"x", mark) == entry_id
    assert await journal.count(BOX) == (1, 0)


async def test_one_value_under_two_marks_is_two_entries(stores: Stores) -> None:
    journal = await stores.journal()
    ids = [await append(journal, mark.encode(), Unique(mark, "signal-1", 60)) for mark in ("one", "two")]
    assert len(set(ids)) == 2
    assert [await append(journal, b"again", Unique(mark, "signal-1", 60)) for mark in ("one", "two")] == ids
    assert [entry.payload for entry in await (await stores.journal()).recover(BOX)] == [b"one", b"two"]


async def test_of_many_appends_at_once_with_one_mark_one_wins_and_all_learn_who(stores: Stores) -> None:
    journal = await stores.journal()
    outcomes = await asyncio.gather(
        *(journal.append(BOX, b"%d" % n, unique=Unique("mark", str(n), 60)) for n in range(20))
    )
    assert [type(outcome) for outcome in outcomes].count(Appended) == 1
    winner = next(str(n) for n, outcome in enumerate(outcomes) if isinstance(outcome, Appended))
    assert {outcome.value for outcome in outcomes if isinstance(outcome, Duplicate)} == {winner}
    assert await journal.count(BOX) == (1, 0)


async def test_burying_moves_an_entry_to_the_dead_letters_once(stores: Stores) -> None:
    journal = await stores.journal()
    entry_id = await append(journal, b"x")
    await journal.bury(BOX, entry_id, b"x", LETTER)
    await journal.bury(BOX, entry_id, b"x", LETTER)
    assert await journal.count(BOX) == (0, 1)
    assert await (await stores.journal()).recover(BOX) == []


async def test_a_text_that_no_store_can_hold_keeps_no_entry_from_being_buried(stores: Stores) -> None:
    journal = await stores.journal()
    await bury(journal, b"x", ODD)
    [found] = await letters(journal)
    assert found.letter.cause.startswith("ValueError: ")
    assert set(found.letter.facts) > {"key"}


@several_owners
async def test_the_mail_of_a_living_node_is_left_alone(stores: Stores) -> None:
    await append(await stores.journal("a"), b"x")
    other = await stores.journal("b")
    assert await other.recover(BOX) == []
    assert await other.adopt(BOX) == []
    assert len(await (await stores.journal("a")).recover(BOX)) == 1


@several_owners
async def test_the_mail_of_a_dead_node_is_adopted_with_its_attempts_and_in_order(stores: Stores) -> None:
    dead = await stores.journal("a")
    for number in range(3):
        await append(dead, b"%d" % number)
    again = await stores.journal("a")
    for entry in await again.recover(BOX):
        await again.settle(BOX, [], begin=[entry.entry_id])
    await stores.end_lease("a")
    heir = await stores.journal("b")
    adopted = await heir.adopt(BOX)
    assert [(entry.payload, entry.attempts) for entry in adopted] == [(b"0", 1), (b"1", 1), (b"2", 1)]
    assert await (await stores.journal("a")).recover(BOX) == []
    for entry in adopted:
        await heir.settle(BOX, [Settlement(entry.entry_id)])
    assert await heir.count(BOX) == (0, 0)


@several_owners
async def test_what_a_process_leaves_in_good_order_is_adopted_without_waiting_for_its_lease(stores: Stores) -> None:
    leaver, heir = await stores.journal("a"), await stores.journal("b")
    await leaver.settle(BOX, [Settlement(await append(leaver, b"done"))])
    await append(leaver, b"left")
    assert await heir.adopt(BOX) == []
    assert await leaver.release() is True
    assert [entry.payload for entry in await heir.adopt(BOX)] == [b"left"]
    with pytest.raises(Fenced):
        await leaver.append(BOX, b"late")


@several_owners
async def test_whoever_has_left_and_comes_back_first_has_its_own_mail_and_lease_again(stores: Stores) -> None:
    leaver, heir = await stores.journal("a"), await stores.journal("b")
    await append(leaver, b"left")
    await leaver.release()
    again = await stores.journal("a")
    assert [entry.payload for entry in await again.recover(BOX)] == [b"left"]
    assert await heir.adopt(BOX) == []


async def test_whoever_has_no_mail_leaves_nothing(stores: Stores) -> None:
    leaver = await stores.journal()
    assert await leaver.release() is False
    await leaver.settle(BOX, [Settlement(await append(leaver, b"done"))])
    assert await leaver.release() is False


@several_owners
async def test_of_two_adopters_at_once_exactly_one_gets_each_entry(stores: Stores) -> None:
    dead = await stores.journal("a")
    for number in range(30):
        await append(dead, b"%d" % number)
    await stores.end_lease("a")
    shares = await asyncio.gather(*[(await stores.journal(node)).adopt(BOX) for node in "bcde"])
    got = sorted(int(entry.payload) for share in shares for entry in share)
    assert got == list(range(30))


@several_owners
async def test_of_two_looks_of_one_process_at_once_one_gives_what_there_is(stores: Stores) -> None:
    await append(await stores.journal("a"), b"x")
    await stores.end_lease("a")
    heir = await stores.journal("b")
    shares = await asyncio.gather(heir.adopt(BOX), heir.adopt(BOX))
    assert [entry.payload for share in shares for entry in share] == [b"x"]


@several_owners
async def test_what_was_adopted_can_be_adopted_again_when_the_heir_dies_too(stores: Stores) -> None:
    await append(await stores.journal("a"), b"x")
    await stores.end_lease("a")
    assert len(await (await stores.journal("b")).recover(BOX)) == 1
    assert await (await stores.journal("c")).adopt(BOX) == []
    await stores.end_lease("b")
    assert [entry.payload for entry in await (await stores.journal("c")).adopt(BOX)] == [b"x"]


@several_owners
async def test_a_looking_adopter_does_not_get_what_it_already_has(stores: Stores) -> None:
    journal = await stores.journal("b")
    await append(journal, b"mine")
    await append(await stores.journal("a"), b"theirs")
    await stores.end_lease("a")
    assert [entry.payload for entry in await journal.adopt(BOX)] == [b"theirs"]
    assert await journal.adopt(BOX) == []


async def bury(journal: Journal, payload: bytes, letter: DeadLetter = LETTER) -> None:
    await journal.bury(BOX, await append(journal, payload), payload, letter)


async def letters(journal: Journal, limit: int = 50) -> list[Buried]:
    """All dead letters, page by page."""
    found: list[Buried] = []
    while page := await journal.dead_letters(BOX, after=found[-1].dead_id if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return found


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_dead_letters_of_all_processes_are_shown_newest_first_page_by_page(stores: Stores, limit: int) -> None:
    for number in range(7):
        await bury(await stores.journal("ab"[number % 2]), b"%d" % number)
    found = await letters(await stores.journal("c"), limit)
    assert [one.payload for one in found] == [b"6", b"5", b"4", b"3", b"2", b"1", b"0"]
    assert [one.buried_at for one in found] == sorted((one.buried_at for one in found), reverse=True)


async def test_a_dead_letter_tells_what_was_said_of_it(stores: Stores) -> None:
    journal = await stores.journal()
    await bury(journal, b"\xff\x00x")
    [listed] = await letters(journal)
    found = await (await stores.journal("b")).dead_letter(BOX, listed.dead_id)
    assert found == listed
    assert (found.payload, found.letter.cause, found.letter.traceback) == (b"\xff\x00x", LETTER.cause, LETTER.traceback)
    assert (found.letter.attempts, set(found.letter.facts)) == (3, {"key"})
    assert abs(found.buried_at - time.time()) < 60


async def test_a_replayed_letter_is_an_entry_of_whoever_replays_it_without_its_attempts(stores: Stores) -> None:
    first = await stores.journal("a")
    await append(first, b"x")
    again = await stores.journal("a")
    [entry] = await again.recover(BOX)
    await again.settle(BOX, [], begin=[entry.entry_id])
    await again.bury(BOX, entry.entry_id, b"x", LETTER)
    [letter] = await letters(again)
    journal = await stores.journal("b")
    replayed = await journal.replay(BOX, letter.dead_id)
    assert replayed is not None
    assert replayed.payload == b"x"
    assert await journal.count(BOX) == (1, 0)
    journal = await stores.journal("b")
    [recovered] = await journal.recover(BOX)
    assert (recovered.entry_id, recovered.payload, recovered.attempts) == (replayed.entry_id, b"x", 0)
    assert (replayed.replayed, recovered.replayed) == (True, True)
    await journal.settle(BOX, [Settlement(replayed.entry_id)])
    assert await journal.count(BOX) == (0, 0)


@several_owners
async def test_an_entry_that_was_a_dead_letter_says_so_to_whoever_recovers_or_adopts_it(stores: Stores) -> None:
    first = await stores.journal("a")
    await bury(first, b"x")
    [letter] = await letters(first)
    replayed = await first.replay(BOX, letter.dead_id)
    assert replayed is not None
    await append(first, b"y")
    known = {b"x": True, b"y": False}
    recovered = await (await stores.journal("a")).recover(BOX)
    assert (replayed.replayed, {one.payload: one.replayed for one in recovered}) == (True, known)
    for heir, dead in (("b", "a"), ("c", "b")):
        await stores.end_lease(dead)
        adopted = await (await stores.journal(heir)).adopt(BOX)
        assert {one.payload: one.replayed for one in adopted} == known


@several_owners
async def test_what_was_replayed_is_adopted_when_whoever_replayed_it_dies(stores: Stores) -> None:
    await bury(await stores.journal("a"), b"x")
    [letter] = await letters(await stores.journal("a"))
    await (await stores.journal("b")).replay(BOX, letter.dead_id)
    heir = await stores.journal("c")
    assert await heir.adopt(BOX) == []  # b holds a lease
    await stores.end_lease("b")
    assert [entry.payload for entry in await heir.adopt(BOX)] == [b"x"]


async def test_of_many_replays_and_discards_at_once_one_has_the_letter(stores: Stores) -> None:
    journal = await stores.journal()
    await bury(journal, b"x")
    [letter] = await letters(journal)
    replays = [(await stores.journal(node)).replay(BOX, letter.dead_id) for node in "abcdef"]
    discards = [journal.discard(BOX, letter.dead_id) for _ in range(3)]
    results = await asyncio.gather(*replays, *discards)
    assert len([one for one in results if one]) == 1
    assert await letters(journal) == []
    assert await journal.dead_letter(BOX, letter.dead_id) is None


async def test_a_discarded_letter_is_gone(stores: Stores) -> None:
    journal = await stores.journal()
    for payload in (b"kept", b"gone"):
        await bury(journal, payload)
    newest, oldest = await letters(journal)
    assert await journal.discard(BOX, newest.dead_id)
    assert not await journal.discard(BOX, newest.dead_id)
    assert await journal.replay(BOX, newest.dead_id) is None
    assert await letters(journal) == [oldest]
    assert [one.payload for one in await journal.dead_letters(BOX, after=newest.dead_id)] == [b"kept"]


@pytest.mark.parametrize(
    "nonsense",
    ["", "x", "1:", "1:x", "2:5", "3:5-5", "1:5-5-5", "1:-1--1", "0-0", "1:0-0", "2:0-0", "²-²", f"1:{10**40}-1"],
)
async def test_what_is_no_dead_letters_id_finds_none(stores: Stores, nonsense: str) -> None:
    journal = await stores.journal()
    await bury(journal, b"x")
    assert await journal.dead_letter(BOX, nonsense) is None
    assert await journal.replay(BOX, nonsense) is None
    assert not await journal.discard(BOX, nonsense)
    assert await journal.dead_letters(BOX, after=nonsense) == []
    assert await journal.count(BOX) == (0, 1)


async def test_an_entry_tells_its_age(stores: Stores) -> None:
    await append(await stores.journal(), b"x")
    await asyncio.sleep(0.05)
    [entry] = await (await stores.journal()).recover(BOX)
    assert 0.05 <= entry.age_s + 0.001 < 60


async def test_dead_letters_of_both_stores_are_put_in_order(database: Database, redis_store: RedisStore) -> None:
    journals = await own(database, redis_store, BOX)
    in_redis, in_postgres, both = journals.redis, journals.postgres, journals.both
    for number in range(8):
        await bury((in_redis, in_postgres)[number % 2], b"%d" % number)
        await asyncio.sleep(0.002)
    for limit in (1, 2, 5, 50):
        found = await letters(both, limit)
        assert [one.payload for one in found] == [b"%d" % number for number in reversed(range(8))]
    for letter in await letters(both):
        assert await both.discard(BOX, letter.dead_id)
    assert await both.count(BOX) == (0, 0)


async def test_dead_letters_of_one_millisecond_in_both_stores_are_all_shown_once(
    database: Database, redis_store: RedisStore
) -> None:
    both = (await own(database, redis_store, BOX)).both
    fields = ("cause", "c", "traceback", "t", "attempts", 1, "facts", "{}")
    for number in range(3):
        await redis_store.command("XADD", f"mailbox:dead:{BOX}", f"1700000000000-{number}", "p", f"r{number}", *fields)
        await database.execute(
            "insert into dead_letters (mailbox, payload, cause, traceback, attempts, facts, buried_at) "
            "values ($1, $2, 'c', 't', 1, '{}', to_timestamp(1700000000.000) + interval '300 microseconds')",
            BOX,
            f"p{number}".encode(),
        )
    for limit in (1, 2, 50):
        found = await letters(both, limit)
        assert [one.payload for one in found] == [b"p2", b"p1", b"p0", b"r2", b"r1", b"r0"]


async def fenced(stores: Stores) -> tuple[Journal, Journal, str]:
    """A journal whose lease ran out while it slept, the heir of its mail, and the entry that was its own."""
    sleeper = await stores.journal("a")
    entry_id = await append(sleeper, b"x")
    await stores.end_lease("a")
    return sleeper, await stores.journal("b"), entry_id


@several_owners
async def test_a_lease_that_ran_out_does_nothing_by_itself(stores: Stores) -> None:
    sleeper, heir, entry_id = await fenced(stores)
    other = await append(sleeper, b"y")
    await sleeper.settle(BOX, [Settlement(entry_id)])
    assert await sleeper.adopt(BOX) == []
    await sleeper.settle(BOX, [Settlement(other)])
    assert await heir.adopt(BOX) == []


@several_owners
async def test_a_node_without_mail_is_never_fenced(stores: Stores) -> None:
    sleeper, heir, entry_id = await fenced(stores)
    await sleeper.settle(BOX, [Settlement(entry_id)])
    await stores.end_lease("a")
    assert await heir.adopt(BOX) == []
    assert await heir.recover(BOX) == []
    await sleeper.settle(BOX, [Settlement(await append(sleeper, b"y"))])


@several_owners
async def test_whoever_was_fenced_changes_nothing_any_more(stores: Stores) -> None:
    sleeper, heir, entry_id = await fenced(stores)
    [adopted] = await heir.adopt(BOX)
    for act in (
        sleeper.append(BOX, b"late"),
        sleeper.append(BOX, b"late", unique=Unique("m", "1", 60)),
        sleeper.settle(BOX, [Settlement(entry_id)]),
        sleeper.settle(BOX, [Settlement(adopted.entry_id)]),
        sleeper.bury(BOX, entry_id, b"x", LETTER),
        sleeper.bury(BOX, adopted.entry_id, b"x", LETTER),
        sleeper.settle(BOX, [], begin=[entry_id]),
        sleeper.settle(BOX, [], begin=[adopted.entry_id]),
        sleeper.uncount(BOX, [entry_id, adopted.entry_id]),
        sleeper.adopt(BOX),
    ):
        with pytest.raises(Fenced):
            await act
    assert await heir.count(BOX) == (1, 0)
    assert await sleeper.count(BOX) == (0, 0)
    # The mark that came with the refused append is free.
    assert isinstance(await heir.append(BOX, b"y", unique=Unique("m", "2", 60)), Appended)
    successor = await stores.journal("b")
    assert [(entry.payload, entry.attempts) for entry in await successor.recover(BOX)] == [(b"x", 0), (b"y", 0)]


@several_owners
async def test_a_fenced_node_replays_no_dead_letter(stores: Stores) -> None:
    sleeper, heir, _ = await fenced(stores)
    await bury(sleeper, b"dead")
    [letter] = await letters(sleeper)
    await stores.end_lease("a")
    await heir.adopt(BOX)
    with pytest.raises(Fenced):
        await sleeper.replay(BOX, letter.dead_id)
    assert await heir.count(BOX) == (1, 1)


@several_owners
async def test_whoever_was_fenced_recovers_what_is_left_and_works_on_with_a_new_epoch(stores: Stores) -> None:
    sleeper, heir, _ = await fenced(stores)
    [adopted] = await heir.adopt(BOX)
    with pytest.raises(Fenced):
        await sleeper.append(BOX, b"late")
    assert await sleeper.recover(BOX) == []
    entry_id = await append(sleeper, b"later")
    await heir.settle(BOX, [Settlement(adopted.entry_id)])
    assert await heir.count(BOX) == (0, 0)
    await sleeper.settle(BOX, [Settlement(entry_id)])
    assert await sleeper.count(BOX) == (0, 0)


@several_owners
async def test_whoever_was_fenced_and_does_not_know_recovers_under_an_epoch_that_may_commit(stores: Stores) -> None:
    sleeper, heir, _ = await fenced(stores)
    [adopted] = await heir.adopt(BOX)
    with pytest.raises(Fenced):
        await sleeper.recover(BOX)
    assert await sleeper.recover(BOX) == []
    await append(sleeper, b"later")
    assert await stores.may_commit(sleeper)
    await heir.settle(BOX, [Settlement(adopted.entry_id)])
    assert await heir.count(BOX) == (0, 0)


@several_owners
async def test_mail_that_comes_back_to_its_first_owner_is_delivered_again(stores: Stores) -> None:
    first, second, _ = await fenced(stores)
    await second.adopt(BOX)
    with pytest.raises(Fenced):
        await first.append(BOX, b"late")
    assert await first.recover(BOX) == []
    await stores.end_lease("b")
    assert [entry.payload for entry in await first.adopt(BOX)] == [b"x"]


class Restless(LeaseTimes):
    """Whatever a process sends is to renew its lease as well."""

    @property
    def heartbeat_s(self) -> float:
        return 0.0


@several_owners
async def test_a_process_makes_an_earlier_one_of_its_node_stale(stores: Stores) -> None:
    earlier = await stores.journal("a", times=Restless())
    await earlier.recover(BOX)
    entry_id = await append(earlier, b"x")
    await bury(earlier, b"dead")
    [letter] = await letters(earlier)
    later = await stores.journal("a")
    assert [entry.payload for entry in await later.recover(BOX)] == [b"x"]
    await later.settle(BOX, [], begin=[entry_id])
    before = await stores.everything()
    for act in (
        earlier.append(BOX, b"y"),
        earlier.append(BOX, b"y", unique=Unique("m", "1", 60)),
        earlier.settle(BOX, [Settlement(entry_id, [Announcement("channel", b"late")])]),
        earlier.settle(BOX, [], begin=[entry_id]),
        earlier.uncount(BOX, [entry_id]),
        earlier.bury(BOX, entry_id, b"x", LETTER),
        earlier.replay(BOX, letter.dead_id),
        earlier.adopt(BOX),
        stores.renew_lease(earlier),
    ):
        with pytest.raises(Fenced):
            await act
        assert await stores.everything() == before
    with suppress(Fenced):  # of two stores one may be down: over both it says no more than that it has left nothing
        assert not await earlier.release()
    assert await stores.everything() == before
    assert await (await stores.journal("b")).adopt(BOX) == [], "the lease is that of the later process"
    await later.settle(BOX, [Settlement(entry_id)])
    assert await later.count(BOX) == (0, 1)


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_an_adopter_that_is_fenced_while_it_fences_takes_nothing(
    database: Database, redis_store: RedisStore, kind: str
) -> None:
    class Overtaken(PostgresOwnership):
        """Whoever claims with this has been fenced itself when that is done."""

        async def claim(self, owner: Owner) -> Claim | None:
            claim, us = await super().claim(owner), self.of(owner.mailbox)
            assert await self.fence(us)
            await redis_store.command("SET", f"fence:{BOX}:{us.node}", us.epoch + 1)
            return claim

    async def owned(ownership: PostgresOwnership) -> Journal:
        await ownership.take(BOX)
        if kind == "redis":
            return RedisJournal(redis_store, ownership=ownership)
        return PostgresJournal(database, ownership=ownership)

    await append(await owned(PostgresOwnership(database, node="dead")), b"x")
    await end_lease(redis_store, database, BOX, "dead")
    late, heir = await owned(Overtaken(database, node="late")), await owned(PostgresOwnership(database, node="heir"))
    with suppress(Fenced):
        assert await late.adopt(BOX) == []
    assert [entry.payload for entry in await heir.adopt(BOX)] == [b"x"]


@several_owners
async def test_an_adopter_that_was_fenced_itself_gets_nothing(stores: Stores) -> None:
    sleeper, heir, _ = await fenced(stores)
    await heir.adopt(BOX)
    third = await stores.journal("c")
    await append(third, b"z")
    await stores.end_lease("c")
    with pytest.raises(Fenced):
        await sleeper.adopt(BOX)
    assert [entry.payload for entry in await heir.adopt(BOX)] == [b"z"]


@several_owners
async def test_mail_of_more_than_one_page_is_adopted_in_order(stores: Stores) -> None:
    dead = await stores.journal("a")
    for number in range(1_100):
        await append(dead, b"%d" % number)
    await stores.end_lease("a")
    heir = await stores.journal("b")
    assert [int(entry.payload) for entry in await heir.adopt(BOX)] == list(range(1_100))
    assert await heir.count(BOX) == (1_100, 0)
    assert [int(entry.payload) for entry in await (await stores.journal("b")).recover(BOX)] == list(range(1_100))


async def test_without_postgresql_nobody_is_fenced_and_adoption_waits(
    database: Database, redis_store: RedisStore
) -> None:
    await append((await own(database, redis_store, BOX, "a")).redis, b"x")
    await end_lease(redis_store, database, BOX, "a")
    async with open_database("postgresql://nobody@127.0.0.1:1/nothing") as down:
        cut_off = RedisJournal(redis_store, ownership=PostgresOwnership(down, node="b"))
        assert await cut_off.adopt(BOX) == []
        await cut_off.settle(BOX, [Settlement(await append(cut_off, b"its own mail is taken and settled"))])
    assert [entry.payload for entry in await (await own(database, redis_store, BOX, "c")).redis.adopt(BOX)] == [b"x"]
