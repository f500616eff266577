"""A tree for the time of a block."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from tests.runtime.support import until
from tests.runtime.test_first_steps import cancel_tasks
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    ChildSpec,
    IntensityExceeded,
    Request,
    Restart,
    StartFailed,
    StrayCancellation,
    SupervisorSpec,
    running,
)


class Crash(Request[None]):
    pass


class Member(Actor[Crash]):
    def __init__(self, name: str, life: list[str]) -> None:
        self.name, self.life = name, life

    async def on_start(self) -> None:
        if self.name == "cannot":
            raise OSError("not there")
        if self.name == "never":
            await anyio.sleep_forever()
        self.life.append(f"{self.name} started")

    async def receive(self, message: Crash) -> None:
        raise ValueError("no")

    async def on_stop(self) -> None:
        self.life.append(f"{self.name} stopped")


def tree(*names: str, life: list[str]) -> SupervisorSpec:
    def member(name: str) -> ChildSpec[Crash]:
        return ChildSpec(
            name,
            lambda: Member(name, life),
            ActorRef[Crash](name),
            Restart.PERMANENT if name != "significant" else Restart.TEMPORARY,
            significant=name == "significant",
        )

    return SupervisorSpec("root", [member(name) for name in names], intensity=0)


def ref(spec: SupervisorSpec) -> ActorRef[Crash]:
    (child, *_) = spec.children
    assert isinstance(child, ChildSpec)
    assert isinstance(child.ref, ActorRef)
    return child.ref


async def test_a_tree_is_ready_when_its_block_begins_and_stopped_in_good_order_when_it_ends() -> None:
    life: list[str] = []
    async with running(tree("a", "b", life=life)) as root:
        assert root.path == "root"
        assert life == ["a started", "b started"]
    assert life[2:] == ["b stopped", "a stopped"]


async def test_what_the_block_raises_is_raised_as_it_is_after_the_stop() -> None:
    life: list[str] = []
    with pytest.raises(KeyError, match="mine"):
        async with running(tree("a", life=life)):
            raise KeyError("mine")
    assert life == ["a started", "a stopped"]


async def test_a_tree_that_gives_up_cancels_the_block_and_its_error_is_raised() -> None:
    life: list[str] = []
    spec = tree("a", life=life)

    async def crash() -> None:
        async with running(spec):
            await ref(spec).tell(Crash())
            try:
                await anyio.sleep_forever()
            finally:
                life.append("block ended")

    with pytest.raises(IntensityExceeded, match="the last by root/a"):
        await crash()
    assert life == ["a started", "block ended"]


async def test_what_the_block_raises_when_the_tree_has_given_up_is_the_context_of_its_error() -> None:
    spec = tree("a", life=[])

    async def crash() -> None:
        async with running(spec) as root:
            await ref(spec).tell(Crash())
            with anyio.CancelScope(shield=True):
                await root.ended.wait()
            await ref(spec).tell(Crash())

    with pytest.raises(IntensityExceeded) as told:
        await crash()
    assert isinstance(told.value.__context__, ActorStopped)


async def test_a_start_that_fails_is_raised_and_the_block_not_begun() -> None:
    life: list[str] = []
    with pytest.raises(StartFailed, match="root/cannot: did not start: OSError: not there"):
        async with running(tree("a", "cannot", life=life)):
            life.append("block begun")
    assert life == ["a started", "a stopped"]


@pytest.mark.parametrize("last", ["b", "never"])
async def test_who_is_cancelled_in_the_block_or_before_it_has_the_tree_stopped_first(last: str) -> None:
    life: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            async with running(tree("a", last, life=life)):
                await anyio.sleep_forever()

        tasks.start_soon(run)
        await until(lambda: "a started" in life)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert life[-1] == "a stopped"


@pytest.mark.parametrize("begun", [False, True], ids=["before its first step", "running"])
async def test_a_tree_whose_task_is_cancelled_by_others_ends_its_block_with_an_error(begun: bool) -> None:
    life: list[str] = []
    spec = tree("a", life=life)

    async def run() -> None:
        if not begun:
            asyncio.get_running_loop().call_soon(cancel_tasks, "root")
        async with running(spec):
            assert begun
            cancel_tasks("root")
            await anyio.sleep_forever()

    with anyio.fail_after(20), pytest.raises(StrayCancellation):
        await run()
    assert life == (["a started", "a stopped"] if begun else [])
    with pytest.raises(ActorStopped):
        await ref(spec).tell(Crash())


async def test_a_block_that_swallows_its_cancellation_hears_why_it_was_cut_off_all_the_same() -> None:
    async def run() -> None:
        async with running(tree("a", life=[])):
            cancel_tasks("root")
            with suppress(asyncio.CancelledError):
                await anyio.sleep_forever()

    with anyio.fail_after(20), pytest.raises(StrayCancellation):
        await run()


async def test_a_tree_that_ends_in_good_order_lets_its_block_go_on() -> None:
    life: list[str] = []
    spec = tree("significant", "b", life=life)
    async with running(spec) as root:
        await ref(spec).tell(Crash())
        await root.ended.wait()
        life.append("block ended")
    assert life == ["significant started", "b started", "b stopped", "block ended"]
