"""Waiting for room in a full mailbox: in order of arrival, and never for oneself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    Controls,
    Inspector,
    MailboxFull,
    MailboxSpec,
    RetryPolicy,
    SupervisorSpec,
    TellCycle,
)


@dataclass(frozen=True)
class Step:
    number: int
    key: str = "k"


@dataclass(frozen=True)
class Tick:
    key: str = "k"


class Ticking(Actor[Step | Tick]):
    """Sends itself a tick whenever it has handled something, past all who wait."""

    def __init__(self, handled: list[int], gate: anyio.Event) -> None:
        self.handled, self.gate = handled, gate

    async def receive(self, message: Step | Tick) -> None:
        await self.gate.wait()
        if isinstance(message, Step):
            self.context.tell_self_after(0.0, Tick())
            self.handled.append(message.number)
        await anyio.sleep(0.001)


async def test_senders_that_wait_are_let_in_in_order_of_arrival_whoever_comes_in_between() -> None:
    ref, handled, gate = ActorRef[Step | Tick]("a"), list[int](), anyio.Event()
    child = ChildSpec("a", lambda: Ticking(handled, gate), ref, mailbox=MailboxSpec(1))
    async with running(SupervisorSpec("root", [child])), asyncio.TaskGroup() as tasks:
        for number in range(12):
            tasks.create_task(ref.tell(Step(number)))
            await asyncio.sleep(0)
        gate.set()
        await until(lambda: len(handled) == 3)
        tasks.create_task(ref.tell(Step(12)))
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Step(-1))
        await until(lambda: len(handled) == 13)
    assert handled == list(range(13))


async def test_who_gives_up_its_wait_when_it_was_let_in_lets_in_the_next() -> None:
    ref, handled, gate = ActorRef[Step | Tick]("a"), list[int](), anyio.Event()
    child = ChildSpec("a", lambda: Ticking(handled, gate), ref, mailbox=MailboxSpec(1))
    async with running(SupervisorSpec("root", [child])):
        await ref.tell(Step(0))
        waiting = [asyncio.create_task(ref.tell(Step(number))) for number in range(1, 5)]
        await anyio.wait_all_tasks_blocked()
        release = ref.cell.release

        def and_cancel_the_first() -> None:
            release()
            waiting[0].cancel()

        ref.cell.release = and_cancel_the_first  # type: ignore[method-assign]
        gate.set()
        await until(lambda: handled == [0, 2, 3, 4])
        assert waiting[0].cancelled()


class Chain(Actor[Step]):
    """Tells each next step to whoever is to do it."""

    def __init__(self, seen: list[int], to: Callable[[], ActorRef[Step]], key: str = "k", *, times: int = 1) -> None:
        self.seen, self.to, self.key, self.times = seen, to, key, times

    async def receive(self, message: Step) -> None:
        self.seen.append(message.number)
        if message.number:
            for _ in range(self.times):
                await self.to().tell(Step(message.number - 1, self.key))


@pytest.mark.parametrize("key", [None, "k", "other"], ids=["one instance", "own key", "another key"])
async def test_an_actor_tells_itself_into_its_own_full_mailbox(key: str | None) -> None:
    ref, seen = ActorRef[Step]("a"), list[int]()
    mailbox = MailboxSpec(2, key=None if key is None else lambda step: step.key)
    child = ChildSpec("a", lambda: Chain(seen, lambda: ref, key or "k", times=2), ref, mailbox=mailbox)
    async with running(SupervisorSpec("root", [child])):
        await ref.tell(Step(3))
        await ref.tell(Step(3))
        await until(lambda: len(seen) == 2 * (1 + 2 + 4 + 8))
        assert ref.cell.depth == 0


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_two_that_tell_each_other_into_full_mailboxes_fail_at_once_with_the_circle_in_the_error(
    keyed: bool,
) -> None:
    x, y, errors = ActorRef[Step]("x"), ActorRef[Step]("y"), list[TellCycle]()

    class Careful(Chain):
        async def receive(self, message: Step) -> None:
            await anyio.sleep(0.01)
            try:
                await super().receive(message)
            except TellCycle as error:
                errors.append(error)

    mailbox = MailboxSpec(1, key=(lambda step: step.key) if keyed else None)
    seen = list[int]()
    children = [
        ChildSpec("x", lambda: Careful(seen, lambda: y, times=2), x, mailbox=mailbox),
        ChildSpec("y", lambda: Careful(seen, lambda: x, times=2), y, mailbox=mailbox),
    ]
    async with running(SupervisorSpec("root", children)):
        await x.tell(Step(3))
        await until(lambda: bool(errors))
        await until(lambda: not x.cell.depth + y.cell.depth)
    name = "[k]" if keyed else ""
    assert sorted(errors[0].cycle[:2]) == [f"root/x{name}", f"root/y{name}"]
    assert errors[0].cycle[0] == errors[0].cycle[2]
    assert "would be in a cycle: root/" in str(errors[0])
    assert isinstance(errors[0], MailboxFull)


async def test_a_handler_that_waits_for_room_is_shown_with_whom_it_waits_for() -> None:
    ref, gate, seen = ActorRef[Step | Tick]("slow"), anyio.Event(), list[int]()
    sender = ActorRef[Step]("sender")
    children: list[ChildSpec[Any]] = [
        ChildSpec("slow", lambda: Ticking([], gate), ref, mailbox=MailboxSpec(1)),
        ChildSpec("sender", lambda: Chain(seen, lambda: ref, times=2), sender),
    ]
    async with running(SupervisorSpec("root", children, backoff=Backoff(0.0))) as root:
        await sender.tell(Step(1))
        await until(lambda: sender.cell.busy() != [] and sender.cell.busy()[0].full is not None)
        shown = Inspector(root).find("root/sender")
        assert shown is not None
        assert shown["waiting_on"] == [{"key": None, "on": "root/slow"}]
        gate.set()
        await until(lambda: not sender.cell.depth)
        shown = Inspector(root).find("root/sender")
        assert shown is not None
        assert shown["waiting_on"] == []


@dataclass(frozen=True)
class Go(Step):
    """Tells those whom it names."""

    to: tuple[tuple[ActorRef[Any], str], ...] = ()


class Tells(Actor[Step]):
    def __init__(self, errors: list[TellCycle], gate: anyio.Event) -> None:
        self.errors, self.gate = errors, gate

    async def receive(self, message: Step) -> None:
        await self.gate.wait()
        for ref, key in message.to if isinstance(message, Go) else ():
            try:
                await ref.tell(Step(0, key))
            except TellCycle as error:
                self.errors.append(error)


async def test_a_circle_through_several_instances_is_one_when_none_of_them_can_make_room() -> None:
    hub, workers = ActorRef[Step]("hub"), ActorRef[Step]("workers")
    errors, gates = list[TellCycle](), [anyio.Event(), anyio.Event()]
    children = [
        ChildSpec("hub", lambda: Tells(errors, gates[0]), hub, mailbox=MailboxSpec(1)),
        ChildSpec("workers", lambda: Tells(errors, gates[1]), workers, mailbox=MailboxSpec(2, key=lambda s: s.key)),
    ]
    async with running(SupervisorSpec("root", children)):
        for key in "ab":
            await workers.tell(Go(1, key, ((hub, "k"),)))
        await hub.tell(Go(1, "k", ((workers, "a"),)))
        gates[0].set()
        await anyio.wait_all_tasks_blocked()  # the hub waits for room among the workers
        gates[1].set()
        await until(lambda: bool(errors))
        await until(lambda: not hub.cell.depth + workers.cell.depth)
    assert len(errors) == 1


class TellsItself(Actor[Step]):
    """Fills its own mailbox at the first message."""

    def __init__(self, ref: ActorRef[Step], handled: list[int], gate: anyio.Event) -> None:
        self.ref, self.handled, self.gate = ref, handled, gate

    async def receive(self, message: Step) -> None:
        await self.gate.wait()
        self.handled.append(message.number)
        if message.number == 2:
            for _ in range(3):
                await self.ref.tell(Step(0))


async def test_who_was_let_in_and_finds_no_room_waits_before_those_who_have_come_later() -> None:
    ref, handled, gate = ActorRef[Step]("a"), list[int](), anyio.Event()
    child = ChildSpec("a", lambda: TellsItself(ref, handled, gate), ref, mailbox=MailboxSpec(2))
    async with running(SupervisorSpec("root", [child])), asyncio.TaskGroup() as tasks:
        for number in range(1, 9):
            tasks.create_task(ref.tell(Step(number)))
            await asyncio.sleep(0)
        gate.set()
        await until(lambda: len(handled) == 11)
    assert [number for number in handled if number] == list(range(1, 9))


async def test_who_waits_for_room_before_a_crashed_actor_is_refused_when_that_is_restarted_by_order() -> None:
    ref = ActorRef[Step]("a")

    class Crashes(Actor[Step]):
        async def receive(self, message: Step) -> None:
            raise ValueError(message.number)

    child = ChildSpec("a", Crashes, ref, mailbox=MailboxSpec(1), retry=RetryPolicy((600.0,)))
    async with running(SupervisorSpec("root", [child], backoff=Backoff(600, longest_s=600))) as root:
        await ref.tell(Step(0))
        await until(lambda: root.children[0].status == "crashed")
        waiting = [asyncio.create_task(ref.tell(Step(number))) for number in range(8)]
        await anyio.wait_all_tasks_blocked()
        await Controls(root).restart("root/a")
        await asyncio.wait(waiting)
        assert {type(one.exception()) for one in waiting} == {ActorStopped}


async def test_senders_that_give_up_leave_nothing_in_the_queue() -> None:
    ref, gate = ActorRef[Step]("a"), anyio.Event()
    child = ChildSpec("a", lambda: Tells([], gate), ref, mailbox=MailboxSpec(1))
    async with running(SupervisorSpec("root", [child])):
        await ref.tell(Step(0))
        room: Any = None
        for _ in range(50):
            waiting = [asyncio.create_task(ref.tell(Step(1))) for _ in range(20)]
            await anyio.wait_all_tasks_blocked()
            for one in reversed(waiting):
                one.cancel()
            await asyncio.wait(waiting)
            room = ref.cell._room
            assert (room.waiting, room.coming) == (0, 0)
            assert len(room.waiters) <= 40
        gate.set()
