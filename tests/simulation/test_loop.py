"""The loop: one seed, one run; and nothing reaches outside."""

import asyncio
import gc
import multiprocessing
import multiprocessing.util
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.to_thread
import pytest

from trendedge.runtime import Actor, ActorRef, ChildSpec, Restart, SupervisorSpec, running
from trendedge.runtime.simulation import Deadlocked, Livelocked, NotSimulated, SimulatedLoop, simulate

type Main = Callable[[SimulatedLoop], Coroutine[Any, Any, Any]]


async def race(_: SimulatedLoop) -> list[int]:
    """Twelve tasks that are ready at once, some of which are cancelled together."""
    order: list[int] = []

    async def runner(number: int) -> None:
        try:
            await anyio.sleep(number % 3)
            order.append(number)
            await anyio.sleep(100)
        finally:
            order.append(-number)

    with anyio.move_on_after(50):
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(runner, number)
    return order


def test_a_seed_decides_the_order_and_another_seed_another() -> None:
    assert simulate(race, seed=7) == simulate(race, seed=7)
    assert len({tuple(simulate(race, seed=seed).result) for seed in range(20)}) > 15


def test_the_digest_is_the_same_whatever_the_hash_seed() -> None:
    code = (
        "from tests.simulation.test_loop import race\n"
        "from trendedge.runtime.simulation import simulate\n"
        "print([simulate(race, seed=seed).digest for seed in range(50)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_year_passes_in_no_time() -> None:
    async def main(loop: SimulatedLoop) -> float:
        await anyio.sleep(365 * 24 * 3600)
        return loop.time()

    run = simulate(main)
    assert (run.result, run.seconds) == (365 * 24 * 3600, 365 * 24 * 3600)
    assert run.steps < 10


def test_callbacks_keep_their_order_as_asyncio_promises() -> None:
    async def main(loop: SimulatedLoop) -> list[int]:
        seen: list[int] = []
        for number in range(30):
            loop.call_soon(seen.append, number)
        await anyio.sleep(1)
        return seen

    assert all(simulate(main, seed=seed).result == list(range(30)) for seed in range(20))


def test_time_outs_gather_queues_and_locks_of_asyncio_work() -> None:
    async def main(_: SimulatedLoop) -> list[Any]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock = asyncio.Lock()

        async def put(number: int) -> int:
            async with lock:
                await queue.put(number)
            return number

        async def take() -> list[int]:
            return sorted([await queue.get() for _ in range(3)])

        taken, *put_ones = await asyncio.gather(take(), put(1), put(2), put(3))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        return [taken, put_ones]

    assert all(simulate(main, seed=seed).result == [[1, 2, 3], [1, 2, 3]] for seed in range(10))


def test_waiting_for_what_never_comes_is_said_at_once() -> None:
    async def main(_: SimulatedLoop) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.Event().wait, name="the waiter")
            await anyio.sleep(3)

    with pytest.raises(Deadlocked, match=r"nothing will ever happen after 3\.000000 s; waiting: .*the waiter"):
        simulate(main)


def test_a_sleep_for_ever_does_not_end() -> None:
    async def main(_: SimulatedLoop) -> None:
        await anyio.sleep_forever()

    with pytest.raises(Deadlocked, match="nothing will ever happen after 0"):
        simulate(main)


def test_an_endless_run_is_ended() -> None:
    async def main(_: SimulatedLoop) -> None:
        while True:  # noqa: ASYNC110 - endless on purpose
            await asyncio.sleep(0)

    with pytest.raises(Livelocked, match="no end after 1001 steps"):
        simulate(main, most_steps=1000)


async def thread(_: SimulatedLoop) -> None:
    await anyio.to_thread.run_sync(lambda: None)


async def bare_thread(_: SimulatedLoop) -> None:
    threading.Thread(target=lambda: None).start()


async def executor(loop: SimulatedLoop) -> None:
    await loop.run_in_executor(None, lambda: None)


async def connection(_: SimulatedLoop) -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def bare_socket(_: SimulatedLoop) -> None:
    socket.socket()


async def process(_: SimulatedLoop) -> None:
    await anyio.run_process(["true"])


async def bare_process(_: SimulatedLoop) -> None:
    subprocess.run(["true"], check=False)  # noqa: ASYNC221 - that is what must not be


async def real_time(_: SimulatedLoop) -> None:
    time.sleep(0.001)  # noqa: ASYNC251 - that is what must not be


async def signals(loop: SimulatedLoop) -> None:
    loop.add_signal_handler(15, lambda: None)


async def bare_signal(_: SimulatedLoop) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


async def alarm(_: SimulatedLoop) -> None:
    signal.alarm(0)


async def kill(_: SimulatedLoop) -> None:
    os.kill(os.getpid(), 0)


async def look_up(_: SimulatedLoop) -> None:
    socket.gethostbyname("localhost")


async def look_up_address(_: SimulatedLoop) -> None:
    socket.gethostbyaddr("127.0.0.1")


async def look_up_name(_: SimulatedLoop) -> None:
    socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)


async def spawned_process(_: SimulatedLoop) -> None:
    multiprocessing.util.spawnv_passfds(b"/bin/true", [b"true"], [])


async def forked_process(_: SimulatedLoop) -> None:
    multiprocessing.get_context("fork").Process(target=int).start()


OUTSIDE = [
    *(thread, bare_thread, executor, connection, bare_socket, process, bare_process, real_time, signals, bare_signal),
    *(alarm, kill, look_up, look_up_address, look_up_name, spawned_process, forked_process),
]


