"""A mailbox whose mail another process has adopted forgets it, and comes back as an owner of what is left."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Appended,
    Backoff,
    ChildSpec,
    DeadLetter,
    Duplicate,
    Durability,
    DurableRef,
    Entry,
    Fenced,
    MailboxSpec,
    RetryPolicy,
    Settlement,
    StartFailed,
    Strategy,
    Supervisor,
    SupervisorSpec,
    Unique,
)

BOX = "executor"


@dataclass
class LeasedJournal(MemoryJournal):
    """One process's side of a journal that several share."""

    fenced: bool = False
    fence_after_recovery: int = 0
    """The recovery after which another process takes all mail away."""
    recoveries: int = 0
    adopted: dict[str, bytes] = field(default_factory=dict)
    """What somebody else has taken."""

    def take_away(self) -> None:
        """Another process fences this one and adopts its mail."""
        self.fenced = True
        self.adopted, self.entries = self.entries, {}

    def check(self) -> None:
        if self.fenced:
            raise Fenced(BOX, self.recoveries)

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        self.check()
        return await super().append(mailbox, payload, unique=unique)

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        self.check()
        await super().settle(mailbox, settlements, begin=begin)

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        self.check()
        await super().bury(mailbox, entry_id, payload, letter)

    async def adopt(self, mailbox: str) -> list[Entry]:
        self.check()
        return await super().adopt(mailbox)

    async def recover(self, mailbox: str) -> list[Entry]:
        self.fenced = False
        self.recoveries += 1
        found = await super().recover(mailbox)
        if self.recoveries == self.fence_after_recovery:
            self.take_away()
        return found


@dataclass
class SlowJournal(LeasedJournal):
    """Settles when it is told to."""

    settling: anyio.Event = field(default_factory=anyio.Event)

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        await self.settling.wait()
        await super().settle(mailbox, settlements, begin=begin)


@dataclass
class Floor:
    """What the executor works with, and what it did."""

    journal: LeasedJournal = field(default_factory=LeasedJournal)
    done: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    gate: anyio.Event = field(default_factory=anyio.Event)
    """While it is closed the handler of a `wait` waits."""
    held_on: int = 0
    """Cancellations that the handler of a `hold on` has swallowed."""


