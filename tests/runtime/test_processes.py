"""CPU work in lanes: beside the event loop, killed when nobody wants it, and the next job finds a new process."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.runtime import computing
from tests.runtime.support import running, until
from trendedge.runtime import ServiceSpec, SupervisorSpec
from trendedge.runtime.errors import FailedElsewhere, JobCancelled, LaneClosed, LaneTimeout, WorkerDied
from trendedge.runtime.lanes import Lanes, LaneSpec, LanesService, cpu
from trendedge.runtime.processes import ProcessPool


@asynccontextmanager
async def low_lane(*, processes: int = 1) -> AsyncIterator[Lanes]:
    lanes = Lanes([LaneSpec("low", 2, 4, 60)], processes=processes)
    service = ServiceSpec("lanes", lambda: LanesService(lanes, drain_s=0), shutdown_s=10)
    async with running(SupervisorSpec("root", [service])):
        yield lanes


async def pid_in(started: Path) -> int:
    await until(lambda: started.exists() and started.read_text() != "")
    return int(await anyio.Path(started).read_text())


def is_gone(pid: int) -> bool:
    """Ended and reaped: a zombie would still be there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_function_runs_in_a_process_that_is_kept_for_the_next_and_yields_to_the_event_loop() -> None:
    async with low_lane() as lanes:
        assert await lanes.run("low", cpu(computing.square), 12) == 144
        first = await lanes.run("low", cpu(computing.where))
        assert first != os.getpid()
        assert await lanes.run("low", cpu(computing.where)) == first
        assert await lanes.run("low", cpu(computing.niceness)) > os.nice(0)
    await until(lambda: is_gone(first))


async def test_a_process_inherits_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        os.set_inheritable(listening.fileno(), True)
        async with low_lane() as lanes:
            assert not await lanes.run("low", cpu(computing.inherited), os.fstat(listening.fileno()).st_ino)


async def test_an_error_comes_back_with_the_traceback_of_the_process() -> None:
    async with low_lane() as lanes:
        with pytest.raises(ZeroDivisionError) as caught:
            await lanes.run("low", cpu(computing.divide), 0)
        assert "computing.py" in caught.value.__notes__[0]
        with pytest.raises(FailedElsewhere, match="TwoPartError: 7: seven") as stand_in:
            await lanes.run("low", cpu(computing.raise_two_parts))
        assert "raise_two_parts" in stand_in.value.__notes__[0]
        with pytest.raises(FailedElsewhere, match="SystemExit: 3"):
            await lanes.run("low", cpu(computing.leave))
        with pytest.raises(TypeError, match="pickle"):
            await lanes.run("low", cpu(computing.unpicklable))
        assert await lanes.run("low", cpu(computing.square), 3) == 9


async def test_ctrl_c_ends_no_process_by_itself() -> None:
    async with low_lane() as lanes:
        assert await lanes.run("low", cpu(computing.interrupt_self)) == "still here"


async def test_what_cannot_be_pickled_is_refused_and_costs_no_process() -> None:
    async with low_lane() as lanes:
        before = await lanes.run("low", cpu(computing.where))
        with pytest.raises((AttributeError, TypeError), match=r"[Cc]an't|cannot"):
            await lanes.run("low", cpu(lambda: 1))
        assert await lanes.run("low", cpu(computing.where)) == before


async def test_a_process_that_dies_is_an_error_with_its_exit_code_and_the_next_job_gets_a_new_one() -> None:
    async with low_lane() as lanes:
        before = await lanes.run("low", cpu(computing.where))
        with pytest.raises(WorkerDied, match=r"die died \(exit code -9\)"):
            await lanes.run("low", cpu(computing.die))
        assert await lanes.run("low", cpu(computing.where)) != before
        assert is_gone(before)


async def test_a_process_that_died_while_it_was_idle_is_replaced_without_anybody_noticing() -> None:
    pool = ProcessPool(1)
    before = await pool.run(computing.where)
    os.kill(before, 9)
    await until(lambda: _zombie_or_gone(before))
    assert await pool.run(computing.where) != before
    pool.close()


async def test_a_function_that_takes_too_long_is_killed_with_its_process_and_its_place_is_free(tmp_path: Path) -> None:
    async with low_lane() as lanes:
        await lanes.run("low", cpu(computing.square), 3)  # its process is there: starting one takes seconds under load
        with pytest.raises(LaneTimeout, match="spin"):
            await lanes.run("low", cpu(computing.spin), tmp_path / "started", timeout_s=2.0)
        pid = await pid_in(tmp_path / "started")
        await until(lambda: is_gone(pid))
        assert await lanes.run("low", cpu(computing.square), 3) == 9
        [lane] = lanes.snapshot()
        assert (lane["active"], lane["timed_out"]) == (0, 1)


async def test_a_function_that_is_cancelled_is_killed_and_others_in_their_processes_are_not(tmp_path: Path) -> None:
    async with low_lane(processes=2) as lanes:
        unwanted, wanted = [await lanes.submit("low", cpu(computing.spin), tmp_path / name) for name in "ab"]
        pids = [await pid_in(tmp_path / name) for name in "ab"]
        unwanted.cancel()
        with pytest.raises(JobCancelled):
            await unwanted
        await until(lambda: is_gone(pids[0]))
        assert not is_gone(pids[1])
        assert not wanted.ended
    with pytest.raises(LaneClosed):
        await wanted
    await until(lambda: is_gone(pids[1]))


async def test_processes_are_started_when_needed_and_ended_when_idle() -> None:
    pool = ProcessPool(2, idle_s=0.0)
    assert pool.pids == []
    pid = await pool.run(computing.where)
    await until(lambda: pool.pids == [])
    await until(lambda: is_gone(pid))


async def test_there_are_never_more_processes_than_the_pool_may_have() -> None:
    pool = ProcessPool(1)
    pids: set[int] = set()

    async def note() -> None:
        pids.add(await pool.run(computing.where))
        assert len(pool.pids) == 1

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(note)
    assert len(pids) == 1
    pool.close()
    assert pool.pids == []


def _zombie_or_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
