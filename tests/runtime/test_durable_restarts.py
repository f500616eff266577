"""Durable mail when its mailbox is restarted, a look or a burial is cut off: each message comes to its end once."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import anyio
import pytest

from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_durable import Order, decode, encode, tree
from trendedge.runtime import (
    Actor,
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
    MailboxSpec,
    RetryPolicy,
    Settlement,
    Supervisor,
    SupervisorSpec,
    Unique,
)


class SlowToAnswer(MemoryJournal):
    """Takes what is appended at once or late, and says so when it is let."""

    def __init__(self, *, fails: bool, lands_late: bool = False) -> None:
        super().__init__()
        self.asked, self.answer = anyio.Event(), anyio.Event()
        self.fails, self.lands_late = fails, lands_late

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        self.asked.set()
        if self.lands_late:
            await self.answer.wait()
        outcome = await super().append(mailbox, payload, unique=unique)
        await self.answer.wait()
        if self.fails:
            raise JournalUnavailable("memory", "the answer was lost")
        return outcome


@pytest.mark.parametrize("of", ["root/executor", "root"], ids=["the actor's", "its supervisor's"])
@pytest.mark.parametrize("fails", [False, True], ids=["answered", "answer lost"])
@pytest.mark.parametrize("lands_late", [False, True], ids=["in the journal before", "in the journal after"])
async def test_what_is_appended_during_a_restart_is_delivered_once(of: str, lands_late: bool, fails: bool) -> None:
    journal, done = SlowToAnswer(fails=fails, lands_late=lands_late), list[str]()
    ref, spec = tree(journal, done)
    async with running(SupervisorSpec("all", [spec])) as root:
        first = ref.cell
        ref.cell.suspend()
        async with anyio.create_task_group() as tasks:

            async def tell() -> None:
                with pytest.raises(JournalUnavailable) if fails else nullcontext():
                    await ref.tell(Order("a", "buy"))

            tasks.start_soon(tell)
            await journal.asked.wait()
            tasks.start_soon(Controls(root).restart, f"all/{of}")
            await anyio.wait_all_tasks_blocked()
            journal.answer.set()
        assert (ref.cell is first) == (of != "root")
        log = ref.cell.log
        assert log is not None
        assert (ref.cell.depth, log.pending) == (1, 1)
        await Controls(root).restart("all/root/executor")
        assert (ref.cell.depth, log.pending) == (1, 1)
        ref.cell.resume()
        await until(lambda: log.pending == 0)
        assert ref.cell.depth == 0
    assert done == ["buy"]
    assert len(journal.settled) == 1


class SlowToLook(MemoryJournal):
    """Looks into itself when it is let, and answers with what it saw before."""

    def __init__(self, entries: dict[str, bytes]) -> None:
        super().__init__(entries)
        self.looking, self.look = anyio.Event(), anyio.Event()

    async def recover(self, mailbox: str) -> list[Entry]:
        found = await super().recover(mailbox)
        self.looking.set()
        await self.look.wait()
        return found


async def test_what_is_sent_while_a_restart_looks_into_the_journal_comes_behind_what_that_finds() -> None:
    journal, done = SlowToLook({"000001": b"a|buy"}), list[str]()
    ref, spec = tree(journal, done)
    root = Supervisor(spec)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(root.run, lambda: None)
        await journal.looking.wait()
        tasks.start_soon(ref.tell, Order("a", "sell"))
        await anyio.wait_all_tasks_blocked()
        journal.look.set()
        await until(lambda: len(journal.settled) == 2)
        assert ref.cell.depth == 0
        root.request_stop()
    assert done == ["buy", "sell"]


async def test_what_is_sent_before_the_first_start_comes_behind_what_that_finds() -> None:
    journal, done = MemoryJournal({"000001": b"a|buy"}), list[str]()
    ref, spec = tree(journal, done)
    root = Supervisor(spec)
    await ref.tell(Order("a", "sell"))
    assert ref.cell.depth == 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(root.run, lambda: None)
        await until(lambda: len(journal.settled) == 2)
        assert ref.cell.depth == 0
        root.request_stop()
    assert done == ["buy", "sell"]


async def test_what_was_sent_before_a_recovery_that_fails_is_found_by_the_next() -> None:
    class FailsOnce(MemoryJournal):
        recoveries = 0

        async def recover(self, mailbox: str) -> list[Entry]:
            self.recoveries += 1
            if self.recoveries == 2:
                raise JournalUnavailable("memory", "down")
            return await super().recover(mailbox)

    journal, done = FailsOnce(), list[str]()
    ref, spec = tree(journal, done)
    spec = replace(spec, backoff=Backoff(0.001, 0.001))
    async with running(spec) as root:
        ref.cell.suspend()
        await ref.tell(Order("a", "buy"))
        await Controls(root).restart("root/executor")
        log = ref.cell.log
        assert log is not None
        await until(lambda: (journal.recoveries, ref.cell.depth, log.pending) == (3, 1, 1))
        ref.cell.resume()
        await until(lambda: log.pending == 0)
    assert (done, len(journal.settled)) == (["buy"], 1)


async def test_what_is_adopted_or_replayed_during_a_restart_is_delivered_once() -> None:
    class Slow(MemoryJournal):
        go = anyio.Event()

        async def adopt(self, mailbox: str) -> list[Entry]:
            found = await super().adopt(mailbox)
            await self.go.wait()
            return found

        async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
            found = await super().replay(mailbox, dead_id)
            await self.go.wait()
            return found

    letter = DeadLetter("ValueError: no", "", 3)
    journal, done = Slow(letters={"1": Buried("1", b"b|replayed", letter, 0.0)}), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec) as root, anyio.create_task_group() as tasks:
        journal.orphans = [Entry("2", b"a|adopted")]
        tasks.start_soon(ref.adopt)
        tasks.start_soon(ref.redeliver, "1")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(Controls(root).restart, "root/executor")
        await anyio.wait_all_tasks_blocked()
        journal.go.set()
        await until(lambda: len(journal.settled) == 2)
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.depth == 0
    assert sorted(done) == ["adopted", "replayed"]
    assert len(journal.settled) == 2


@pytest.mark.parametrize("cut_off", ["telling", "burying", "buried"])
async def test_what_is_cut_off_while_it_is_buried_is_buried_by_the_next_look(cut_off: str) -> None:
    class Hangs(MemoryJournal):
        hangs = True

        async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
            if cut_off == "burying" and self.hangs:
                await anyio.sleep_forever()
            if entry_id in self.entries:
                await super().bury(mailbox, entry_id, payload, letter)
            if cut_off == "buried" and self.hangs:
                await anyio.sleep_forever()

    async def on_bury(order: Order, letter: DeadLetter) -> None:
        told.append(order)
        if cut_off == "telling" and journal.hangs:
            await anyio.sleep_forever()

    journal, done, told = Hangs(), list[str](), list[Order]()
    ref, spec = tree(journal, done, on_bury=on_bury, shutdown_s=0.02)
    async with running(spec) as root:
        log = ref.cell.log
        assert log is not None
        await ref.tell(Order("a", "poison"))
        await until(lambda: bool(told) and (cut_off != "buried" or bool(journal.letters)))
        assert list(ref.waiting()) == [Order("a", "poison")]  # nobody may miss it meanwhile
        journal.hangs = False
        await Controls(root).restart("root/executor")
        await until(lambda: (ref.cell.depth, log.pending, list(journal.entries)) == (0, 0, []))
        assert log.dead == 1
    assert len(journal.dead) == 1


async def test_a_look_that_is_cut_off_while_it_buries_has_delivered_the_rest() -> None:
    class Hangs(MemoryJournal):
        hangs = True

        async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
            if self.hangs:
                await anyio.sleep_forever()
            await super().bury(mailbox, entry_id, payload, letter)

    journal, done = Hangs(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        journal.orphans = [Entry("1", b"\xff"), Entry("2", b"a|buy")]
        with anyio.move_on_after(0.01) as cut:
            await ref.adopt()
        assert cut.cancelled_caught
        await until(lambda: done == ["buy"])
        journal.hangs = False
        assert await ref.adopt() == 0
        assert [payload for payload, _ in journal.dead] == [b"\xff"]


async def test_what_could_not_be_settled_is_settled_when_the_store_is_back() -> None:
    class Away(MemoryJournal):
        away = True

        async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
            if self.away:
                self.away = False
                raise JournalUnavailable("memory", "down")
            await super().settle(mailbox, settlements, begin=begin)

    journal, done = Away(), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec):
        await ref.tell(Order("a", "buy"))
        log = ref.cell.log
        assert log is not None
        await until(lambda: not journal.away)
        assert log.pending == 1
        await until(lambda: log.pending == 0)
    assert (done, journal.entries, len(journal.settled)) == (["buy"], {}, 1)


class Outage(MemoryJournal):
    """Is not there when it is `away`."""

    away = False
    refusals = 0

    async def recover(self, mailbox: str) -> list[Entry]:
        if self.away:
            self.refusals += 1
            raise JournalUnavailable("memory", "down")
        return await super().recover(mailbox)


@pytest.mark.parametrize("of", ["root/executor", "root"], ids=["the actor's", "its supervisor's"])
async def test_an_outage_of_the_journal_at_a_restart_is_waited_for_and_ends_nobody(of: str) -> None:
    journal, done = Outage(), list[str]()
    ref, spec = tree(journal, done)
    async with running(SupervisorSpec("all", [spec], intensity=1)) as root:
        await ref.tell(Order("a", "buy"))
        await until(lambda: done == ["buy"])
        journal.away = True
        await Controls(root).restart(f"all/{of}")  # which waits for no store
        await until(lambda: journal.refusals > 20)
        await ref.tell(Order("a", "sell"))
        assert done == ["buy"]
        journal.away = False
        await until(lambda: done == ["buy", "sell"])
        assert ref.cell.depth == 0


@pytest.mark.parametrize("by", ["a stop", "a restart"])
async def test_neither_a_stop_nor_a_restart_waits_for_a_journal_that_is_away(by: str) -> None:
    journal, done = Outage(), list[str]()
    ref, spec = tree(journal, done)
    [child] = spec.children
    assert isinstance(child, ChildSpec)
    patient = replace(child, retry=RetryPolicy(outage_delays_s=(3600.0,)), shutdown_s=3600.0)
    async with running(SupervisorSpec("root", [patient])) as root:
        journal.away = True
        await Controls(root).restart("root/executor")
        await until(lambda: journal.refusals == 1)
        if by == "a restart":
            journal.away = False
            await Controls(root).restart("root/executor")
            await ref.tell(Order("a", "buy"))
            await until(lambda: done == ["buy"])


# -- what a process has outlived --------------------------------------------------------------------------------------


class OneStoreAway(MemoryJournal):
    """As one on two stores: what is in the store that is away is not recovered, and found by a later look."""

    away = False

    async def recover(self, mailbox: str) -> list[Entry]:
        return [] if self.away else await super().recover(mailbox)

    async def adopt(self, mailbox: str) -> list[Entry]:
        return await self.recover(mailbox)


async def test_a_restart_while_a_store_is_away_is_no_death_of_the_process_either() -> None:
    journal, done, up = OneStoreAway(entries={"1": b"a|needs store"}), list[str](), anyio.Event()
    ref, spec = tree(journal, done, store_up=up)
    async with running(spec) as root:
        for _ in range(3):
            await until(lambda: any(entity.outages for entity in ref.cell.entities.values()))
            journal.away = True
            await root.restart(root.children[0])
            journal.away = False
            await ref.adopt()
        up.set()
        await until(lambda: bool(done or journal.dead))
    assert (done, journal.dead) == (["needs store"], [])


async def test_what_waits_out_an_outage_over_orderly_stops_has_killed_nobody() -> None:
    journal, done = MemoryJournal(entries={"1": b"a|needs store"}), list[str]()
    for _ in range(4):
        ref, spec = tree(journal, done)
        async with running(spec):
            await until(lambda ref=ref: any(entity.outages for entity in ref.cell.entities.values()))  # type: ignore[misc]
        assert journal.attempts == {"1": 0}
    up = anyio.Event()
    up.set()
    _, spec = tree(journal, done, store_up=up)
    async with running(spec):
        await until(lambda: bool(done or journal.dead))
    assert (done, journal.dead) == (["needs store"], [])


class CannotCount(MemoryJournal):
    """Takes no attempt."""

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        if begin:
            raise JournalUnavailable("memory", "away")
        await super().settle(mailbox, settlements)


async def test_an_attempt_that_could_not_be_counted_is_not_taken_back() -> None:
    journal = CannotCount(entries={"1": b"a|needs store"}, attempts={"1": 1})
    ref, spec = tree(journal, [])
    async with running(spec):
        await until(lambda: any(entity.outages for entity in ref.cell.entities.values()))
    assert journal.attempts == {"1": 1}, "what has killed an earlier process has done so"


class BusyWithSettlements(MemoryJournal):
    """Does not answer the first of them until it is let."""

    def __init__(self, **entries: bytes) -> None:
        super().__init__(entries=entries)
        self.asked: list[list[str]] = []
        self.answer = anyio.Event()

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        self.asked.append(list(begin))
        if len(self.asked) == 1:
            await self.answer.wait()
        await super().settle(mailbox, settlements, begin=begin)


class Counts(Actor[Order]):
    """Notes the attempts that the journal knows of when each message is handled."""

    def __init__(self, journal: MemoryJournal, go: anyio.Event, known: dict[str, dict[str, int]]) -> None:
        self._journal, self._go, self._known = journal, go, known

    async def receive(self, message: Order) -> None:
        if message.text == "crash":
            await self._go.wait()
            raise ValueError(message.text)
        self._known[message.text] = dict(self._journal.attempts)


async def test_an_attempt_that_was_cut_off_before_it_was_counted_is_counted_when_it_is_made() -> None:
    journal, go, known = BusyWithSettlements(first=b"a|first"), anyio.Event(), dict[str, dict[str, int]]()
    ref = DurableRef[Order]("executor")
    child = ChildSpec(
        "executor",
        lambda: Counts(journal, go, known),
        ref,
        mailbox=MailboxSpec(10, key=lambda order: order.account),
        durability=Durability(journal, "executor", encode, decode),
    )
    async with running(SupervisorSpec("root", [child], intensity=1)) as root:
        for key in "cd":
            await ref.tell(Order(key, "crash"))
        await until(lambda: bool(journal.asked))
        journal.orphans = [Entry("second", b"b|second")]
        await ref.adopt()
        await anyio.wait_all_tasks_blocked()
        go.set()  # two crashes are one too many: the cell begins anew, with its mail
        await until(lambda: root.children[0].restarts == 1)
        journal.answer.set()
        await until(lambda: "second" in known)
    assert known["second"]["second"] == 1
