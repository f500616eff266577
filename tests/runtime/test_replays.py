"""Dead letters that are replayed and discarded: who takes a letter decides, whatever else happens at that moment."""

from dataclasses import replace

import anyio
import pytest

from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_durable import Order, StoreDown, tree
from trendedge.runtime import (
    Actor,
    Buried,
    ChildSpec,
    DeadLetter,
    DurableRef,
    Entry,
    Fenced,
    JournalUnavailable,
    SupervisorSpec,
    UnknownDeadLetter,
)
from trendedge.runtime.durable import DurableLog

LETTER = DeadLetter("ValueError: no", "", 3)


class Office:
    """The hooks of a mailbox with one dead letter, and what whoever waits for the outcome can read of it."""

    def __init__(self) -> None:
        self.journal = MemoryJournal(letters={"1": Buried("1", b"a|buy", LETTER, 0.0)})
        self.status = "dead"
        self.done: list[str] = []
        self.asked, self.gate = anyio.Event(), anyio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        """What `on_replay` raises the next times."""

    async def on_bury(self, order: Order, letter: DeadLetter) -> None:
        self.status = "dead"

    async def on_replay(self, order: Order) -> None:
        self.asked.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        assert "buy" not in self.done
        self.status = "accepted"

    def tree(self) -> tuple[DurableRef[Order], SupervisorSpec]:
        return tree(self.journal, self.done, on_bury=self.on_bury, on_replay=self.on_replay)

    @staticmethod
    def log(ref: DurableRef[Order]) -> DurableLog:
        log = ref.cell.log
        assert log is not None
        return log


async def test_of_a_replay_and_a_discard_that_comes_second_the_replay_counts() -> None:
    class Slow(MemoryJournal):
        asked, gate = anyio.Event(), anyio.Event()

        async def discard(self, mailbox: str, dead_id: str) -> bool:
            self.asked.set()
            await self.gate.wait()
            return await super().discard(mailbox, dead_id)

    office = Office()
    office.journal = journal = Slow(letters=office.journal.letters)
    ref, spec = office.tree()
    refused: list[str] = []

    async def discard() -> None:
        try:
            await office.log(ref).discard("1")
        except UnknownDeadLetter as error:
            refused.append(error.dead_id)

    async with running(spec):
        ref.cell.suspend()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(discard)
            await journal.asked.wait()  # it has read the letter
            await ref.redeliver("1")
            journal.gate.set()
        assert (office.status, refused) == ("accepted", ["1"])
        ref.cell.resume()
        await until(lambda: office.done == ["buy"])


async def test_of_a_discard_and_a_replay_that_comes_second_the_discard_counts() -> None:
    office = Office()
    ref, spec = office.tree()
    async with running(spec):
        real = office.journal.dead_letter

        async def discarded_meanwhile(mailbox: str, dead_id: str) -> Buried | None:
            letter = await real(mailbox, dead_id)
            office.journal.dead_letter = real  # type: ignore[method-assign]
            await office.log(ref).discard(dead_id)
            return letter

        office.journal.dead_letter = discarded_meanwhile  # type: ignore[method-assign]
        with pytest.raises(UnknownDeadLetter):
            await ref.redeliver("1")
        assert (office.status, office.asked.is_set(), office.journal.entries) == ("dead", False, {})


async def test_a_replay_that_may_not_be_leaves_a_letter_and_its_outcome() -> None:
    office = Office()
    office.failures = [StoreDown()]
    ref, spec = office.tree()
    async with running(spec):
        office.status = "accepted"  # of a call whose answer was lost
        with pytest.raises(StoreDown):
            await ref.redeliver("1")
        assert (office.status, office.journal.entries, office.log(ref).pending) == ("dead", {}, 0)
        assert office.journal.dead == [(b"a|buy", LETTER)]
        [dead_id] = office.journal.letters
        await ref.redeliver(dead_id)
        await until(lambda: office.done == ["buy"])
        assert office.status == "accepted"