@pytest.mark.parametrize(
    "main",
    OUTSIDE,
    ids=lambda main: main.__name__,
)
def test_touching_the_world_outside_raises(main: Main) -> None:
    with pytest.raises(NotSimulated):
        simulate(main)


def test_only_looking_at_the_world_outside_does_not_raise() -> None:
    async def main(_: SimulatedLoop) -> list[object]:
        return [time.time(), time.monotonic(), datetime.now(UTC), uuid.uuid4()]

    assert None not in simulate(main).result
    assert all(name in (NotSimulated.__doc__ or "") for name in ("time()", "monotonic()", "now()", "uuid4()"))


def test_what_is_not_noticed_is_said() -> None:
    async def main(_: SimulatedLoop) -> list[object]:
        with pytest.raises(queue.Empty):
            queue.Queue[None]().get(timeout=0.001)
        return [threading.Event().wait(timeout=0.001), select.select([], [], [], 0.001)]

    assert simulate(main).result == [False, ([], [], [])]
    assert all(name in (NotSimulated.__doc__ or "") for name in ("`threading`", "`queue.Queue.get(", "`select`"))


def test_the_world_is_open_again_after_a_run() -> None:
    simulate(race)
    socket.socket().close()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def test_a_killed_process_runs_no_finally_and_leaves_the_others_alone() -> None:
    async def main(loop: SimulatedLoop) -> list[str]:
        seen: list[str] = []

        async def work(name: str) -> None:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.sleep, 100)
                    loop.call_later(5, seen.append, f"{name} timer")
                    await anyio.sleep(10)
                    seen.append(f"{name} lives")
                    tasks.cancel_scope.cancel()
            finally:
                seen.append(f"{name} finally")

        doomed, other = loop.process("doomed"), loop.process("other")
        doomed.start(lambda: work("doomed"), name="main")
        other.start(lambda: work("other"), name="main")
        await anyio.sleep(1)
        doomed.kill()
        await anyio.sleep(20)
        return list(seen)

    for seed in range(10):
        assert simulate(main, seed=seed).result == ["other timer", "other lives", "other finally"]


def test_a_process_can_be_killed_at_every_one_of_its_steps() -> None:
    async def main(loop: SimulatedLoop, step: int) -> tuple[int, bool]:
        done: list[int] = []

        async def work() -> None:
            for number in range(5):
                await anyio.sleep(1)
                done.append(number)

        one = loop.process("one")
        one.kill_in(step)
        one.start(work, name="main")
        await anyio.sleep(10)
        return len(done), one.alive

    reached = [simulate(lambda loop, at=step: main(loop, at)).result for step in range(1, 15)]  # type: ignore[misc]
    assert reached[0] == (0, False)
    assert reached[-1] == (5, True)
    assert {done for done, alive in reached if not alive} == {0, 1, 2, 3, 4}


@pytest.mark.filterwarnings("error")
def test_nothing_is_left_to_complain_about_after_a_run_that_was_full_of_dead_tasks() -> None:
    async def stubborn() -> None:
        try:
            await anyio.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

    async def main(loop: SimulatedLoop) -> None:
        doomed = loop.process("doomed")
        for _ in range(5):
            doomed.start(stubborn, name="stubborn")
        await anyio.sleep(1)
        doomed.kill()

    simulate(main)
    gc.collect()


@pytest.mark.parametrize("what", ["piped work", "starts"])
def test_one_seed_is_one_run_whatever_lies_in_memory_before(what: str) -> None:
    """The order in which many are cancelled at once is theirs, and not that of their addresses."""

    async def ends(name: str, ended: list[str]) -> None:
        try:
            await asyncio.gather(anyio.sleep(100), anyio.sleep(100))
        finally:
            ended.append(name)

    class Pipes(Actor[list[str]]):
        async def receive(self, ended: list[str]) -> None:
            for number in range(6):
                self.context.pipe_to_self(ends(f"pipe {number}", ended), str)
            await anyio.sleep(1)
            self.context.stop()

    class Hangs(Actor[str]):
        def __init__(self, name: str, ended: list[str]) -> None:
            self.name, self.ended = name, ended

        async def on_start(self) -> None:
            await ends(self.name, self.ended)

    async def main(loop: SimulatedLoop) -> list[str]:
        ended, ref = list[str](), ActorRef[list[str]]("pipes")
        starts = list[asyncio.Task[None]]()
        child = ChildSpec("pipes", Pipes, ref, restart=Restart.TEMPORARY)
        async with running(SupervisorSpec("root", [child])) as root:
            for number in range(6 if what == "starts" else 0):
                name = f"start {number}"
                spec = ChildSpec(name, lambda name=name: Hangs(name, ended), ActorRef[str](name))  # type: ignore[misc]
                starts.append(asyncio.create_task(root.start_child(spec)))
            if what == "piped work":
                await ref.tell(ended)
            await anyio.sleep(3)
        await asyncio.gather(*starts, return_exceptions=True)
        assert len(ended) == 6
        return ended

    def with_rubbish(amount: int) -> tuple[str, list[str]]:
        rubbish = [bytearray(16 + 7 * number % 700) for number in range(amount)]
        del rubbish[::2]
        run = simulate(main, seed=3)
        return run.digest, run.result

    runs = [with_rubbish(amount) for amount in (0, 10, 1000, 5000, 333, 77, 5, 6, 7, 8)]
    assert all(run == runs[0] for run in runs)
