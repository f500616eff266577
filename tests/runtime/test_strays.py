"""Cancellations that nobody has asked for are crashes, and waits that are given up leave nothing behind."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Announcement,
    AskTimeout,
    Backoff,
    ChildSpec,
    Controls,
    DuplicateChild,
    Durability,
    DurableRef,
    JournalUnavailable,
    MailboxSpec,
    Overflow,
    Request,
    Restart,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    Strategy,
    StrayCancellation,
    Supervisor,
    SupervisorSpec,
)

AT_ONCE = Backoff(first_s=0.0, jitter=0.0)


@dataclass(frozen=True)
class Say(Request[str]):
    text: str
    key: str = "k"


def cancelled_elsewhere() -> Awaitable[Any]:
    """Something that somebody has cancelled."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


class Awaits(Actor[Say]):
    """Awaits what is cancelled where the text says."""

    def __init__(self, ill: list[bool]) -> None:
        self._ill = ill

    async def on_start(self) -> None:
        if self._ill and self._ill.pop():
            await cancelled_elsewhere()

    async def receive(self, message: Say) -> str:
        match message.text:
            case "stray":
                await cancelled_elsewhere()
            case "pipe":
                self.context.pipe_to_self(cancelled_elsewhere(), lambda _: Say("never"))
            case "pipe that cancels itself":
                self.context.pipe_to_self(self._cancel_itself(), str)
            case "bad pipe":
                self.context.pipe_to_self(self._fail(), str, on_error=self._no_answer)
            case "stray start":
                self._ill.append(True)
                raise ValueError("start again")
            case _:
                pass
        return message.text

    @staticmethod
    async def _fail() -> Say:
        raise OSError("no")

    @staticmethod
    async def _cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep(60)

    @staticmethod
    def _no_answer(error: Exception) -> Say:
        raise KeyError("the answer to the error is broken too")


def specs(*children: Any, **options: Any) -> SupervisorSpec:
    return SupervisorSpec("root", children, backoff=AT_ONCE, **options)


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize("text", ["stray", "stray start", "pipe", "pipe that cancels itself", "bad pipe"])
async def test_what_was_cancelled_elsewhere_is_a_crash_like_any_other(text: str, keyed: bool) -> None:
    ref, other, ill = ActorRef[Say]("a"), ActorRef[Say]("b"), list[bool]()
    mailbox = MailboxSpec(key=(lambda message: message.key) if keyed else None)
    children = [
        ChildSpec("a", lambda: Awaits(ill), ref, mailbox=mailbox, retry=RetryPolicy(delays_s=(0.0,))),
        ChildSpec("b", lambda: Awaits([]), other),
    ]
    with anyio.fail_after(20):
        async with running(specs(*children)) as root:
            if text == "stray":
                with pytest.raises(ActorStopped):
                    await ref.ask(Say(text), timeout_s=10)
                assert StrayCancellation.__name__ in str(ref.cell.stats.last_failure)
                assert (ref.cell.stats.failed, ref.cell.stats.buried) == (2, 1)
            else:
                await ref.tell(Say(text))
                crashes = 2 if text == "stray start" else 1
                await until(lambda: ref.cell.stats.restarts + root.children[0].restarts == crashes)
            assert await ref.ask(Say("well"), timeout_s=10) == "well"
            assert await other.ask(Say("well"), timeout_s=10) == "well"
            assert root.status == "running"


async def test_work_that_was_cancelled_elsewhere_is_an_error_that_becomes_a_message() -> None:
    ref, said = ActorRef[str]("a"), list[str]()

    class Pipes(Actor[str]):
        async def receive(self, message: str) -> None:
            said.append(message)
            if message == "begin":
                self.context.pipe_to_self(cancelled_elsewhere(), str, on_error=lambda error: type(error).__name__)

    with anyio.fail_after(20):
        async with running(specs(ChildSpec("a", Pipes, ref))) as root:
            await ref.tell("begin")
            await until(lambda: len(said) == 2)
            assert root.children[0].restarts == 0
    assert said == ["begin", "StrayCancellation"]


