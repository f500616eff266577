"""How actors end that nobody stops in order, and what they leave behind."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    BreakerSpec,
    ChildSpec,
    Controls,
    Durability,
    DurableRef,
    ForeignError,
    MailboxSpec,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.specs import Spec

AT_ONCE = Backoff(first_s=0.0, jitter=0.0)


class StoreDown(Exception):
    """What the actors here find now and then."""


class Waits(Actor[str]):
    """Takes long over each message."""

    def __init__(self, begun: list[str]) -> None:
        self._begun = begun

    async def receive(self, message: str) -> None:
        self._begun.append(message)
        await anyio.sleep(3600)


def specs(*children: Spec) -> SupervisorSpec:
    return SupervisorSpec("root", children, backoff=AT_ONCE)


# -- with the event loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
def test_the_end_of_the_event_loop_charges_no_message(keyed: bool) -> None:
    journal, begun = MemoryJournal(), list[str]()

    async def main() -> None:
        ref = DurableRef[str]("a")
        child = ChildSpec(
            "a",
            lambda: Waits(begun),
            ref,
            mailbox=MailboxSpec(key=(lambda message: message) if keyed else None),
            durability=Durability(journal, "a", str.encode, bytes.decode),
        )
        root = Supervisor(specs(child))
        run = asyncio.create_task(root.run(lambda: None))
        await root.begun.wait()
        await ref.tell("innocent")
        await until(lambda: bool(begun))
        assert not run.done()
        raise SystemExit

    with suppress(SystemExit):
        asyncio.run(main())
    assert (list(journal.entries.values()), journal.letters) == ([b"innocent"], {})


class TidiesUp(Waits):
    async def receive(self, message: str) -> None:
        try:
            await super().receive(message)
        finally:
            await asyncio.sleep(0.05)  # by then its supervisor has begun its stop anew


@pytest.mark.parametrize("actor", [Waits, TidiesUp])
@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
def test_the_end_of_the_event_loop_ends_a_drain(keyed: bool, actor: type[Waits]) -> None:
    begun = list[str]()

    async def main() -> None:
        ref = ActorRef[str]("a")
        mailbox = MailboxSpec(drain=True, key=(lambda _: "k") if keyed else None)
        root = Supervisor(specs(ChildSpec("a", lambda: actor(begun), ref, mailbox=mailbox, shutdown_s=3600)))
        run = asyncio.create_task(root.run(lambda: None))
        await root.begun.wait()
        for message in ("1", "2", "3"):
            await ref.tell(message)
        await until(lambda: bool(begun))
        root.request_stop()
        await until(lambda: ref.cell.stopping)
        assert not run.done()

    asyncio.run(main())
    assert begun == ["1"]


class Interrupted(Actor[str]):
    """Is where the process is told to end."""

    def __init__(self, where: str, end: type[BaseException], life: list[str]) -> None:
        self._where, self._end, self._life = where, end, life

    async def on_start(self) -> None:
        self._life.append("on_start")
        self._pass("on_start")

    async def receive(self, message: str) -> None:
        self._life.append("receive")
        self._pass("receive")
        self.context.pipe_to_self(self._work(), str)

    async def _work(self) -> str:
        self._life.append("pipe")
        self._pass("pipe")
        return "done"

    async def on_stop(self) -> None:
        self._life.append("on_stop")
        self._pass("on_stop")

    def _pass(self, where: str) -> None:
        if where == self._where:
            raise self._end


def crashes_of(end: type[BaseException], logs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What the log says of it; that the end of the loop has cancelled others is none of that."""
    return [line for line in logs if isinstance(line.get("exc_info"), (end, ForeignError))]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize("where", ["on_start", "receive", "pipe", "on_stop"])
def test_the_end_of_the_process_is_no_crash_of_the_actor_in_which_it_comes(
    where: str, keyed: bool, end: type[BaseException]
) -> None:
    journal, life = MemoryJournal(), list[str]()

    async def main() -> None:
        ref, mailbox = DurableRef[str]("a"), MailboxSpec(key=(lambda _: "k") if keyed else None)
        durability = Durability(journal, "a", str.encode, bytes.decode)
        child = ChildSpec("a", lambda: Interrupted(where, end, life), ref, mailbox=mailbox, durability=durability)
        async with running(specs(child)) as root:
            await ref.tell("innocent")
            await until(lambda: "receive" in life)
            if where == "on_stop":
                root.request_stop()
            await until(lambda: life.count(where) > 1, within_s=1)

    with structlog.testing.capture_logs() as logs, pytest.raises(end):
        asyncio.run(main())
    assert (life.count("on_start"), life.count(where), journal.letters) == (1, 1, {})
    assert not crashes_of(end, logs)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("ready", [False, True], ids=["at its start", "while it runs"])
def test_the_end_of_the_process_is_no_crash_of_the_service_in_which_it_comes(
    ready: bool, end: type[BaseException]
) -> None:
    runs = list[int]()

    class Interrupted(Service):
        async def run(self, context: ServiceContext) -> None:
            runs.append(1)
            if ready:
                context.started()
            raise end

    async def main() -> None:
        await Supervisor(specs(ServiceSpec("s", Interrupted))).run(lambda: None)

    with structlog.testing.capture_logs() as logs, pytest.raises(end):
        asyncio.run(main())
    assert (runs, crashes_of(end, logs)) == ([1], [])


