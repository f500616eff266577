"""Tasks that are cancelled before their first step, children of who does not run yet, and whose context is whose."""

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import pytest
import structlog

from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    Controls,
    Inspector,
    MailboxSpec,
    Restart,
    Service,
    ServiceContext,
    ServiceSpec,
    StartFailed,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.simulation import Actors

AT_ONCE = Backoff(0.0, jitter=0.0)


class Writes(Actor[str]):
    def __init__(self, life: list[str], name: str = "") -> None:
        self.life, self.name = life, name

    async def receive(self, message: str) -> None:
        self.life.append(message)

    async def on_stop(self) -> None:
        if self.name:
            self.life.append(f"{self.name} stops")


async def test_an_instance_whose_task_is_cancelled_before_its_first_step_is_begun_again() -> None:
    ref, life = ActorRef[str]("a"), list[str]()
    child = ChildSpec("a", lambda: Writes(life), ref, mailbox=MailboxSpec(key=lambda _: "k"))
    async with running(SupervisorSpec("root", [child])):
        ref.tell_nowait("first")
        task = ref.cell.entities["k"].task
        assert task is not None
        task.cancel()
        await until(lambda: life == ["first"])


async def test_a_child_whose_task_is_cancelled_before_its_first_step_has_crashed() -> None:
    ref, life = ActorRef[str]("a"), list[str]()
    async with running(SupervisorSpec("root", [], backoff=AT_ONCE)) as root:
        adding = asyncio.create_task(root.start_child(ChildSpec("a", lambda: Writes(life), ref)))
        await asyncio.sleep(0)
        [task] = [one for one in asyncio.all_tasks() if one.get_name() == "root/a"]
        task.cancel()
        with anyio.fail_after(20), pytest.raises(StartFailed, match="StrayCancellation"):
            await adding
        await root.start_child(ChildSpec("a", lambda: Writes(life), ref))
        await ref.tell("serves")
        await until(lambda: life == ["serves"])


@pytest.mark.parametrize("steps", [0, 1])
async def test_a_supervisor_whose_task_is_cancelled_before_its_first_step_lets_nobody_wait_for_its_children(
    steps: int,
) -> None:
    """Not through the pause before its restart either; with one step it has begun, and says so itself."""
    ref, life = ActorRef[str]("a"), list[str]()
    inner = SupervisorSpec("inner", [ChildSpec("a", lambda: Writes(life), ref)])
    with anyio.fail_after(20):
        async with running(SupervisorSpec("root", [inner], backoff=Backoff(3600.0, jitter=0.0))) as root:
            [child] = root.children
            orders = [asyncio.create_task(root.restart(child))]
            while child.generation == 1:  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0)
            for _ in range(steps):
                await asyncio.sleep(0)
            cancel_tasks("root/inner")
            await until(lambda: child.status == "crashed")
            with pytest.raises(ActorStopped):
                await ref.tell("lost")
            nested = cast("Supervisor", child.process)
            with pytest.raises(ActorStopped):
                await nested.restart(nested.children[0])
            orders.append(asyncio.create_task(root.restart(child)))
            await asyncio.gather(*orders)
            await ref.tell("serves")
            await until(lambda: life == ["serves"])


ENDS = """
import asyncio
from trendedge.runtime import Actor, ActorRef, ChildSpec, Supervisor, SupervisorSpec

class Kid(Actor[str]):
    async def receive(self, message): ...

class Parent(Actor[str]):
    async def on_start(self):
        await self.context.spawn(ChildSpec("kid", Kid, ActorRef("kid")))
    async def receive(self, message): ...

async def main():
    root = Supervisor(SupervisorSpec("root", [ChildSpec("a", Parent, ActorRef("a"))]))
    task = asyncio.create_task(root.run(lambda: None))
    for _ in range({turns}):
        await asyncio.sleep(0)

asyncio.run(main())
print("ended")
"""


