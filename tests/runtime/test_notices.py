"""What a death notice says: of what the actor died, whoever gave it up and whenever somebody asks."""

from typing import Any, cast

import pytest

from tests.runtime.support import running, until
from tests.runtime.test_context import AT_ONCE, Named, puppet, tell_to, tree
from trendedge.runtime import ActorRef, Backoff, ChildSpec, Restart, Supervisor, SupervisorSpec

CRASHED = "ValueError: told to"


@pytest.mark.parametrize("where", ["added", "spawned", "given up with its supervisor"])
async def test_who_is_given_up_after_too_many_crashes_died_of_the_last(where: str) -> None:
    """Its siblings ended in good order, when they were let go by its supervisor, whatever that was given up for."""
    watcher, parent, life = ActorRef[Any]("puppet"), ActorRef[Any]("parent"), list[str]()
    refs = {name: ActorRef[str](name) for name in "ab"}
    children = [ChildSpec(name, lambda: Named("", []), ref) for name, ref in refs.items()]
    static = children if where == "given up with its supervisor" else []
    again = Restart.TEMPORARY if static else Restart.PERMANENT
    inner = SupervisorSpec("inner", static, intensity=0, backoff=AT_ONCE, restart=again)
    other = ChildSpec("parent", puppet(parent, []).start, parent)
    async with running(tree(puppet(watcher, life), inner, other)) as root:
        for child in children:
            if where == "added":
                await cast("Supervisor", root.children[1].process).start_child(child)
            elif where == "spawned":
                await tell_to(parent, lambda self, child=child: self.context.spawn(child))  # type: ignore[misc]
        for ref in refs.values():
            await tell_to(watcher, lambda self, ref=ref: self.context.watch(ref))  # type: ignore[misc]
        for _ in range(6 if where == "spawned" else 1):
            await until(lambda: refs["a"].cell.depth == 0)
            await refs["a"].tell("crash")
        await until(lambda: len(life) == 2)
        causes = dict(line.removeprefix("Terminated(path='")[:-1].split("', cause=") for line in life)
        died, let_go = (causes[refs[name].cell.path] for name in "ab")
    assert died == repr(CRASHED)
    assert let_go == "None"


async def test_who_watches_late_hears_of_what_it_died() -> None:
    watcher, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    spec = ChildSpec("a", lambda: Named("", []), child, restart=Restart.TEMPORARY)
    async with running(tree(puppet(watcher, life), SupervisorSpec("inner", [spec]))) as root:
        await child.tell("crash")
        await until(lambda: child.cell.closed)
        await root.stop_child("inner")  # which ends once more who has ended
        await tell_to(watcher, lambda self: self.context.watch(child))
        await until(lambda: bool(life))
    assert life[0] == f"Terminated(path='root/inner/a', cause={CRASHED!r})"


async def test_who_watches_twice_hears_once_also_of_one_who_has_died_before() -> None:
    watcher, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    spec = ChildSpec("a", lambda: Named("", []), child, restart=Restart.TEMPORARY)
    async with running(tree(puppet(watcher, life), spec)):
        await child.tell("crash")
        await until(lambda: child.cell.closed)

        def watch_twice(self: Any) -> None:
            self.context.watch(child)
            self.context.watch(child)

        for notices in (1, 2):  # who asks again, later, is told again
            await tell_to(watcher, watch_twice)
            await tell_to(watcher, lambda self: None)
            assert len(life) == notices

        def watch_anew(self: Any) -> None:
            watch_twice(self)
            self.context.unwatch(child)
            watch_twice(self)

        await tell_to(watcher, watch_anew)
        await tell_to(watcher, lambda self: None)
        assert len(life) == 3


async def test_who_is_stopped_in_the_pause_before_its_restart_died_of_its_crash() -> None:
    watcher, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    pause = Backoff(first_s=60.0, longest_s=60.0)
    inner = SupervisorSpec("inner", [ChildSpec("a", lambda: Named("", []), child)], backoff=pause)
    async with running(tree(puppet(watcher, life), inner)) as root:
        await tell_to(watcher, lambda self: self.context.watch(child))
        nested = cast("Supervisor", root.children[1].process)
        await child.tell("crash")
        await until(lambda: nested.children[0].status == "crashed")
        await root.stop_child("inner")
        await until(lambda: bool(life))
    assert life[0] == f"Terminated(path='root/inner/a', cause={CRASHED!r})"
