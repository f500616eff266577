"""Durable mailboxes: what is acknowledged survives, is settled after its effect, and is given up with its cause."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorStopped,
    Announcement,
    Appended,
    Backoff,
    Buried,
    ChildSpec,
    Controls,
    DeadLetter,
    Duplicate,
    Durability,
    DurableRef,
    Entry,
    JournalUnavailable,
    MailboxFull,
    MailboxSpec,
    RetryPolicy,
    Settlement,
    SupervisorSpec,
    Unique,
    UnknownDeadLetter,
    UnreadableDeadLetter,
)
from trendedge.runtime.journal import SETTLED_AT_ONCE


@dataclass(frozen=True)
class Order:
    account: str
    text: str


def encode(order: Order) -> bytes:
    return f"{order.account}|{order.text}".encode()


def decode(payload: bytes) -> Order:
    account, text = payload.decode().split("|")
    return Order(account, text)


class StoreDown(Exception):
    """An outage: it says nothing about the message."""


class Executor(Actor[Order]):
    """Keeps what it handled; fails as the text of the order says."""

    def __init__(self, done: list[str], outage: anyio.Event) -> None:
        self.done, self.outage = done, outage

    async def receive(self, message: Order) -> None:
        if message.text == "poison":
            raise ValueError("cannot be handled")
        if message.text == "needs store" and not self.outage.is_set():
            raise StoreDown
        self.done.append(message.text)
        self.context.announce_on_settle("events", message.text.encode())


def tree(
    journal: MemoryJournal,
    done: list[str],
    *,
    store_up: anyio.Event | None = None,
    capacity: int = 10,
    on_bury: Callable[[Order, DeadLetter], Awaitable[None]] | None = None,
    on_replay: Callable[[Order], Awaitable[None]] | None = None,
    shutdown_s: float = 5.0,
) -> tuple[DurableRef[Order], SupervisorSpec]:
    ref = DurableRef[Order]("executor")
    up = store_up or anyio.Event()
    child = ChildSpec(
        "executor",
        lambda: Executor(done, up),
        ref,
        shutdown_s=shutdown_s,
        mailbox=MailboxSpec(capacity, key=lambda order: order.account),
        retry=RetryPolicy(delays_s=(0.0, 0.0), outage=(StoreDown,), outage_delays_s=(0.0,)),
        durability=Durability(journal, "executor", encode, decode, on_bury, on_replay),
    )
    return ref, SupervisorSpec("root", [child])


async def test_what_is_done_while_the_journal_is_busy_is_settled_together_and_in_order() -> None:
    @dataclass
    class Busy(MemoryJournal):
        calls: list[list[str]] = field(default_factory=list)
        free: anyio.Event = field(default_factory=anyio.Event)

        async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
            self.calls.append([one.announce[0].payload.decode() for one in settlements])
            await self.free.wait()
            await super().settle(mailbox, settlements, begin=begin)

    journal, done = Busy(), list[str]()
    ref, spec = tree(journal, done, capacity=1000)
    most = [str(number) for number in range(2 * SETTLED_AT_ONCE)]  # the loop turns in between
    async with running(spec):
        for what in most:
            await ref.tell(Order("a", what))
        await until(lambda: len(done) == len(most))
        journal.free.set()
    assert [what for call in journal.calls for what in call] == most
    assert max(map(len, journal.calls)) == SETTLED_AT_ONCE
    assert len(journal.calls) <= 3
    assert journal.entries == {}


async def test_a_message_is_settled_after_it_was_handled_and_announced_in_the_same_step() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        outcome = await ref.tell(Order("a", "buy"))
        assert isinstance(outcome, Appended)
        assert journal.entries == {outcome.entry_id: b"a|buy"}
    assert done == ["buy"]
    assert (journal.entries, journal.settled) == ({}, [outcome.entry_id])
    assert journal.announced == [Announcement("events", b"buy")]


async def test_what_an_earlier_process_left_is_delivered_first_and_in_order() -> None:
    journal, done = MemoryJournal(entries={"000001": b"a|first", "000002": b"a|second"}), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        await ref.tell(Order("a", "third"))
        await anyio.wait_all_tasks_blocked()
    assert done == ["first", "second", "third"]
    assert journal.entries == {}


async def test_a_duplicate_is_neither_appended_nor_delivered() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        first = await ref.tell(Order("a", "buy"), unique=Unique("mark", "signal-1", 60))
        second = await ref.tell(Order("a", "buy"), unique=Unique("mark", "signal-2", 60))
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.depth == 0
    assert isinstance(first, Appended)
    assert second == Duplicate("signal-1")
    assert done == ["buy"]


async def test_a_poison_message_is_buried_with_its_cause_and_holds_nobody_up() -> None:
    journal, done, told = MemoryJournal(), list[str](), list[tuple[Order, str]]()

    async def on_bury(order: Order, letter: DeadLetter) -> None:
        told.append((order, letter.cause))

    ref, spec = tree(journal, done, on_bury=on_bury)
    async with running(spec):
        for text in ("poison", "buy"):
            await ref.tell(Order("a", text))
        while not done:
            await anyio.lowlevel.checkpoint()
        assert ref.cell.log is not None
        assert (ref.cell.log.pending, ref.cell.log.dead) in {(0, 1), (1, 1)}
    [(payload, letter)] = journal.dead
    assert told == [(Order("a", "poison"), letter.cause)]
    assert payload == b"a|poison"
    assert (letter.cause, letter.attempts) == ("ValueError: cannot be handled", 3)
    assert "Traceback" in letter.traceback
    assert done == ["buy"]


async def test_a_look_counts_the_dead_when_nobody_could_before_or_the_last_one_found_mail_and_else_never() -> None:
    class Counts(MemoryJournal):
        away = True
        counted = 0

        async def count(self, mailbox: str) -> tuple[int, int]:
            if self.away:
                raise JournalUnavailable("half of it", "away")
            self.counted += 1
            return await super().count(mailbox)

    journal, done = Counts(), list[str]()
    for number in "12":
        letter = DeadLetter("ValueError: no", "...", 3)
        journal.letters[number] = Buried(number, b"a|buy", letter, buried_at=0.0)
    ref, spec = tree(journal, done)
    async with running(spec):
        log = ref.cell.log
        assert log is not None
        await ref.tell(Order("a", "poison"))
        await until(lambda: log.dead == 1)  # as far as this process knows
        await ref.adopt()
        journal.away = False
        await ref.adopt()
        assert (log.dead, journal.counted) == (3, 1)
        journal.orphans = [Entry("1", b"a|buy")]
        await ref.adopt()
        assert journal.counted == 1
        for _ in range(3):
            await ref.adopt()
        assert (log.dead, journal.counted) == (3, 2)


async def test_an_outage_uses_up_no_attempt_and_loses_nothing() -> None:
    journal, done, up = MemoryJournal(), list[str](), anyio.Event()
    ref, spec = tree(journal, done, store_up=up)
    async with running(spec):
        await ref.tell(Order("a", "needs store"))
        while ref.cell.stats.failed < 20:
            await anyio.lowlevel.checkpoint()
        up.set()
        while not done:
            await anyio.lowlevel.checkpoint()
        assert ref.cell.stats.restarts == 0
    assert (done, journal.entries, journal.dead) == (["needs store"], {}, [])


async def test_a_message_that_killed_the_process_three_times_ends_in_the_dead_letters() -> None:
    journal, done = MemoryJournal(entries={"000001": b"a|buy"}, attempts={"000001": 2}), list[str]()
    _, spec = tree(journal, done)
    async with running(spec):
        await anyio.wait_all_tasks_blocked()
    assert done == []
    assert journal.dead[0][1].cause == "3 attempts ended with the death of the process"


async def test_a_line_that_an_earlier_process_has_left_costs_one_call_a_message() -> None:
    @dataclass
    class Counting(MemoryJournal):
        calls: list[tuple[list[str], list[str]]] = field(default_factory=list)

        async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
            await super().settle(mailbox, settlements, begin=begin)
            self.calls.append(([one.entry_id for one in settlements], list(begin)))

    journal, done = Counting({f"{number:06}": b"a|buy" for number in range(3)}), list[str]()
    _, spec = tree(journal, done)
    async with running(spec):
        await until(lambda: not journal.entries)
    assert journal.calls == [
        ([], ["000000"]),
        (["000000"], ["000001"]),
        (["000001"], ["000002"]),
        (["000002"], []),
    ]


async def test_lines_that_an_earlier_process_has_left_share_their_calls() -> None:
    @dataclass
    class Counting(MemoryJournal):
        begun: list[int] = field(default_factory=list)

        async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
            await anyio.lowlevel.checkpoint()
            await super().settle(mailbox, settlements, begin=begin)
            self.begun.append(len(begin))

    lines = SETTLED_AT_ONCE + 20
    journal, done = Counting({f"{number:06}": b"%d|buy" % number for number in range(lines)}), list[str]()
    _, spec = tree(journal, done, capacity=1000)
    async with running(spec):
        await until(lambda: not journal.entries)
    assert [number for number in journal.begun if number] == [SETTLED_AT_ONCE, 20]


class Suspecting(MemoryJournal):
    """Settles slowly, and notes which of the entries that were in hand at a death are so when one of them is begun."""

    def __init__(self, *texts: str) -> None:
        super().__init__({f"{number:06}": text.encode() for number, text in enumerate(texts)})
        self.attempts = dict.fromkeys(self.entries, 1)
        self.begun = list[str]()
        self.beside = list[set[str]]()

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        await anyio.sleep(0.01)
        await super().settle(mailbox, settlements, begin=begin)
        for entry_id in begin:
            self.beside.append(self.entries.keys() & set(self.begun))
            self.begun.append(entry_id)


async def test_of_those_that_were_in_hand_when_a_process_died_one_is_tried_at_a_time_until_it_is_settled() -> None:
    journal, done = Suspecting("a|one", "b|two", "c|three"), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        await ref.tell(Order("d", "was not in hand"))
        await until(lambda: len(done) == 4)
    assert done[0] in {"one", "was not in hand"}
    assert journal.beside == [set(), set(), set()]


async def test_one_that_was_in_hand_when_a_process_died_and_only_fails_holds_up_no_other() -> None:
    journal, done, up = Suspecting("a|needs store", "b|two"), list[str](), anyio.Event()
    _, spec = tree(journal, done, store_up=up)
    async with running(spec):
        await until(lambda: done == ["two"])
        up.set()
        await until(lambda: len(done) == 2)
    assert done == ["two", "needs store"]
    assert journal.entries == {}


class Hesitant(Actor[Order]):
    """Works on what is `slow` until the gate opens; puts aside what it is to do `later` until it is told to `go`."""

    def __init__(self, done: list[str], gate: anyio.Event) -> None:
        self._done, self._gate = done, gate

    async def receive(self, message: Order) -> None:
        match message.text:
            case "slow":
                await self._gate.wait()
            case "later" if "go" not in self._done:
                self.context.stash()
                return
            case "go":
                self.context.unstash_all()
            case _:
                pass
        self._done.append(message.text)


def hesitant(
    journal: MemoryJournal, done: list[str], gate: anyio.Event, *, keyed: bool
) -> tuple[DurableRef[Order], SupervisorSpec]:
    ref = DurableRef[Order]("hesitant")
    mailbox = MailboxSpec(key=(lambda order: order.account) if keyed else None)
    durability = Durability(journal, "hesitant", encode, decode)
    child = ChildSpec(
        "hesitant", lambda: Hesitant(done, gate), ref, mailbox=mailbox, durability=durability, shutdown_s=0.0
    )
    return ref, SupervisorSpec("root", [child])


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "one instance"])
async def test_an_ordered_restart_is_no_death_of_the_process_for_what_is_in_hand(keyed: bool) -> None:
    journal, done, gate = MemoryJournal(), list[str](), anyio.Event()
    ref, spec = hesitant(journal, done, gate, keyed=keyed)
    async with running(spec) as root:
        await ref.tell(Order("a", "slow"))
        for _ in range(4):
            await until(lambda: bool(ref.cell.busy()))
            await Controls(root).restart("root/hesitant")
        gate.set()
        await until(lambda: not journal.entries)
    assert (done, journal.dead) == (["slow"], [])


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "left by a process"])
async def test_what_comes_after_a_process_takes_none_of_its_ordered_restarts_for_a_death(sent: bool) -> None:
    journal, done, gate = MemoryJournal({} if sent else {"000001": b"a|slow"}), list[str](), anyio.Event()
    ref, spec = hesitant(journal, done, gate, keyed=True)
    async with running(spec) as root:
        if sent:
            await ref.tell(Order("a", "slow"))
        for _ in range(4):
            await until(lambda: bool(ref.cell.busy()))
            await Controls(root).restart("root/hesitant")
    gate.set()
    _, spec = hesitant(journal, done, gate, keyed=True)
    async with running(spec):
        await until(lambda: not journal.entries)
    assert (done, journal.dead) == (["slow"], [])


async def test_an_attempt_that_was_cut_off_before_it_was_counted_counts_the_next_time() -> None:
    class Deaf(MemoryJournal):
        async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
            await up.wait()
            await super().settle(mailbox, settlements, begin=begin)

    up, done, gate = anyio.Event(), list[str](), anyio.Event()
    journal = Deaf({"000001": b"a|slow"}, orphans=[Entry("000002", b"b|slow")])
    ref, spec = hesitant(journal, done, gate, keyed=True)
    async with running(spec) as root:
        await until(lambda: len(ref.cell.busy()) == 1)
        await ref.adopt()
        await until(lambda: len(ref.cell.busy()) == 2)
        await Controls(root).restart("root/hesitant")
        up.set()
        gate.set()
        await until(lambda: not journal.entries)
    assert journal.attempts["000002"] == 1


async def test_a_suspect_that_is_in_hand_at_an_ordered_restart_keeps_no_other_from_its_turn() -> None:
    journal, done, gate = Suspecting("a|slow", "b|two", "c|three"), list[str](), anyio.Event()
    ref, spec = hesitant(journal, done, gate, keyed=True)
    async with running(spec) as root:
        await until(lambda: bool(journal.begun))
        await Controls(root).restart("root/hesitant")
        await until(lambda: bool(ref.cell.busy()))
        gate.set()
        await until(lambda: not journal.entries)
    assert sorted(done) == ["slow", "three", "two"]


async def test_a_suspect_that_was_stashed_before_the_one_in_hand_at_an_ordered_restart_gets_its_turn() -> None:
    journal, done, gate = Suspecting("a|later", "a|slow", "a|go"), list[str](), anyio.Event()
    _, spec = hesitant(journal, done, gate, keyed=False)
    async with running(spec) as root:
        await until(lambda: len(journal.begun) == 2)
        await Controls(root).restart("root/hesitant")
        gate.set()
        await until(lambda: not journal.entries)
    assert done == ["slow", "go", "later"]


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "one instance"])
async def test_a_suspect_that_is_stashed_keeps_no_other_from_its_turn(keyed: bool) -> None:
    journal, done = Suspecting("a|later", "b|two", "c|three"), list[str]()
    ref, spec = hesitant(journal, done, anyio.Event(), keyed=keyed)
    async with running(spec) as root:
        await until(lambda: sorted(done) == ["three", "two"])
        await Controls(root).restart("root/hesitant")
        await ref.tell(Order("a", "go"))
        await until(lambda: not journal.entries)
    assert sorted(done) == ["go", "later", "three", "two"]


async def test_bytes_that_cannot_be_read_are_buried_instead_of_stopping_the_start() -> None:
    journal, done = MemoryJournal(entries={"000001": b"\xff", "000002": b"a|buy"}), list[str]()
    _, spec = tree(journal, done)
    async with running(spec):
        await anyio.wait_all_tasks_blocked()
    assert done == ["buy"]
    assert journal.dead[0][1].cause.startswith("unreadable: ")


type Keyless = tuple[DurableRef[list[Any]], SupervisorSpec]


def keyed_by_what_comes_first(journal: MemoryJournal, done: list[int]) -> Keyless:
    """Messages are JSON lists, as an earlier release or somebody else may have written them."""

    class Takes(Actor[list[Any]]):
        async def receive(self, message: list[Any]) -> None:
            done.append(message[1])

    ref = DurableRef[list[Any]]("takes")
    mailbox = MailboxSpec(10, key=lambda message: message[0])
    durability = Durability(journal, "takes", lambda message: json.dumps(message).encode(), json.loads)
    return ref, SupervisorSpec("root", [ChildSpec("takes", Takes, ref, mailbox=mailbox, durability=durability)])


@pytest.mark.parametrize("key", [b'["a"]', b"{}", b"7", b"true"])
async def test_a_message_whose_key_can_be_none_is_buried_instead_of_stopping_the_start(key: bytes) -> None:
    journal, done = MemoryJournal(entries={"000001": b"[%b, 1]" % key, "000002": b'["b", 2]'}), list[int]()
    _, spec = keyed_by_what_comes_first(journal, done)
    async with running(spec):
        await until(lambda: not journal.entries)
    assert done == [2]
    assert journal.dead[0][1].cause.startswith("unreadable: the key of a message must be a text")


async def test_a_message_whose_key_can_be_none_is_refused_before_it_is_journalled() -> None:
    journal, done = MemoryJournal(), list[int]()
    ref, spec = keyed_by_what_comes_first(journal, done)
    async with running(spec):
        with pytest.raises(TypeError, match="key of a message must be a text, not list"):
            await ref.tell([["a"], 1])
        assert journal.entries == {}
        await ref.tell(["b", 2])
        await until(lambda: done == [2])


@pytest.fixture
def buried() -> MemoryJournal:
    """A journal with two dead letters: 1, an order, and 2, which nobody can read."""
    letter = DeadLetter("ValueError: no", "", 3)
    payloads = {"1": b"a|buy", "2": b"\xff"}
    return MemoryJournal(letters={id: Buried(id, payload, letter, 0.0) for id, payload in payloads.items()})


async def test_a_replayed_letter_is_handled_at_once_and_once(buried: MemoryJournal) -> None:
    done, reopened = list[str](), list[Order]()

    async def on_replay(order: Order) -> None:
        assert "1" not in buried.letters
        reopened.append(order)

    ref, spec = tree(buried, done, on_replay=on_replay)
    async with running(spec):
        await ref.redeliver("1")
        with pytest.raises(UnknownDeadLetter):
            await ref.redeliver("1")
        await until(lambda: done == ["buy"] and not buried.entries)
        assert ref.cell.log is not None
        assert (ref.cell.log.pending, ref.cell.log.dead, ref.cell.depth) == (0, 1, 0)
    assert reopened == [Order("a", "buy")]
    assert list(buried.letters) == ["2"]


async def test_letters_that_other_processes_bury_are_counted_before_one_is_taken_out(buried: MemoryJournal) -> None:
    journal = MemoryJournal()
    ref, spec = tree(journal, [])
    async with running(spec):
        log = ref.cell.log
        assert log is not None
        assert log.dead == 0
        journal.letters.update(buried.letters)
        await ref.redeliver("1")
        assert log.dead == 1
        await log.discard("2")
        assert log.dead == 0


async def test_what_cannot_be_read_is_not_replayed(buried: MemoryJournal) -> None:
    ref, spec = tree(buried, [])
    async with running(spec):
        with pytest.raises(UnreadableDeadLetter, match="dead letter 2 cannot be read"):
            await ref.redeliver("2")
    assert set(buried.letters) == {"1", "2"}


async def test_a_stopped_actor_takes_no_letter_back(buried: MemoryJournal) -> None:
    ref, spec = tree(buried, [])
    async with running(spec):
        pass
    with pytest.raises(ActorStopped):
        await ref.redeliver("1")
    assert set(buried.letters) == {"1", "2"}


async def test_a_replayed_letter_that_fails_again_is_buried_again_with_all_its_attempts(buried: MemoryJournal) -> None:
    buried.letters["1"] = Buried("1", b"a|poison", DeadLetter("", "", 1), 0.0)
    ref, spec = tree(buried, [])
    async with running(spec):
        await ref.redeliver("1")
        await until(lambda: len(buried.letters) == 2)
    [letter] = [one.letter for dead_id, one in buried.letters.items() if dead_id != "2"]
    assert letter.attempts == 3


async def test_a_discarded_letter_is_gone_and_whoever_waited_is_told_once_more(buried: MemoryJournal) -> None:
    told: list[tuple[Order, str]] = []

    async def on_bury(order: Order, letter: DeadLetter) -> None:
        told.append((order, letter.cause))

    ref, spec = tree(buried, [], on_bury=on_bury)
    async with running(spec):
        assert ref.cell.log is not None
        for dead_id in ("1", "2"):
            await ref.cell.log.discard(dead_id)
        with pytest.raises(UnknownDeadLetter):
            await ref.cell.log.discard("1")
        assert ref.cell.log.dead == 0
    assert buried.letters == {}
    assert told == [(Order("a", "buy"), "ValueError: no")]


async def test_the_backlog_tells_its_size_and_the_age_of_its_oldest_message() -> None:
    journal = MemoryJournal(entries={"000001": b"a|buy"})
    ref, spec = tree(journal, [])
    async with running(spec):
        assert ref.cell.log is not None
        ref_log = ref.cell.log
        await until(lambda: ref_log.pending == 0)
        assert ref_log.oldest_age_s(anyio.current_time()) == 0.0
        ref.cell.suspend()
        before = anyio.current_time()
        await ref.tell(Order("a", "buy"))
        await ref.tell(Order("a", "sell"))
        assert ref_log.pending == 2
        assert ref_log.oldest_age_s(before + 100) == pytest.approx(100, abs=5)
        journal.orphans = [Entry("000002", b"b|adopted", age_s=500)]
        assert await ref.adopt() == 1
        assert ref_log.oldest_age_s(before + 100) == pytest.approx(600, abs=5)
        ref.cell.resume()
        await until(lambda: ref_log.pending == 0)


async def test_a_full_mailbox_refuses_before_anything_is_journalled() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done, capacity=1)
    async with running(spec):
        await ref.tell(Order("a", "needs store"))
        assert list(ref.waiting()) == [Order("a", "needs store")]
        with pytest.raises(MailboxFull):
            await ref.tell(Order("a", "buy"))
        assert list(journal.entries.values()) == [b"a|needs store"]


async def test_a_failed_append_reaches_the_sender_and_leaves_the_room_free() -> None:
    class Down(MemoryJournal):
        async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
            raise JournalUnavailable("memory", "switched off")

    ref, spec = tree(Down(), [], capacity=1)
    async with running(spec):
        for _ in range(3):
            with pytest.raises(JournalUnavailable, match="journal in memory is unavailable: switched off"):
                await ref.tell(Order("a", "buy"))
        assert ref.cell.depth == 0


async def test_what_is_left_at_the_stop_stays_in_the_journal() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        await ref.tell(Order("a", "needs store"))
        await ref.tell(Order("a", "buy"))
    assert done == []
    assert list(journal.entries.values()) == [b"a|needs store", b"a|buy"]


async def test_mail_of_a_dead_process_is_adopted_while_this_one_runs() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        journal.orphans = [Entry("1", b"a|orphan", 1)]
        assert await ref.adopt() == 1
        assert await ref.adopt() == 0
        await anyio.wait_all_tasks_blocked()
    assert done == ["orphan"]
    assert journal.settled == ["1"]


class NoGraves(MemoryJournal):
    """A journal whose store is down whenever something is to be buried."""

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        raise JournalUnavailable("graves", "down")


async def test_what_cannot_be_buried_now_is_buried_later_and_holds_up_nothing_that_was_adopted_with_it() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        journal.orphans = [Entry("1", b"a|killer", 2), Entry("2", b"a|orphan", 1)]
        journal.bury = NoGraves().bury  # type: ignore[method-assign]
        assert await ref.adopt() == 1
        await anyio.wait_all_tasks_blocked()
        assert done == ["orphan"]
        assert (ref.cell.log is not None and ref.cell.log.pending, journal.dead) == (1, [])
        del journal.bury
        assert await ref.adopt() == 0
    assert [(payload, letter.attempts) for payload, letter in journal.dead] == [(b"a|killer", 3)]
    assert journal.entries == {}


async def test_a_message_that_failed_for_good_is_buried_when_its_store_is_back() -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        journal.bury = NoGraves().bury  # type: ignore[method-assign]
        await ref.tell(Order("a", "poison"))
        await ref.tell(Order("a", "buy"))
        await until(lambda: done == ["buy"])
        del journal.bury
        await ref.adopt()
    assert [(payload, letter.attempts) for payload, letter in journal.dead] == [(b"a|poison", 3)]


async def test_an_attempt_is_counted_when_a_recovered_message_is_begun_and_not_before() -> None:
    journal = MemoryJournal(entries={"000001": b"a|needs store", "000002": b"a|buy"})
    ref, spec = tree(journal, [])
    async with running(spec):
        while ref.cell.stats.failed < 3:
            await anyio.lowlevel.checkpoint()
        assert journal.attempts == {"000001": 1}
    assert set(journal.entries) == {"000001", "000002"}


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_stop_leaves_what_waits_for_its_retry_to_the_next_process(keyed: bool) -> None:
    journal, ref, tries = MemoryJournal(), DurableRef[str]("a"), list[str]()

    class Fails(Actor[str]):
        async def receive(self, message: str) -> None:
            tries.append(message)
            raise ValueError(message)

    spec = ChildSpec(
        "a",
        Fails,
        ref,
        mailbox=MailboxSpec(drain=True, key=(lambda message: message) if keyed else None),
        retry=RetryPolicy(delays_s=(60.0, 60.0)),
        durability=Durability(journal, "a", str.encode, bytes.decode),
    )
    with structlog.testing.capture_logs() as logs:
        async with running(SupervisorSpec("root", [spec], backoff=Backoff(60))) as root:
            await ref.tell("poison")
            await until(lambda: tries == ["poison"] and root.children[0].status == ("running" if keyed else "crashed"))
    assert "crashed" not in [one["event"] for one in logs], "nothing did but the handler, which was told before"
    assert tries == ["poison"]  # the drain has not burnt the attempts that are left
    assert list(journal.entries.values()) == [b"poison"]
    assert journal.dead == []