async def test_a_replay_that_is_cut_off_leaves_a_letter_after_the_next_look() -> None:
    office = Office()
    office.gate = anyio.Event()
    ref, spec = office.tree()
    async with running(spec):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.redeliver, "1")
            await office.asked.wait()
            await ref.adopt()
            assert office.journal.letters == {}  # it is being replayed
            tasks.cancel_scope.cancel()
        await ref.adopt()
        assert office.journal.dead == [(b"a|buy", LETTER)]
        assert (office.status, office.journal.entries, office.log(ref).pending) == ("dead", {}, 0)
    assert office.done == []


@pytest.mark.parametrize("how", ["recovered", "adopted"])
async def test_what_a_process_that_died_had_replayed_is_handled_after_its_outcome_was_taken_back(how: str) -> None:
    office = Office()
    office.failures = [StoreDown()]
    office.journal.letters.clear()
    if how == "recovered":
        office.journal.entries, office.journal.replayed = {"1": b"a|buy"}, {"1"}
    else:
        office.journal.orphans = [Entry("1", b"a|buy", replayed=True)]
    ref, spec = office.tree()
    async with running(spec):
        await ref.adopt()
        await ref.tell(Order("b", "sell"))
        await until(lambda: sorted(office.done) == ["buy", "sell"])
        assert (office.status, office.failures) == ("accepted", [])
        await until(lambda: office.log(ref).pending == 0)
    assert office.journal.dead == []


async def test_the_outcome_of_a_replayed_letter_is_not_told_again_when_the_answer_to_its_burial_was_lost() -> None:
    class Forgetful(MemoryJournal):
        forgets = True

        async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
            if entry_id in self.entries:
                await super().bury(mailbox, entry_id, payload, letter)
            if self.forgets:
                raise JournalUnavailable("memory", "the answer was lost")

    office = Office()
    office.journal = journal = Forgetful()
    office.status = "accepted"
    ref, spec = office.tree()
    async with running(spec):
        await ref.tell(Order("a", "poison"))
        await until(lambda: ref.cell.stats.buried == 1)
        assert (office.status, office.log(ref).pending) == ("dead", 1)
        ref.cell.suspend()
        [dead_id] = journal.letters
        await ref.redeliver(dead_id)
        journal.forgets = False
        await ref.adopt()
        assert (office.status, office.log(ref).pending, journal.letters) == ("accepted", 1, {})


async def test_the_fence_of_another_mailbox_in_a_hook_only_ends_the_replay() -> None:
    office = Office()
    office.failures = [Fenced("ledger", 1)]
    ref, spec = office.tree()
    async with running(spec) as root:
        with pytest.raises(Fenced, match="ledger"):
            await ref.redeliver("1")
        for number in range(3):
            await ref.tell(Order("b", f"n{number}"))
        await until(lambda: len(office.done) == 3 and not office.log(ref).pending)
        assert (root.children[0].restarts, office.log(ref).lost) == (0, False)


class Panic(BaseException):
    """As an extension raises it."""


async def test_what_a_hook_raises_before_a_replay_is_handled_is_charged_to_it_whatever_it_is() -> None:
    async def on_replay(order: Order) -> None:
        raise Panic

    journal = MemoryJournal(entries={"1": b"a|buy"}, replayed={"1"})
    _, spec = tree(journal, [], on_replay=on_replay)
    async with running(spec) as root:
        await until(lambda: bool(journal.letters))
        assert root.children[0].restarts == 0


class Declares(Actor[Order]):
    """Answers `StoreDown`: of its own handler, it is no failure."""

    declared = (StoreDown,)

    async def receive(self, message: Order) -> None:
        raise StoreDown


async def test_what_a_hook_raises_before_a_replay_is_handled_is_no_answer_of_the_handler() -> None:
    office = Office()
    office.failures = [StoreDown()]
    office.journal.letters.clear()
    office.journal.entries, office.journal.replayed = {"1": b"a|buy"}, {"1"}
    ref, spec = office.tree()
    child = spec.children[0]
    assert isinstance(child, ChildSpec)
    async with running(SupervisorSpec("root", [replace(child, start=Declares)])):
        await until(lambda: not office.journal.entries)
        assert (ref.cell.stats.failed, ref.cell.stats.handled, office.status) == (1, 1, "accepted")