async def test_who_gives_up_waiting_for_room_hands_on_its_turn() -> None:
    gate = anyio.Event()

    class Slow(Actor[Say]):
        async def receive(self, message: Say) -> str:
            await gate.wait()
            return message.text

    ref = ActorRef[Say]("a")
    child = ChildSpec("a", Slow, ref, mailbox=MailboxSpec(1, Overflow.BLOCK))
    with anyio.fail_after(20):
        async with running(specs(child)), anyio.create_task_group() as tasks:
            await ref.tell(Say("first"))
            for _ in range(3):
                with pytest.raises(AskTimeout):
                    await ref.ask(Say("impatient"), timeout_s=0.01)
            tasks.start_soon(ref.tell, Say("patient"))
            await anyio.wait_all_tasks_blocked()
            gate.set()
            await until(lambda: ref.cell.stats.handled == 2)


async def test_who_is_cancelled_after_it_was_let_in_hands_on_its_turn() -> None:
    gate = asyncio.Event()

    class Slow(Actor[str]):
        async def receive(self, message: str) -> None:
            await gate.wait()

    ref = ActorRef[str]("a")
    child = ChildSpec("a", Slow, ref, mailbox=MailboxSpec(1, Overflow.BLOCK))
    with anyio.fail_after(20):
        async with running(specs(child)):
            await ref.tell("first")
            await anyio.wait_all_tasks_blocked()
            second = asyncio.create_task(ref.tell("second"))
            third = asyncio.create_task(ref.tell("third"))
            await anyio.wait_all_tasks_blocked()
            # In this order: the handler returns and lets the second in, which is cancelled before it has its turn.
            gate.set()
            asyncio.get_running_loop().call_soon(second.cancel)
            await third
            await until(lambda: ref.cell.stats.handled == 2)
            assert second.cancelled()


# -- durable ----------------------------------------------------------------------------------------------------------


def box(journal: MemoryJournal, start: Any, **options: Any) -> tuple[DurableRef[str], ChildSpec[str]]:
    ref = DurableRef[str]("a")
    durability = Durability(journal, "a", str.encode, bytes.decode)
    options.setdefault("mailbox", MailboxSpec(100))
    return ref, ChildSpec("a", start, ref, durability=durability, **options)