@pytest.mark.parametrize("turns", range(6))
def test_the_end_of_the_event_loop_in_the_turn_of_a_spawn_ends_the_process(turns: int) -> None:
    """`asyncio.run` cancels all tasks, also one that has not taken its first step."""
    command = [sys.executable, "-c", ENDS.format(turns=turns)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "ended"


class Waits(Service):
    """Its second start takes as long as the test says."""

    def __init__(self, starts: list[int], gate: anyio.Event) -> None:
        self.starts, self.gate = starts, gate

    async def run(self, context: ServiceContext) -> None:
        self.starts.append(1)
        if len(self.starts) == 2:
            await self.gate.wait()
        context.started()
        await context.stopping.wait()


class Spawns(Writes):
    async def on_start(self) -> None:
        self.life.append("starts")
        await self.context.spawn(ChildSpec("kid", lambda: Writes([]), ActorRef[str]("kid")))


async def test_a_removal_below_a_supervisor_that_has_not_started_yet_starts_nobody() -> None:
    """The supervisor above is restarted, and waits for an elder child; mail may wait below already."""
    ref, life, starts, gate = ActorRef[str]("c"), list[str](), list[int](), anyio.Event()
    drains = ChildSpec("c", lambda: Spawns(life), ref, mailbox=MailboxSpec(drain=True), shutdown_s=1)
    tree = SupervisorSpec("mid", [ServiceSpec("slow", lambda: Waits(starts, gate)), SupervisorSpec("below", [drains])])
    async with running(SupervisorSpec("root", [tree])) as root, asyncio.TaskGroup() as tasks:
        order = tasks.create_task(Controls(root).restart("root/mid"))
        await until(lambda: len(starts) == 2)
        await ref.tell("waits")
        mid = cast("Supervisor", root.children[0].process)
        with anyio.fail_after(20):
            await cast("Supervisor", mid.children[1].process).stop_child("c")
        assert life == ["starts"]
        with pytest.raises(ActorStopped):
            await ref.tell("nobody is there")
        gate.set()
        await order
    assert life == ["starts"]


OWN = contextvars.ContextVar("OWN", default="nobody's")


def test_no_child_sees_what_another_has_set_in_its_context() -> None:
    """Also where whoever runs the tree has set nothing: an empty context is one like any other."""
    seen = list[tuple[str, str, dict[str, Any]]]()

    class Sets(Actor[str]):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_start(self) -> None:
            seen.append((self.name, OWN.get(), structlog.contextvars.get_contextvars()))
            OWN.set(self.name)

        async def receive(self, message: str) -> None:
            structlog.contextvars.bind_contextvars(user=message)

    async def main() -> None:
        refs = {name: ActorRef[str](name) for name in "abc"}
        specs = [ChildSpec(name, lambda name=name: Sets(name), ref) for name, ref in refs.items()]  # type: ignore[misc]
        async with running(SupervisorSpec("root", specs[:2])) as root:
            await refs["a"].tell("alice")
            await until(lambda: refs["a"].cell.depth == 0)
            await root.start_child(specs[2])

    contextvars.Context().run(asyncio.run, main())
    assert seen == [("a", "nobody's", {}), ("b", "nobody's", {}), ("c", "nobody's", {})]


async def _by_request(root: Supervisor, scope: anyio.CancelScope, task: asyncio.Task[Any]) -> None:
    root.request_stop()


async def _by_an_outer_scope(root: Supervisor, scope: anyio.CancelScope, task: asyncio.Task[Any]) -> None:
    scope.cancel()


async def _by_cancelling_its_task(root: Supervisor, scope: anyio.CancelScope, task: asyncio.Task[Any]) -> None:
    task.cancel()


@pytest.mark.parametrize("how", [_by_request, _by_an_outer_scope, _by_cancelling_its_task])
async def test_the_order_of_stops_is_the_same_however_the_tree_is_ended(
    how: Callable[[Supervisor, anyio.CancelScope, asyncio.Task[Any]], Awaitable[None]],
) -> None:
    """A spawned child is there until its parent's turn, and piped work too."""
    life, kid, elder, younger = list[str](), ActorRef[str]("kid"), ActorRef[str]("a"), ActorRef[str]("b")

    class Parent(Writes):
        async def on_start(self) -> None:
            await self.context.spawn(ChildSpec("kid", lambda: Writes(life, "kid"), kid))

        async def receive(self, message: str) -> None:
            self.context.pipe_to_self(self._last(), str)

        async def _last(self) -> str:
            try:
                await anyio.sleep_forever()
            finally:
                life.append("piped work ends")
            raise AssertionError

    class Younger(Writes):
        async def on_stop(self) -> None:
            await anyio.sleep(0.02)
            await kid.tell("last words")
            await super().on_stop()

    children = [
        ChildSpec("a", lambda: Parent(life, "a"), elder),
        ChildSpec("b", lambda: Younger(life, "b"), younger),
    ]
    root, scope = Supervisor(SupervisorSpec("root", children)), anyio.CancelScope()

    async def host() -> None:
        with scope:
            await root.run(lambda: None)

    task = asyncio.create_task(host())
    await until(lambda: root.status == "running")
    await elder.tell("pipe")
    await until(lambda: not elder.cell.depth)
    await how(root, scope, task)
    await asyncio.wait([task])
    assert life == ["b stops", "last words", "kid stops", "a stops", "piped work ends"]


def test_who_is_removed_while_it_starts_stays_one_who_stops_and_its_adder_hears_of_it(actors: Actors) -> None:
    class Slow(Writes):
        async def on_start(self) -> None:
            await anyio.sleep(1)

        async def on_stop(self) -> None:
            await anyio.sleep(1)

    async def play() -> None:
        async with running(SupervisorSpec("root", [])) as root, asyncio.TaskGroup() as tasks:
            added = tasks.create_task(_refused(root.start_child(ChildSpec("a", lambda: Slow([]), ActorRef[str]("a")))))
            await anyio.sleep(0.5)
            removed = tasks.create_task(root.stop_child("a"))
            await anyio.sleep(1)
            [leaving] = root.members.leaving
            assert leaving.status == "stopping"
            assert await added
            await removed
            assert Inspector(root).find("root/a") is None

    actors.run(play())


async def _refused(work: Awaitable[None]) -> bool:
    try:
        await work
    except ActorStopped:
        return True
    return False


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TEMPORARY])
async def test_piped_work_that_cannot_begin_leaves_nothing_to_wait_for(restart: Restart) -> None:
    """Work that an actor hands to a supervisor that does not run is closed, and its actor ends at once."""
    life, ref = list[str](), ActorRef[str]("a")
    root = Supervisor(SupervisorSpec("root", [ChildSpec("a", lambda: Writes(life), ref, restart)]))
    work = anyio.sleep(60)
    entity_context = _context_of(ref)
    with pytest.raises(ActorStopped):
        entity_context.pipe_to_self(work, str)
    assert not entity_context.expects_mail
    assert work.cr_frame is None  # type: ignore[attr-defined]  # it was closed
    assert root.status == "starting"


