"""A restart or an order whose turn somebody cancels who has nothing to do with it is made all the same, once."""

import asyncio
from typing import Any

import anyio
import pytest

from tests.runtime.support import running, until
from tests.runtime.test_first_steps import AT_ONCE, Writes, cancel_tasks
from trendedge.runtime import Actor, ActorRef, Backoff, ChildSpec, Restart, SupervisorSpec, Terminated


class Works(Writes):
    """Is slow, hangs and ends as it is told; the first of its stops fails."""

    def __init__(self, life: list[str], gate: anyio.Event) -> None:
        super().__init__(life)
        self.gate = gate

    async def receive(self, message: str) -> None:
        match message:
            case "crash":
                raise ValueError(message)
            case "end":
                self.context.stop()
            case "slow":
                await self.gate.wait()
            case "hang":
                await anyio.sleep_forever()
            case _:
                await super().receive(message)

    async def on_stop(self) -> None:
        self.life.append("stops")
        if self.life.count("stops") == 1:
            raise ValueError("the first stop")


async def until_there(name: str) -> None:
    """Return in the turn of the event loop in which a task of this name was begun, or in the next."""
    while not any(task.get_name() == name for task in asyncio.all_tasks()):  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def works(life: list[str], gate: anyio.Event, **options: Any) -> tuple[ActorRef[str], ChildSpec[str]]:
    ref = ActorRef[str]("a")
    return ref, ChildSpec("a", lambda: Works(life, gate), ref, **options)


@pytest.mark.parametrize("later", range(8))
async def test_an_order_whose_turn_is_cancelled_by_others_is_obeyed_all_the_same(later: int) -> None:
    """Before its first step, in the stop, and in the start."""
    life = list[str]()

    class Slow(Writes):
        async def on_start(self) -> None:
            await turns(2)

        async def on_stop(self) -> None:
            await turns(2)

    ref = ActorRef[str]("a")
    spec = SupervisorSpec("root", [ChildSpec("a", lambda: Slow(life), ref)], backoff=AT_ONCE)
    with anyio.fail_after(20):
        async with running(spec) as root:
            [child] = root.children
            for _ in range(2):
                order = asyncio.create_task(root.restart(child))
                await until_there("root/a restarts")
                await turns(later)
                cancel_tasks("root/a restarts")
                await order
                assert child.status == "running"
            await ref.tell("serves")
            await until(lambda: life == ["serves"])


async def test_an_order_that_comes_while_another_is_begun_again_is_the_one_that_both_wait_for() -> None:
    starts, gate = list[int](), anyio.Event()

    class Starts(Writes):
        async def on_start(self) -> None:
            starts.append(1)
            if len(starts) == 2:
                await gate.wait()

    spec = SupervisorSpec("root", [ChildSpec("a", lambda: Starts([]), ActorRef[str]("a"))], backoff=AT_ONCE)
    with anyio.fail_after(20):
        async with running(spec) as root, asyncio.TaskGroup() as tasks:
            tasks.create_task(root.restart(root.children[0]))
            await until(lambda: len(starts) == 2)
            tasks.create_task(root.restart(root.children[0]))
            await asyncio.sleep(0)
            cancel_tasks("root/a restarts")
    assert len(starts) == 3


@pytest.mark.parametrize("message", ["slow", "hang"])
@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_a_stop_whose_turn_is_cancelled_by_others_is_finished_and_takes_nobody_along(
    message: str, restart: Restart
) -> None:
    """Also one that overruns, or fails; and nobody is left half stopped, nor taken for one who has ended by himself."""
    life, gate = list[str](), anyio.Event()
    options = {"shutdown_s": 0.05} if message == "hang" else {}
    ref, child = works(life, gate, restart=restart, significant=restart is Restart.TRANSIENT, **options)
    with anyio.fail_after(20):
        async with running(SupervisorSpec("root", [child], backoff=AT_ONCE, intensity=0)) as root:
            await ref.tell(message)
            await until(lambda: ref.cell.entities[None].in_hand is not None)
            order = asyncio.create_task(root.restart(root.children[0]))
            await until(lambda: root.children[0].status == "stopping")
            cancel_tasks("root/a restarts")
            await turns(3)
            gate.set()
            await order
            assert (root.children[0].status, root.children[0].generation) == ("running", 2)
            await ref.tell("serves")
            await until(lambda: "serves" in life)
            assert root.status == "running"


@pytest.mark.parametrize("message", ["end", "crash"])
async def test_an_end_whose_turn_is_cancelled_by_others_is_still_what_it_was(message: str) -> None:
    """One in good order is no crash, and a death notice names what the actor died of."""
    life, notices, gate = list[str](), list[Terminated](), anyio.Event()
    ref, child = works(life, gate, restart=Restart.TRANSIENT if message == "end" else Restart.TEMPORARY)
    life.append("stops")  # the first has been

    class Watches(Actor[Terminated]):
        async def on_start(self) -> None:
            self.context.watch(ref)

        async def receive(self, message: Terminated) -> None:
            notices.append(message)

    spec = SupervisorSpec("root", [child, ChildSpec("b", Watches, ActorRef[Terminated]("b"))], backoff=AT_ONCE)
    with anyio.fail_after(20):
        async with running(spec) as root:
            await ref.tell(message)
            await until_there("root/a restarts")
            cancel_tasks("root/a restarts")
            await until(lambda: bool(notices))
            assert root.children[0].generation == 1
    assert notices == [Terminated("root/a", None if message == "end" else "ValueError: crash")]


async def test_a_crash_counts_once_however_often_its_pause_is_cancelled_by_others() -> None:
    life, gate = list[str](), anyio.Event()
    ref, child = works(life, gate)
    pause = Backoff(first_s=0.05, longest_s=0.05, jitter=0.0)
    with anyio.fail_after(20):
        async with running(SupervisorSpec("root", [child], backoff=pause, intensity=2, period_s=3600.0)) as root:
            for crashes in (1, 2):
                await ref.tell("crash")
                for _ in range(3):
                    await until_there("root/a restarts")
                    await turns(5)
                    cancel_tasks("root/a restarts")
                    await turns(2)
                await ref.tell("serves")
                await until(lambda number=crashes: life.count("serves") == number)  # type: ignore[misc]
                assert root.intensity.recent(anyio.current_time()) == crashes
