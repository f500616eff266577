"""Restart types: who is started again after it has ended by itself, and who after a crash."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from tests.runtime.support import running
from trendedge.runtime import (
    Actor,
    ActorRef,
    ChildSpec,
    Restart,
    Service,
    ServiceContext,
    ServiceSpec,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.simulation import Actors
from trendedge.runtime.specs import Spec

type Runs = list[int]
type Make = Callable[[Runs, Restart], Spec]


class Brief(Service):
    """Ends, or crashes, when it runs for the first time; from then on it waits for its stop."""

    def __init__(self, runs: Runs, error: Exception | None) -> None:
        self._runs, self._error = runs, error

    async def run(self, context: ServiceContext) -> None:
        self._runs.append(1)
        context.started()
        if len(self._runs) > 1:
            await context.stopping.wait()
        elif self._error is not None:
            raise self._error


class Crashes(Actor[str]):
    """Crashes over a message of its first incarnation."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def on_start(self) -> None:
        self._runs.append(1)
        if len(self._runs) == 1:
            self.context.tell_self_after(1.0, "crash")

    async def receive(self, message: str) -> None:
        raise ValueError(message)


def service(runs: Runs, restart: Restart, *, error: Exception | None = None) -> Spec:
    return ServiceSpec("child", lambda: Brief(runs, error), restart)


def actor(runs: Runs, restart: Restart, *, significant: bool = False) -> Spec:
    return ChildSpec("child", lambda: Crashes(runs), ActorRef[str]("child"), restart, significant=significant)


def supervisor(runs: Runs, restart: Restart, *, error: Exception | None = None) -> Spec:
    """Ends with a significant child, or gives up over the crash of one."""
    of_the_child = Restart.TEMPORARY if error is None else Restart.PERMANENT
    child = ServiceSpec("brief", lambda: Brief(runs, error), of_the_child, significant=True)
    return SupervisorSpec("child", [child], intensity=0, restart=restart)


ENDS: dict[str, Make] = {"a service ends": service, "a supervisor ends": supervisor}
CRASHES: dict[str, Make] = {
    "a service crashes": partial(service, error=ValueError("crash")),
    "an actor crashes": actor,
    "a supervisor gives up": partial(supervisor, error=ValueError("crash")),
}


@pytest.mark.parametrize("how", [*ENDS, *CRASHES])
@pytest.mark.parametrize(
    ("restart", "after"),
    [(Restart.PERMANENT, {*ENDS, *CRASHES}), (Restart.TRANSIENT, {*CRASHES}), (Restart.TEMPORARY, set[str]())],
    ids=["permanent", "transient", "temporary"],
)
def test_the_restart_type_says_who_is_started_again(
    actors: Actors, restart: Restart, after: set[str], how: str
) -> None:
    runs: Runs = []
    again = how in after

    async def main() -> None:
        async with running(SupervisorSpec("root", [(ENDS | CRASHES)[how](runs, restart)])) as root:
            await anyio.sleep(60)
            [child] = root.children
            assert (len(runs), child.generation, child.restarts) == (2, 2, 1) if again else (1, 1, 0)
            assert (root.status, child.status == "running") == ("running", again)

    actors.run(main())


def test_a_significant_actor_that_crashes_takes_its_supervisor_with_it(actors: Actors) -> None:
    runs: Runs = []

    async def main() -> None:
        root = Supervisor(SupervisorSpec("root", [actor(runs, Restart.TEMPORARY, significant=True)]))
        with anyio.fail_after(60):
            await root.run(lambda: None)
        assert root.missed is root.children[0]

    actors.run(main())
    assert runs == [1]


def test_a_significant_actor_that_is_started_again_takes_nobody_with_it(actors: Actors) -> None:
    runs: Runs = []

    async def main() -> None:
        async with running(SupervisorSpec("root", [actor(runs, Restart.TRANSIENT, significant=True)])) as root:
            await anyio.sleep(60)
            assert (root.status, root.children[0].status, len(runs)) == ("running", "running", 2)

    actors.run(main())


def test_a_significant_actor_that_crashes_crashes_the_one_that_has_spawned_it(actors: Actors) -> None:
    runs: Runs = []

    class Parent(Actor[Any]):
        async def receive(self, message: Any) -> None:
            await self.context.spawn(actor(runs, Restart.TEMPORARY, significant=True))

    parent = actors.start(Parent, name="parent")
    parent.tell("spawn")
    actors.advance(60)
    [child] = parent.ref.cell.supervisor.children
    assert [one.cause for one in child.history or ()] == [
        "SignificantChildEnded: test/parent/child: has ended, and was significant"
    ]
    assert (child.status, child.generation, runs) == ("running", 2, [1])