def _context_of(ref: ActorRef[Any]) -> Any:
    from trendedge.runtime.actor import Context
    from trendedge.runtime.entity import Entity

    return Context(Entity(ref.cell, None))


def cancel_tasks(name: str) -> None:
    """As somebody does who has nothing to do with the tree."""
    for task in asyncio.all_tasks():
        if task.get_name() == name:
            task.cancel()


async def test_the_parent_of_children_whose_task_is_cancelled_by_others_crashes_and_has_them_again() -> None:
    life, kid, parent = list[str](), ActorRef[str]("kid"), ActorRef[str]("a")

    class Has(Writes):
        async def on_start(self) -> None:
            self.life.append("starts")
            await self.context.spawn(ChildSpec("kid", lambda: Writes([]), kid))

    spec = SupervisorSpec("root", [ChildSpec("a", lambda: Has(life), parent)], backoff=AT_ONCE)
    async with running(spec) as root:
        cancel_tasks("root/a children")
        await until(lambda: life == ["starts", "starts"] and root.children[0].status == "running")
        await kid.tell("is there")


@pytest.mark.parametrize("steps", [0, 1])
async def test_piped_work_whose_task_is_cancelled_by_others_is_an_error_that_becomes_a_message(steps: int) -> None:
    life, ref = list[str](), ActorRef[str]("a")

    class Pipes(Writes):
        async def receive(self, message: str) -> None:
            if message != "pipe":
                self.life.append(message)
                return
            self.context.pipe_to_self(asyncio.sleep(60, "never"), str, on_error=lambda error: type(error).__name__)
            for _ in range(steps):
                await asyncio.sleep(0)
            cancel_tasks("root/a pipe")

    async with running(SupervisorSpec("root", [ChildSpec("a", lambda: Pipes(life), ref)])):
        await ref.tell("pipe")
        await until(lambda: life == ["StrayCancellation"])
        assert ref.cell.entities[None].held_up_by()[0] == 0
        with anyio.fail_after(5):
            await ref.tell("more")
            await until(lambda: life[-1] == "more")