# -- behind a breaker, or an outage ------------------------------------------------------------------------------------


class Needs(Actor[str]):
    """Needs at its start what its messages have broken."""

    def __init__(self, down: list[str]) -> None:
        self._down = down

    async def on_start(self) -> None:
        if self._down:
            raise StoreDown

    async def receive(self, message: str) -> None:
        self._down.append(message)
        raise StoreDown


async def test_an_ordered_restart_behind_an_open_breaker_uses_up_no_restarts() -> None:
    ref, down = ActorRef[str]("a"), list[str]()
    breaker = BreakerSpec((StoreDown,), failures=1, open_s=60.0)
    async with running(specs(ChildSpec("a", lambda: Needs(down), ref, breaker=breaker))) as root:
        await ref.tell("x")
        await until(lambda: root.children[0].restarts == 1)
        await Controls(root).restart("root/a")
        assert root.status == "running"
        assert root.children[0].restarts == 2


class Loads(Actor[str]):
    """Hangs at its second start, and then finds an outage."""

    def __init__(self, starts: list[int], gate: anyio.Event) -> None:
        self._starts, self._gate = starts, gate

    async def on_start(self) -> None:
        self._starts.append(1)
        if len(self._starts) > 1:
            await self._gate.wait()
            raise StoreDown

    async def receive(self, message: str) -> None:
        raise ValueError(message)


async def test_a_drain_without_mail_waits_for_no_outage() -> None:
    ref, starts, gate = ActorRef[str]("a"), list[int](), anyio.Event()
    retry = RetryPolicy(outage=(StoreDown,), outage_delays_s=(3600.0,))
    mailbox = MailboxSpec(drain=True, key=lambda message: message)
    child = ChildSpec("a", lambda: Loads(starts, gate), ref, mailbox=mailbox, retry=retry, shutdown_s=3600)
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            await ref.tell("crash")
            await until(lambda: len(starts) == 2)
            root.request_stop()
            await until(lambda: ref.cell.stopping)
            gate.set()


class Cancels(Actor[str]):
    """Cancels its own task over its first messages, and fails before that comes out."""

    def __init__(self, tries: list[int]) -> None:
        self._tries = tries

    async def receive(self, message: str) -> None:
        self._tries.append(1)
        task = asyncio.current_task()
        if len(self._tries) < 4 and task is not None:
            task.cancel()
            raise StoreDown


async def test_a_cancellation_left_behind_by_who_finds_an_outage_uses_up_no_restart() -> None:
    ref, tries = ActorRef[str]("a"), list[int]()
    retry = RetryPolicy(outage=(StoreDown,), outage_delays_s=(0.001,))
    async with running(specs(ChildSpec("a", lambda: Cancels(tries), ref, retry=retry))) as root:
        await ref.tell("x")
        await until(lambda: ref.cell.stats.handled == 1)
        assert (root.children[0].restarts, len(tries)) == (0, 4)


# -- what it leaves behind ---------------------------------------------------------------------------------------------


class Idle(Service):
    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()


@dataclass
class Trace:
    """What became of what was begun too late."""

    starts: list[int] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)
    go: anyio.Event = field(default_factory=anyio.Event)
    late: list[asyncio.Task[None]] = field(default_factory=list)


class Leaves(Actor[str]):
    """Leaves a task behind, which begins something when its incarnation has ended."""

    def __init__(self, trace: Trace, other: ActorRef[str]) -> None:
        self._trace, self._other = trace, other

    async def on_start(self) -> None:
        self._trace.starts.append(1)

    async def _work(self) -> str:
        self._trace.live.append(1)
        try:
            await anyio.sleep(3600)
        finally:
            self._trace.live.pop()
        return "done"

    async def _begin_late(self) -> None:
        await self._trace.go.wait()
        self.context.pipe_to_self(self._work(), str)
        self.context.watch(self._other)
        try:
            await self.context.spawn(ServiceSpec("s", Idle))
        except ActorStopped as error:
            self._trace.refused.append(error)

    async def receive(self, message: str) -> None:
        if message == "spawn":
            await self.context.spawn(ServiceSpec("s", Idle))
        else:
            self._trace.late.append(asyncio.create_task(self._begin_late()))
            raise ValueError(message)


async def test_what_an_ended_incarnation_begins_late_is_not_begun() -> None:
    trace, ref, other = Trace(), ActorRef[str]("a"), ActorRef[str]("other")
    children = ChildSpec("other", lambda: Waits([]), other), ChildSpec("a", lambda: Leaves(trace, other), ref)
    async with running(specs(*children)):
        await ref.tell("crash")
        await until(lambda: len(trace.starts) == 2)
        trace.go.set()
        await until(lambda: trace.late[0].done())
        await anyio.wait_all_tasks_blocked()
        assert (trace.live, [str(error) for error in trace.refused]) == ([], [str(ActorStopped("root/a"))])
        assert not other.cell.watchers._waiting
        await ref.tell("spawn")
        await until(lambda: ref.cell.stats.handled == 1)
