"""Whoever gives up waiting for a stop, or for a start, leaves nobody behind."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import pytest
import structlog

from tests.runtime.support import running, until
from tests.runtime.test_supervisor import probes, tree
from trendedge.runtime import (
    ActorStopped,
    IntensityExceeded,
    Service,
    ServiceContext,
    ServiceSpec,
    Strategy,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.simulation import simulate


class Slow(Service):
    """Takes its time to stop."""

    def __init__(self, name: str, live: list[str], gate: anyio.Event) -> None:
        self._name, self._live, self._gate = name, live, gate

    async def run(self, context: ServiceContext) -> None:
        self._live.append(self._name)
        context.started()
        await context.stopping.wait()
        await self._gate.wait()
        self._live.remove(self._name)


async def cancelled_while_it_stops() -> None:
    live, gate = list[str](), anyio.Event()
    inner = SupervisorSpec("inner", [ServiceSpec("b", lambda: Slow("b", live, gate))])
    root = Supervisor(tree([ServiceSpec("a", lambda: Slow("a", live, gate)), inner], Strategy.ONE_FOR_ONE))
    run = asyncio.create_task(root.run(lambda: None))
    await until(lambda: root.status == "running")
    root.request_stop()
    for _ in range(3):
        await until(lambda: root.children[1].status == "stopping")
        run.cancel()
        await asyncio.wait([run], timeout=0.01)
    assert live == ["a", "b"]
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert live == []


async def timed_out_and_cancelled_while_it_stops() -> None:
    live, gate = list[str](), anyio.Event()
    root = Supervisor(tree([ServiceSpec("a", lambda: Slow("a", live, gate))], Strategy.ONE_FOR_ONE))

    async def run_briefly() -> None:
        async with asyncio.timeout(0.05):
            await root.run(lambda: None)

    run = asyncio.create_task(run_briefly())
    await until(lambda: root.status == "stopping")
    run.cancel()
    await asyncio.wait([run], timeout=0.01)
    assert live == ["a"]
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert live == []


async def cancelled_while_a_start_is_given_up() -> None:
    live, gate = list[str](), anyio.Event()

    class NeverReady(Slow):
        async def run(self, context: ServiceContext) -> None:
            live.append("a")
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await gate.wait()
                live.remove("a")

    async with running(tree([], Strategy.ONE_FOR_ONE)) as root:
        adding = asyncio.create_task(root.start_child(ServiceSpec("a", lambda: NeverReady("a", live, gate))))
        await until(lambda: live == ["a"])
        for _ in range(3):
            adding.cancel()
            await asyncio.wait([adding], timeout=0.01)
        assert (live, [child.spec.id for child in root.children]) == (["a"], ["a"])
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert (live, root.children) == ([], [])


CANCELLED = [cancelled_while_it_stops, timed_out_and_cancelled_while_it_stops, cancelled_while_a_start_is_given_up]


@pytest.mark.parametrize("how", CANCELLED)
async def test_a_cancellation_leaves_nobody_behind(how: Callable[[], Awaitable[None]]) -> None:
    with anyio.fail_after(20):
        await how()


@pytest.mark.parametrize("how", CANCELLED)
def test_a_cancellation_leaves_nobody_behind_in_the_simulation_either(how: Callable[[], Awaitable[None]]) -> None:
    async def main(_: object) -> None:
        await how()

    simulate(main)


async def test_a_stop_that_is_asked_for_before_the_run_starts_nobody() -> None:
    life: list[str] = []
    root = Supervisor(tree(list(probes("ab", life).values()), Strategy.ONE_FOR_ONE))
    root.request_stop()
    with anyio.fail_after(20):
        await root.run(lambda: life.append("ready"))
    assert life == []


@pytest.mark.parametrize("gives_up", [False, True], ids=["stopped", "gave up"])
async def test_a_stop_gives_up_the_start_of_who_is_being_added(gives_up: bool) -> None:
    life: list[str] = []
    crasher = probes("a", life)["a"]

    class NeverReady(Service):
        async def run(self, context: ServiceContext) -> None:
            life.append("never ready")
            await anyio.sleep_forever()

    async def add() -> None:
        with pytest.raises(ActorStopped, match="root: stopped"):
            await root.start_child(ServiceSpec("s", NeverReady, shutdown_s=600))

    async def run() -> None:
        with suppress(IntensityExceeded):
            await root.run(lambda: None)

    root = Supervisor(tree([crasher], Strategy.ONE_FOR_ONE, intensity=0))
    with structlog.testing.capture_logs() as logs, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await until(lambda: root.status == "running")
            tasks.start_soon(add)
            await until(lambda: "never ready" in life)
            if gives_up:
                await crasher.ref.tell("crash")
            else:
                root.request_stop()
    assert [child.spec.id for child in root.children] == ["a"]
    assert not [line for line in logs if "overran" in line["event"]]