async def test_a_supervisor_whose_stop_is_cancelled_by_others_stops_its_children_all_the_same() -> None:
    life = list[str]()

    class Slow(Writes):
        async def on_stop(self) -> None:
            await anyio.sleep(0.05)
            await super().on_stop()

    children = [ChildSpec(name, lambda name=name: Slow(life, name), ActorRef[str](name)) for name in "ab"]  # type: ignore[misc]
    root = Supervisor(SupervisorSpec("root", children))
    task = asyncio.create_task(root.run(lambda: None))
    await until(lambda: root.status == "running")
    root.request_stop()
    await until(lambda: root.children[1].status == "stopping")
    cancel_tasks("root stops")
    await task
    assert [child.status for child in root.children] == ["stopped", "stopped"]
    assert life == ["b stops", "a stops"]


@pytest.mark.parametrize("again", [1, 3])
async def test_a_supervisor_that_is_cancelled_in_one_turn_with_its_stop_leaves_nobody_behind(again: int) -> None:
    life = list[str]()

    class Slow(Writes):
        async def on_stop(self) -> None:
            await anyio.sleep(0.05)
            await super().on_stop()

    def children(names: str) -> list[ChildSpec[str]]:
        return [ChildSpec(name, lambda name=name: Slow(life, name), ActorRef[str](name)) for name in names]  # type: ignore[misc]

    root = Supervisor(SupervisorSpec("root", [*children("ab"), SupervisorSpec("inner", children("cd"))]))
    task = asyncio.create_task(root.run(lambda: None))
    await until(lambda: root.status == "running")
    root.request_stop()
    for _ in range(again):
        await until(lambda: root.children[2].status == "stopping")
        task.cancel()
        cancel_tasks("root stops")
        cancel_tasks("root/inner stops")
        await asyncio.sleep(0)
    with anyio.fail_after(20), pytest.raises(asyncio.CancelledError):
        await task
    assert life == ["d stops", "c stops", "b stops", "a stops"]
    assert [child.status for child in root.children] == ["stopped"] * 3


def test_the_end_of_the_event_loop_during_a_stop_leaves_nobody_behind() -> None:
    """All tasks are cancelled at once, in no order; of some that are to stop only the last is told before."""
    live, swallowed = list[str](), list[str]()

    class Swallows(Service):
        def __init__(self, name: str) -> None:
            self._name = name

        async def run(self, context: ServiceContext) -> None:
            live.append(self._name)
            context.started()
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                swallowed.append(self._name)
            await context.stopping.wait()
            live.remove(self._name)

    async def main() -> None:
        made = [ServiceSpec(name, lambda name=name: Swallows(name)) for name in "abcd"]  # type: ignore[misc]
        root = Supervisor(SupervisorSpec("root", [*made[:2], SupervisorSpec("inner", made[2:])]))
        run = asyncio.create_task(root.run(lambda: None))
        await until(lambda: root.status == "running")
        root.request_stop()
        await until(lambda: root.children[2].status == "stopping")
        assert not run.done()

    asyncio.run(main())
    assert (live, sorted(swallowed)) == ([], ["a", "b", "c", "d"])


@pytest.mark.parametrize("steps", range(4))
async def test_a_removal_whose_task_is_cancelled_by_others_goes_on(steps: int) -> None:
    ref, life = ActorRef[str]("a"), list[str]()
    async with running(SupervisorSpec("root", [ChildSpec("a", lambda: Writes(life, "a"), ref)])) as root:
        removal = asyncio.create_task(root.stop_child("a"))
        await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        cancel_tasks("root/a leaves")
        with anyio.fail_after(20):
            await removal
        assert life == ["a stops"]
        await root.start_child(ChildSpec("a", lambda: Writes(life), ref))
        await ref.tell("is there")


async def test_a_restart_whose_task_is_cancelled_by_others_is_made_all_the_same() -> None:
    """During its pause; the others know nothing of it."""
    life, refs = list[str](), {name: ActorRef[str](name) for name in "ab"}

    class Crashes(Writes):
        async def receive(self, message: str) -> None:
            if message == "crash":
                raise ValueError(message)
            await super().receive(message)

    children = [ChildSpec(name, lambda: Crashes(life), ref) for name, ref in refs.items()]
    spec = SupervisorSpec("root", children, backoff=Backoff(0.05, jitter=0.0))
    async with running(spec) as root:
        await refs["a"].tell("crash")
        await until(lambda: root.children[0].status == "crashed")
        await until(lambda: any(task.get_name() == "root/a restarts" for task in asyncio.all_tasks()))
        cancel_tasks("root/a restarts")
        await until(lambda: root.children[0].status == "running" and root.children[0].generation == 2)
        for ref in refs.values():
            await ref.tell("serves")
        await until(lambda: life == ["serves", "serves"])
        assert root.children[1].generation == 1