class Executor(Actor[str]):
    """Commits to a store that knows the fence, as the real one does."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    async def receive(self, message: str) -> None:
        self._floor.begun.append(message)
        while message.endswith("hold on") and self._floor.held_on < 3:
            try:
                await self._floor.gate.wait()
                break
            except asyncio.CancelledError:
                self._floor.held_on += 1
        if "wait" in message:
            await self._floor.gate.wait()
        if message.endswith("fail"):
            raise ValueError(message)
        self._floor.journal.check()
        self._floor.done.append(message)


def tree(floor: Floor, *, keyed: bool = True) -> tuple[DurableRef[str], SupervisorSpec]:
    ref = DurableRef[str]("executor")
    child = ChildSpec(
        "executor",
        lambda: Executor(floor),
        ref,
        mailbox=MailboxSpec(10, key=(lambda message: message[0]) if keyed else None),
        retry=RetryPolicy(),
        durability=Durability(floor.journal, BOX, str.encode, bytes.decode),
    )
    return ref, SupervisorSpec("root", [child], strategy=Strategy.REST_FOR_ONE)


async def recovered(floor: Floor, times: int) -> None:
    with anyio.fail_after(10):
        while floor.journal.recoveries < times:  # noqa: ASYNC110 - the supervisor's backoff is real time
            await anyio.sleep(0.01)


def fenced(logs: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    """What was said of fences: the alert, its level, whose mailbox, and how many messages were forgotten."""
    told = [one for one in logs if one["event"] == "mailbox fenced"]
    return [(one["alert"], one["log_level"], one["actor"], one["forgotten"]) for one in told]


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_refused_commit_ends_all_that_is_in_hand_and_the_mailbox_works_on(keyed: bool) -> None:
    floor = Floor()
    ref, spec = tree(floor, keyed=keyed)
    with structlog.testing.capture_logs() as logs:
        async with running(spec):
            for message in ("a wait", "a second", "b wait"):
                await ref.tell(message)
            await anyio.wait_all_tasks_blocked()
            floor.journal.take_away()
            floor.gate.set()
            await recovered(floor, 2)
            await ref.tell("a later")
            await anyio.wait_all_tasks_blocked()
    assert floor.done == ["a later"], "of the mail that was adopted nothing is done here"
    assert sorted(floor.journal.adopted.values()) == [b"a second", b"a wait", b"b wait"]
    assert floor.journal.dead == []
    assert floor.journal.entries == {}
    assert fenced(logs) == [("mailbox_fenced", "error", "root/executor", 3)]


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_handler_that_swallows_its_cancellation_keeps_a_fenced_mailbox_from_nothing(keyed: bool) -> None:
    floor = Floor()
    ref, spec = tree(floor, keyed=keyed)
    async with running(spec):
        await ref.tell("a hold on")
        await anyio.wait_all_tasks_blocked()
        floor.journal.take_away()
        assert await ref.adopt() == 0
        try:
            await recovered(floor, 2)
        finally:
            floor.gate.set()  # or a failure could not end
        await ref.tell("a later")
        await until(lambda: "a later" in floor.done)
    assert floor.done == ["a later"]


async def test_a_refused_settlement_is_noticed_and_what_was_left_is_recovered() -> None:
    floor = Floor()
    ref, spec = tree(floor)
    async with running(spec):
        await ref.tell("a wait")
        await anyio.wait_all_tasks_blocked()
        # Committed, and fenced before it was settled.
        floor.gate.set()
        floor.journal.check = lambda: None  # type: ignore[method-assign]  # the commit came in time
        await anyio.lowlevel.checkpoint()
        del floor.journal.check
        floor.journal.take_away()
        floor.journal.entries = {"000009": b"c left"}
        await recovered(floor, 2)
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.log is not None
        assert ref.cell.log.pending == 0
    assert "c left" in floor.done


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("settlement_first", [True, False])
async def test_a_settlement_and_a_commit_that_are_refused_in_one_turn_of_the_loop_restart_it_once(
    settlement_first: bool, keyed: bool
) -> None:
    journal = SlowJournal()
    floor = Floor(journal)
    ref, spec = tree(floor, keyed=keyed)
    async with running(spec):
        await ref.tell("a one")
        await ref.tell("b wait")
        await anyio.wait_all_tasks_blocked()
        journal.take_away()
        for gate in (journal.settling, floor.gate) if settlement_first else (floor.gate, journal.settling):
            gate.set()
        await recovered(floor, 2)
        await ref.tell("a later")
        await until(lambda: "a later" in floor.done)
    assert journal.recoveries == 2
    assert floor.done == ["a one", "a later"]


async def test_a_refused_append_is_the_senders_to_repeat_and_the_next_one_is_taken() -> None:
    floor = Floor()
    ref, spec = tree(floor)
    async with running(spec):
        floor.journal.take_away()
        with pytest.raises(Fenced):
            await ref.tell("a one")
        await recovered(floor, 2)
        await ref.tell("a one")
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.depth == 0
    assert floor.done == ["a one"]


async def test_an_idle_mailbox_learns_of_the_fence_when_it_looks_for_orphans() -> None:
    floor = Floor()
    ref, spec = tree(floor)
    async with running(spec):
        floor.journal.take_away()
        assert await ref.adopt() == 0
        await recovered(floor, 2)
        await ref.tell("a one")
        await anyio.wait_all_tasks_blocked()
    assert floor.done == ["a one"]


async def test_a_recovered_message_that_is_no_longer_ours_is_not_begun() -> None:
    floor = Floor(LeasedJournal(entries={"000001": b"a one", "000002": b"b two"}, fence_after_recovery=1))
    _, spec = tree(floor)
    async with running(spec):
        await recovered(floor, 2)
        await anyio.wait_all_tasks_blocked()
    assert floor.begun == []


async def test_a_message_that_cannot_be_buried_any_more_is_left_to_its_new_owner() -> None:
    floor = Floor()
    ref, spec = tree(floor)
    async with running(spec):
        await ref.tell("a wait fail")
        await anyio.wait_all_tasks_blocked()
        floor.journal.take_away()
        floor.gate.set()
        await recovered(floor, 2)
    assert floor.journal.dead == []
    assert list(floor.journal.adopted.values()) == [b"a wait fail"]


async def test_a_recovery_that_is_fenced_while_it_buries_forgets_and_recovers_what_is_left() -> None:
    class Contested(LeasedJournal):
        async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
            if self.recoveries == 2:
                self.fenced = True  # and its mail is being adopted, one entry after the other
                self.adopted[entry_id] = self.entries.pop(entry_id)
            await super().bury(mailbox, entry_id, payload, letter)

    journal = Contested()
    floor = Floor(journal)
    ref, spec = tree(floor)
    async with running(spec):
        journal.fenced = True
        journal.entries = {"000001": b"a one", "000002": b"a kills", "000003": b"a three"}
        journal.attempts = {"000002": 2}
        assert await ref.adopt() == 0
        await recovered(floor, 3)
        await until(lambda: journal.settled == ["000001", "000003"])
        log = ref.cell.log
        assert log is not None
        await until(lambda: log.pending == 0)
        assert ref.cell.depth == 0
    assert floor.done == ["a one", "a three"]
    assert (journal.adopted, journal.dead, journal.recoveries) == ({"000002": b"a kills"}, [], 3)


class Refusing(LeasedJournal):
    """Another process is always faster."""

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        raise Fenced(BOX, self.recoveries)


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "durable"])
@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_the_fence_of_another_mailbox_is_an_error_like_any_other(keyed: bool, durable: bool) -> None:
    floor, journal, begun, done = Floor(Refusing()), MemoryJournal(), list[str](), list[str]()
    executor, spec = tree(floor)

    class Orders(Actor[str]):
        async def receive(self, message: str) -> None:
            begun.append(message)
            if message == "b orders":
                await executor.tell(message)
            if message == "a waits":
                await floor.gate.wait()
            done.append(message)

    ref: ActorRef[str] | DurableRef[str] = DurableRef("orders") if durable else ActorRef("orders")
    orders = ChildSpec(
        "orders",
        Orders,
        ref,
        mailbox=MailboxSpec(10, key=(lambda message: message[0]) if keyed else None),
        retry=RetryPolicy(delays_s=(0.0,)),
        durability=Durability(journal, "orders", str.encode, bytes.decode) if durable else None,
    )
    messages = ["b orders", "c later"] if not keyed else ["a waits", "b orders", "c later"]
    with structlog.testing.capture_logs() as logs:
        async with running(SupervisorSpec("root", [*spec.children, orders], backoff=Backoff(0.0, jitter=0.0))):
            for message in messages:
                await ref.tell(message)
            await until(lambda: ref.cell.stats.buried == 1)
            floor.gate.set()
            await until(lambda: len(done) == len(messages) - 1)
            assert (ref.cell.stats.failed, begun.count("b orders")) == (2, 2)
    assert sorted(done) == [message for message in messages if message != "b orders"]
    assert [payload for payload, _ in journal.dead] == ([b"b orders"] if durable else [])
    assert "root/orders" not in [line["actor"] for line in logs if line["event"] == "mailbox fenced"]


@dataclass
class StaleAtRecovery(LeasedJournal):
    """Refuses to be read by an owner that was fenced: the next call takes a newer epoch."""

    refusals: int = 0

    async def recover(self, mailbox: str) -> list[Entry]:
        if self.refusals:
            self.refusals -= 1
            self.take_away()
            raise Fenced(BOX, self.recoveries)
        return await super().recover(mailbox)


@pytest.mark.parametrize("refusals", [1, 2])
async def test_a_recovery_that_is_refused_forgets_and_is_made_again(refusals: int) -> None:
    floor = Floor(StaleAtRecovery(entries={"1": b"theirs"}, refusals=refusals))
    ref, spec = tree(floor, keyed=True)
    root = Supervisor(spec)
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            await ref.tell("early")  # theirs by now, too
            if refusals == 2:
                with pytest.raises(StartFailed, match="fenced"):
                    await root.run(lambda: None)
                return
            tasks.start_soon(root.run, lambda: None)
            await root.begun.wait()
            await ref.tell("ours")
            await until(lambda: floor.done == ["ours"])
            assert [child.restarts for child in root.children] == [0]
            assert ref.cell.depth == 0
            assert sorted(floor.journal.adopted.values()) == [b"early", b"theirs"]
            root.request_stop()
    assert fenced(logs) == [("mailbox_fenced", "error", "root/executor", 1)]
