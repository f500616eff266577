"""What an incarnation has begun is forgotten when it is given up again, and when it has ended."""

import gc
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.runtime.support import running, until
from trendedge.runtime import Actor, ActorRef, ChildSpec, Context, SupervisorSpec, Terminated, Timer
from trendedge.runtime.simulation import Actors


def timers() -> int:
    gc.collect()
    return sum(isinstance(one, Timer) for one in gc.get_objects())


def test_a_timer_that_is_cancelled_is_forgotten(actors: Actors) -> None:
    class SetsItAnew(Actor[str]):
        async def receive(self, message: str) -> None:
            for _ in range(1000):
                self.context.tell_self_after(3600.0, "timed out").cancel()

    anew = actors.start(SetsItAnew)
    anew.tell("")
    assert timers() < 10


@pytest.mark.parametrize("begin", [Context.tell_self_after, Context.tell_self_every])
def test_an_incarnation_that_has_ended_begins_no_timer(
    begin: Callable[[Context, float, str], Timer], actors: Actors
) -> None:
    contexts: list[Context] = []

    class Fails(Actor[str]):
        async def receive(self, message: str) -> None:
            contexts.append(self.context)
            raise ValueError(message)

    fails = actors.start(Fails)
    fails.tell("")
    armed: list[Timer] = []
    actors.call(lambda: armed.append(begin(contexts[0], 1.0, "tick")))
    actors.advance(5.0)
    assert [one.pending for one in armed] == [False]
    assert actors.loop.next_timer() is None
    assert fails.handled == 0


@pytest.mark.parametrize("end", ["crash", "stop"])
@pytest.mark.parametrize("begin", [Context.tell_self_after, Context.tell_self_every])
def test_no_timer_outlives_its_incarnation(
    begin: Callable[[Context, float, str], Timer], end: str, actors: Actors
) -> None:
    begun: list[Timer] = []

    class Begins(Actor[str]):
        async def receive(self, message: str) -> None:
            begun.append(begin(self.context, 1.0, "tick"))
            if message == "crash":
                raise ValueError(message)

    begins = actors.start(Begins)
    begins.tell(end)
    if end == "stop":
        actors.stop()
    assert [one.pending for one in begun] == [False]
    actors.advance(5.0)
    assert actors.loop.next_timer() is None


@pytest.mark.parametrize("stashed", [False, True], ids=["waits", "stashed"])
async def test_no_death_notice_is_handled_after_its_actor_is_unwatched(stashed: bool) -> None:
    refs, gate, seen = {name: ActorRef[str](name) for name in "ab"}, anyio.Event(), list[Any]()

    class Watches(Actor[str | Terminated]):
        async def receive(self, message: str | Terminated) -> None:
            if message == "watch":
                for ref in refs.values():
                    self.context.watch(ref)
            elif message == "unwatch":
                await gate.wait()
                self.context.unwatch(refs["a"])
                self.context.unstash_all()
            elif stashed and not gate.is_set():
                self.context.stash()
                seen.append("stashed")
            else:
                seen.append(message)

    class Watched(Actor[str]):
        pass

    watches = ActorRef[Any]("watches")
    children = [ChildSpec(name, Watched, ref) for name, ref in refs.items()]
    async with running(SupervisorSpec("root", [*children, ChildSpec("watches", Watches, watches)])) as root:
        await watches.tell("watch")
        if not stashed:
            await watches.tell("unwatch")
        await anyio.wait_all_tasks_blocked()
        for name in "ab":
            await root.stop_child(name)
        if stashed:
            await until(lambda: len(seen) == 2)
            await watches.tell("unwatch")
        gate.set()
        await watches.tell("last")
        await until(lambda: "last" in seen)
        assert watches.cell.depth == 0
    assert [one for one in seen if one != "stashed"] == [Terminated("root/b", None), "last"]


async def test_who_is_unwatched_over_its_death_notice_has_been_told() -> None:
    watched, watches, seen = ActorRef[str]("watched"), ActorRef[Any]("watches"), list[Any]()

    class Watched(Actor[str]):
        pass

    class Watches(Actor[str | Terminated]):
        async def receive(self, message: str | Terminated) -> None:
            if isinstance(message, Terminated):
                self.context.unwatch(watched)
            elif message == "watch":
                self.context.watch(watched)
            seen.append(message)

    spec = SupervisorSpec("root", [ChildSpec("watched", Watched, watched), ChildSpec("watches", Watches, watches)])
    async with running(spec) as root:
        await watches.tell("watch")
        await root.stop_child("watched")
        await watches.tell("last")
        await until(lambda: len(seen) == 3)
        assert (watches.cell.depth, watches.cell.stats.dropped) == (0, 0)
    assert seen[1:] == [Terminated("root/watched", None), "last"]