class Held(MemoryJournal):
    """Settlements wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = anyio.Event()

    async def settle(self, mailbox: str, settlements: Any, *, begin: Any = ()) -> None:
        await self.gate.wait()
        await super().settle(mailbox, settlements, begin=begin)


class Announces(Actor[str]):
    async def receive(self, message: str) -> None:
        if message == "crash":
            raise ValueError(message)
        self.context.announce_on_settle("said", message.encode())


async def test_a_stop_waits_for_the_settlement_that_is_under_way() -> None:
    journal = Held()
    ref, child = box(journal, Announces)
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            await ref.tell("one")
            await until(lambda: ref.cell.stats.handled == 1)
            root.request_stop()
            await anyio.wait_all_tasks_blocked()
            journal.gate.set()
    assert journal.entries == {}
    assert journal.announced == [Announcement("said", b"one")]


async def test_a_settlement_that_a_crash_interrupts_is_made_by_the_next_incarnation() -> None:
    journal = Held()
    ref, child = box(journal, Announces)
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            await ref.tell("one")
            await until(lambda: ref.cell.stats.handled == 1)
            await ref.tell("crash")
            await until(lambda: root.children[0].restarts == 1)
            journal.gate.set()
            await until(lambda: not journal.entries)
            assert ref.cell.log is not None
            await until(lambda: ref.cell.log is not None and ref.cell.log.pending == 0)
    assert journal.announced == [Announcement("said", b"one")]


@pytest.mark.parametrize("ordered", [False, True], ids=["crash", "ordered restart"])
async def test_a_settlement_that_waits_for_its_store_at_the_end_is_made_by_the_next_incarnation(ordered: bool) -> None:
    class Away(MemoryJournal):
        away = 1

        async def settle(self, mailbox: str, settlements: Any, *, begin: Any = ()) -> None:
            if self.away:
                self.away -= 1
                raise JournalUnavailable("memory", "down")
            await super().settle(mailbox, settlements, begin=begin)

    journal = Away()
    ref, child = box(journal, Announces)
    async with running(specs(child)) as root:
        await ref.tell("one")
        await until(lambda: not journal.away)  # and in the pause before the store is tried again:
        if ordered:
            journal.away = 1
            await Controls(root).restart("root/a")
        else:
            await ref.tell("crash")
            await until(lambda: root.children[0].restarts == 1)
        await until(lambda: not journal.entries)
    assert journal.announced == [Announcement("said", b"one")]


async def test_a_message_without_a_place_is_refused_before_it_is_journalled_and_buried_where_it_is() -> None:
    journal = MemoryJournal()
    mailbox = MailboxSpec(100, key=lambda text: text.split(":")[1])
    ref, child = box(journal, Announces, mailbox=mailbox)
    async with running(specs(child)):
        with pytest.raises(IndexError):
            await ref.tell("nowhere")
        assert (journal.entries, ref.cell.depth) == ({}, 0)
    journal.entries["001"] = b"nowhere"
    ref, child = box(journal, Announces, mailbox=mailbox)
    async with running(specs(child)):
        await ref.tell("k:1")
        await until(lambda: ref.cell.stats.handled == 1)
    assert [payload for payload, _ in journal.dead] == [b"nowhere"]


async def test_one_suspect_at_a_time_and_none_after_a_stop() -> None:
    journal, begun, gate = MemoryJournal(), list[str](), anyio.Event()
    for number in range(5):
        journal.entries[f"{number:03}"] = f"{number}".encode()
        journal.attempts[f"{number:03}"] = 1

    class Slow(Actor[str]):
        async def receive(self, message: str) -> None:
            begun.append(message)
            await gate.wait()

    ref, child = box(journal, Slow, mailbox=MailboxSpec(100, key=lambda text: text, drain=True))
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            await until(lambda: bool(begun))
            await anyio.wait_all_tasks_blocked()
            assert len(begun) == 1
            root.request_stop()
            await until(lambda: ref.cell.stopping)
            gate.set()
    assert len(begun) == 1
    assert len(journal.entries) == 4


class StoreDown(Exception):
    """An outage."""


@pytest.mark.parametrize(
    ("keyed", "text"),
    [(False, "down"), (True, "down"), (True, "poison")],
    ids=["one instance", "keyed", "without mail"],
)
async def test_a_start_during_an_outage_is_tried_with_pauses(keyed: bool, text: str) -> None:
    starts, down = list[int](), list[bool]()

    class Loads(Actor[Say]):
        async def on_start(self) -> None:
            starts.append(1)
            if down:
                raise StoreDown

        async def receive(self, message: Say) -> str:
            if message.text == "down":
                down.append(True)
                raise StoreDown
            if message.text == "poison":  # it is given up, and its instance restarted without mail
                down.append(True)
                raise ValueError(message.text)
            return message.text

    ref = ActorRef[Say]("a")
    mailbox = MailboxSpec(key=(lambda message: message.key) if keyed else None)
    retry = RetryPolicy(outage=(StoreDown,), outage_delays_s=(0.05,))
    async with running(specs(ChildSpec("a", Loads, ref, mailbox=mailbox, retry=retry))):
        began = anyio.current_time()
        await ref.tell(Say(text))
        if text == "poison":
            await until(lambda: ref.cell.stats.buried == 1)
        await until(lambda: len(starts) >= 6)
        assert anyio.current_time() - began >= 0.15  # four pauses of 50 ms, of which a clock may round a little off
        down.clear()


# -- what a handler leaves behind -------------------------------------------------------------------------------------


async def test_what_is_announced_without_an_entry_is_announced_with_no_other() -> None:
    journal = MemoryJournal()

    class Ticks(Actor[str]):
        async def receive(self, message: str) -> None:
            self.context.announce_on_settle("said", message.encode())
            if message == "first":
                self.context.pipe_to_self(anyio.lowlevel.checkpoint(), lambda _: "tick")

    ref, child = box(journal, Ticks)
    async with running(specs(child)):
        await ref.tell("first")
        await until(lambda: ref.cell.stats.handled == 2)
        await ref.tell("second")
        await until(lambda: ref.cell.stats.handled == 3)
    assert [one.payload for one in journal.announced] == [b"first", b"second"]


async def test_a_declared_error_leaves_nothing_to_be_stashed() -> None:
    done: list[str] = []

    class Stashes(Actor[Say]):
        declared = (LookupError,)

        async def receive(self, message: Say) -> str:
            if message.text == "first":
                self.context.stash()
                raise LookupError
            done.append(message.text)
            return message.text

    ref = ActorRef[Say]("a")
    async with running(specs(ChildSpec("a", Stashes, ref))):
        with pytest.raises(LookupError):
            await ref.ask(Say("first"), timeout_s=10)
        assert await ref.ask(Say("second"), timeout_s=10) == "second"
    assert done == ["second"]


async def test_the_children_of_an_instance_end_before_the_actor_that_crashes_too_often_is_restarted() -> None:
    stopping, gate = anyio.Event(), anyio.Event()

    class Child(Actor[str]):
        async def on_stop(self) -> None:
            stopping.set()
            await gate.wait()

    class Parent(Actor[Say]):
        async def receive(self, message: Say) -> None:
            if message.text == "crash":
                raise ValueError(message.text)
            await self.context.spawn(ChildSpec("child", Child, ActorRef[str]("child")))

    ref = ActorRef[Say]("a")
    parent = ChildSpec("a", Parent, ref, mailbox=MailboxSpec(key=lambda message: message.key))
    with anyio.fail_after(20):
        async with running(specs(parent, intensity=1)) as root:
            await ref.tell(Say("spawn", "one"))
            await ref.tell(Say("crash", "one"))
            await stopping.wait()
            await ref.tell(Say("crash", "two"))
            await ref.tell(Say("crash", "two"))  # once too often
            await until(lambda: ref.cell.stats.buried == 3)
            await anyio.wait_all_tasks_blocked()
            assert root.children[0].restarts == 0
            gate.set()
            await until(lambda: root.children[0].restarts == 1)


# -- children that come and go ----------------------------------------------------------------------------------------


class Life(Service):
    """Counts who lives; the first to start may take its time."""

    def __init__(self, live: list[str], name: str, *, hangs: bool = False) -> None:
        self._live, self._name, self._hangs = live, name, hangs

    async def run(self, context: ServiceContext) -> None:
        self._live.append(self._name)
        try:
            context.started()
            await context.stopping.wait()
            if self._hangs:
                await anyio.sleep_forever()
        finally:
            self._live.remove(self._name)


async def test_a_child_that_is_removed_while_it_starts_with_its_supervisor_ends_nobody() -> None:
    class Hangs(Service):
        async def run(self, context: ServiceContext) -> None:
            await anyio.sleep_forever()

    ref = ActorRef[Say]("a")
    root = Supervisor(specs(ServiceSpec("hangs", Hangs, shutdown_s=0.05), ChildSpec("a", lambda: Awaits([]), ref)))
    with anyio.fail_after(20):
        run = asyncio.create_task(root.run(lambda: None))
        await until(lambda: root.children[0].status == "starting")
        await root.stop_child("hangs")
        assert await ref.ask(Say("well"), timeout_s=10) == "well"
        assert (root.status, [child.spec.id for child in root.children]) == ("running", ["a"])
        root.request_stop()
        await run


async def test_a_child_that_is_removed_during_a_restart_ends_nobody() -> None:
    for strategy in Strategy:
        live, ref = list[str](), ActorRef[Say]("a")
        slow = anyio.Event()

        class Late(Service):
            runs = 0

            async def run(self, context: ServiceContext, slow: anyio.Event = slow) -> None:
                Late.runs += 1
                if Late.runs > 1:
                    slow.set()
                    await anyio.sleep_forever()
                context.started()
                raise ValueError("once")

        late = ServiceSpec("late", Late, shutdown_s=0.05)
        actor = ChildSpec("a", lambda: Awaits([]), ref)
        with anyio.fail_after(20):
            async with running(specs(actor, strategy=strategy, intensity=1)) as root:
                await root.start_child(late)
                await slow.wait()
                await root.stop_child("late")
                assert await ref.ask(Say("well"), timeout_s=10) == "well"
                assert (root.status, [child.spec.id for child in root.children], live) == ("running", ["a"], [])


async def test_a_removal_that_is_given_up_still_ends_within_the_childs_time() -> None:
    live: list[str] = []
    with anyio.fail_after(20):
        async with running(specs()) as root:
            await root.start_child(ServiceSpec("s", lambda: Life(live, "s", hangs=True), shutdown_s=0.1))
            with anyio.move_on_after(0.02):
                await root.stop_child("s")
            await until(lambda: not live)
            assert root.status == "running"


async def test_a_child_is_not_added_beside_the_one_of_its_id_that_has_not_ended_yet() -> None:
    live, most, gate = list[str](), list[int](), anyio.Event()

    class Lingering(Life):
        async def run(self, context: ServiceContext) -> None:
            await super().run(context)
            self._live.append("lingers")
            most.append(len(self._live))
            await gate.wait()
            self._live.remove("lingers")

    spec = ServiceSpec("s", lambda: Lingering(live, "s"))
    with anyio.fail_after(20):
        async with running(specs()) as root:
            await root.start_child(spec)
            async with anyio.create_task_group() as giving_up:
                giving_up.start_soon(root.stop_child, "s")
                await until(lambda: live == ["lingers"])
                giving_up.cancel_scope.cancel()
            with pytest.raises(DuplicateChild):
                await root.start_child(spec)
            async with anyio.create_task_group() as tasks:
                gate.set()
                await until(lambda: not live)
                tasks.start_soon(root.start_child, spec)
            assert live == ["s"]
    assert most == [1, 1]


async def test_a_child_that_is_added_during_the_start_is_started_once() -> None:
    live: list[str] = []
    gate = anyio.Event()

    class Gated(Service):
        async def run(self, context: ServiceContext) -> None:
            await gate.wait()
            context.started()
            await context.stopping.wait()

    root = Supervisor(specs(ServiceSpec("gated", Gated)))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, lambda: None)
            await anyio.wait_all_tasks_blocked()
            await root.start_child(ServiceSpec("s", lambda: Life(live, "s")))
            gate.set()
            await until(lambda: root.status == "running")
            assert live == ["s"]
            root.request_stop()
    assert live == []


@pytest.mark.parametrize("given_up", [False, True], ids=["waited for", "given up"])
async def test_a_child_that_is_restarted_while_it_is_added_is_the_supervisors(given_up: bool) -> None:
    live, starts, gate = list[str](), list[str](), anyio.Event()

    class LateReady(Life):
        """Is not ready at its first start, and takes its time to end it."""

        async def run(self, context: ServiceContext) -> None:
            starts.append("s")
            if len(starts) > 1:
                await super().run(context)
                return
            try:
                await context.stopping.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await gate.wait()

    with anyio.fail_after(20):
        async with running(specs()) as root:
            async with anyio.create_task_group() as tasks, anyio.create_task_group() as adding:
                adding.start_soon(root.start_child, ServiceSpec("s", lambda: LateReady(live, "s"), shutdown_s=15))
                await until(lambda: bool(starts))
                if given_up:
                    adding.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await anyio.wait_all_tasks_blocked()
                tasks.start_soon(Controls(root).restart, "root/s")
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                    gate.set()
            assert (live, len(starts)) == (["s"], 2)
            assert [(child.spec.id, child.status) for child in root.children] == [("s", "running")]
    assert live == []


async def test_a_temporary_child_is_not_started_again_with_others() -> None:
    live, ref, starts = list[str](), ActorRef[Say]("a"), list[str]()

    class Once(Life):
        async def run(self, context: ServiceContext) -> None:
            starts.append("once")
            await super().run(context)

    temporary = ServiceSpec("t", lambda: Once(live, "t"), restart=Restart.TEMPORARY)
    actor = ChildSpec("a", lambda: Awaits([]), ref)
    async with running(specs(temporary, actor, strategy=Strategy.ONE_FOR_ALL)) as root:
        with pytest.raises(ActorStopped):
            await ref.ask(Say("stray"), timeout_s=10)
        await until(lambda: root.children[1].restarts == 1 and root.children[1].status == "running")
        assert (starts, live) == (["once"], [])


async def test_two_may_spawn_their_first_child_at_once() -> None:
    class Parent(Actor[Say]):
        async def receive(self, message: Say) -> str:
            live: list[str] = []
            specs = [ServiceSpec(name, lambda name=name: Life(live, name)) for name in "ab"]  # type: ignore[misc]
            await asyncio.gather(*map(self.context.spawn, specs))
            return "".join(sorted(live))

    ref = ActorRef[Say]("a")
    async with running(specs(ChildSpec("a", Parent, ref))):
        assert await ref.ask(Say("spawn"), timeout_s=10) == "ab"


async def test_a_service_hears_of_a_stop_that_came_before_its_first_step() -> None:
    live: list[str] = []

    class Slow(Service):
        """Ready at once; its supervisor is asked to stop in the same turn of the loop."""

        async def run(self, context: ServiceContext) -> None:
            context.started()
            await context.stopping.wait()
            live.append("stopped in good order")

    root = Supervisor(specs())
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, lambda: None)
            await until(lambda: root.status == "running")
            adding = asyncio.create_task(root.start_child(ServiceSpec("s", Slow, shutdown_s=15.0)))
            await asyncio.sleep(0)
            root.children[0].process.request_stop()
            await adding
            await until(lambda: bool(live))
            root.request_stop()
    assert live[0] == "stopped in good order"


async def test_an_outage_at_the_restart_after_a_crash_uses_up_no_restart() -> None:
    down, starts, done = anyio.Event(), list[bool](), list[str]()
    up = anyio.Event()

    class Fragile(Actor[str]):
        async def on_start(self) -> None:
            starts.append(down.is_set())
            if down.is_set() and not up.is_set():
                raise StoreDown

        async def receive(self, message: str) -> None:
            if message == "crash" and not down.is_set():
                down.set()
                raise ValueError(message)
            done.append(message)

    ref = ActorRef[str]("fragile")
    retry = RetryPolicy(outage=(StoreDown,), outage_delays_s=(0.001,))
    root = SupervisorSpec(
        "root", [ChildSpec("fragile", Fragile, ref, retry=retry)], intensity=2, backoff=Backoff(0.001, 0.001)
    )
    async with running(root) as tree:
        await ref.tell("crash")
        await ref.tell("after")
        await until(lambda: starts.count(True) > 5)
        assert tree.status == "running"
        up.set()
        await until(lambda: done == ["after"])


async def test_an_outage_at_the_restart_of_a_supervisor_is_waited_for() -> None:
    down, starts, done = list[bool](), list[int](), list[str]()

    class Loads(Actor[str]):
        async def on_start(self) -> None:
            starts.append(1)
            if down:
                raise StoreDown

        async def receive(self, message: str) -> None:
            if message == "crash":
                raise ValueError(message)
            done.append(message)

    ref, other = ActorRef[str]("loads"), ActorRef[str]("crashes")
    loads = ChildSpec("loads", Loads, ref, retry=RetryPolicy(outage=(StoreDown,), outage_delays_s=(0.001,)))
    inner = SupervisorSpec("inner", [loads, ChildSpec("crashes", Announces, other)], intensity=0)
    async with running(specs(inner, intensity=1)) as root:
        down.append(True)
        await other.tell("crash")
        await until(lambda: len(starts) > 5)
        assert root.status == "running"
        down.clear()
        await until(lambda: root.children[0].status == "running")
        await ref.tell("after")
        await until(lambda: done == ["after"])
        assert root.children[0].restarts == 1


class Strays(Actor[str]):
    """Awaits what was cancelled elsewhere, the first time that it is told to."""

    def __init__(self, strayed: list[str]) -> None:
        self._strayed = strayed

    async def receive(self, message: str) -> None:
        if message == "stray" and not self._strayed:
            self._strayed.append(message)
            cancelled = asyncio.get_running_loop().create_future()
            cancelled.cancel()
            await cancelled


class HangsAgain(Actor[str]):
    """Hangs at its second start, and takes its time to give that up."""

    def __init__(self, starts: list[int], gate: anyio.Event) -> None:
        self._starts, self._gate = starts, gate

    async def on_start(self) -> None:
        self._starts.append(1)
        if len(self._starts) == 2:
            try:
                await anyio.sleep(3600)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._gate.wait()

    async def receive(self, message: str) -> None:
        raise ValueError(message)


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_start_that_a_supervisor_gives_up_is_no_end_of_the_others(keyed: bool) -> None:
    ref, hanging = ActorRef[str]("a"), ActorRef[str]("b")
    strayed, starts, gate = list[str](), list[int](), anyio.Event()
    mailbox = MailboxSpec(key=(lambda _: "k") if keyed else None)
    children = (
        ChildSpec("a", lambda: Strays(strayed), ref, mailbox=mailbox, retry=RetryPolicy((0.0,))),
        ChildSpec("b", lambda: HangsAgain(starts, gate), hanging),
    )
    backoff = Backoff(first_s=0.0, jitter=0.0)
    with anyio.fail_after(20):
        async with running(SupervisorSpec("root", children, strategy=Strategy.REST_FOR_ONE, backoff=backoff)) as root:
            await hanging.tell("crash")
            await until(lambda: len(starts) == 2)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Controls(root).restart, "root/b")
                await anyio.wait_all_tasks_blocked()
                await ref.tell("stray")
                await until(lambda: bool(strayed))
                gate.set()
            await until(lambda: ref.cell.stats.handled == 1)
