"""Lanes: limits, time, cancellation, errors, and the orderly end."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
from structlog.testing import capture_logs

from tests.runtime.support import running, until
from tests.runtime.test_first_steps import cancel_tasks
from trendedge.runtime import ServiceSpec, Supervisor, SupervisorSpec
from trendedge.runtime.errors import (
    ForeignError,
    JobCancelled,
    LaneClosed,
    LaneFull,
    LaneTimeout,
    StrayCancellation,
    UnknownLane,
)
from trendedge.runtime.lane import Lane
from trendedge.runtime.lanes import Job, Lanes, LaneSpec, LanesService
from trendedge.runtime.simulation import Actors


def tree(lanes: Lanes, *, drain_s: float = 5.0) -> AbstractAsyncContextManager[Supervisor]:
    service = ServiceSpec("lanes", lambda: LanesService(lanes, drain_s=drain_s), shutdown_s=drain_s + 5)
    return running(SupervisorSpec("root", [service]))


@asynccontextmanager
async def one_lane(*, concurrency: int = 2, pending_limit: int = 2, timeout_s: float = 60.0) -> AsyncIterator[Lanes]:
    lanes = Lanes([LaneSpec("low", concurrency, pending_limit, timeout_s)])
    async with tree(lanes):
        yield lanes


class Gate:
    """Work that says when it has begun, and goes on when it is let."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.begun: list[str] = []
        self.most = self._now = 0

    async def __call__(self, name: str) -> str:
        self.begun.append(name)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self.open.wait()
        finally:
            self._now -= 1
        return f"{name} done"


def counts(lanes: Lanes) -> dict[str, Any]:
    [snapshot] = lanes.snapshot()
    return {name: snapshot[name] for name in ("active", "pending", "done", "failed", "timed_out", "cancelled")}


async def double(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * number


async def fail(text: str) -> None:
    raise ValueError(text)


async def fail_later(text: str) -> None:
    await anyio.lowlevel.checkpoint()
    raise ValueError(text)


async def test_a_job_gives_its_result_to_all_who_wait() -> None:
    async with one_lane() as lanes:
        job = await lanes.submit("low", double, 21)
        assert (await job, await job) == (42, 42)
        assert await lanes.run("low", double, 4) == 8
        assert counts(lanes) == {"active": 0, "pending": 0, "done": 2, "failed": 0, "timed_out": 0, "cancelled": 0}


async def test_no_more_run_at_once_than_the_lane_allows_and_they_begin_in_order() -> None:
    async with one_lane(concurrency=2, pending_limit=9) as lanes:
        gate = Gate()
        jobs = [await lanes.submit("low", gate, name) for name in "abcde"]
        await anyio.wait_all_tasks_blocked()
        assert gate.begun == ["a", "b"]
        assert counts(lanes) | {"active": 2, "pending": 3} == counts(lanes)
        gate.open.set()
        assert [await job for job in jobs] == [f"{name} done" for name in "abcde"]
        assert (gate.begun, gate.most) == (list("abcde"), 2)


async def test_a_full_lane_refuses_and_a_cancelled_job_makes_room_at_once() -> None:
    async with one_lane(concurrency=1, pending_limit=1) as lanes:
        gate = Gate()
        running_job, waiting = [await lanes.submit("low", gate, name) for name in "ab"]
        with pytest.raises(LaneFull, match=r"low is full \(1 jobs wait\)"):
            await lanes.submit("low", gate, "c")
        waiting.cancel()
        with pytest.raises(JobCancelled):
            await waiting
        last = await lanes.submit("low", gate, "d")
        gate.open.set()
        assert [await running_job, await last] == ["a done", "d done"]
        assert gate.begun == ["a", "d"]


async def test_jobs_that_were_cancelled_while_they_waited_leave_the_count_of_running_ones_right() -> None:
    async with one_lane(concurrency=2, pending_limit=10) as lanes:
        gate = Gate()
        jobs = [await lanes.submit("low", gate, str(number)) for number in range(8)]
        for job in jobs[2:6]:
            job.cancel()
        more = [await lanes.submit("low", gate, f"more {number}") for number in range(4)]
        await anyio.wait_all_tasks_blocked()
        assert gate.begun == ["0", "1"]
        gate.open.set()
        for job in [*jobs[:2], *jobs[6:], *more]:
            await job
        assert gate.most == 2
        assert counts(lanes) | {"active": 0, "pending": 0, "done": 8, "cancelled": 4} == counts(lanes)


async def test_a_job_that_was_cancelled_while_it_waited_leaves_nothing_behind() -> None:
    async with one_lane(concurrency=1, pending_limit=1) as lanes:
        gate = Gate()
        running_job = await lanes.submit("low", gate, "a")

        async def cancelled_one() -> weakref.ref[Job[str]]:
            job = await lanes.submit("low", gate, "b")
            job.cancel()
            return weakref.ref(job)

        cancelled = [await cancelled_one() for _ in range(100)]
        gc.collect()
        assert not [left for left in cancelled if left() is not None]
        gate.open.set()
        assert await running_job == "a done"


async def test_a_job_that_is_cancelled_before_its_first_step_gives_its_place_to_the_next() -> None:
    async with one_lane(concurrency=1, pending_limit=1) as lanes:
        gate = Gate()
        first, second = [await lanes.submit("low", gate, name) for name in "ab"]
        first.cancel()
        gate.open.set()
        assert await second == "b done"
        assert gate.begun == ["b"]


async def test_a_job_whose_task_is_cancelled_by_others_before_its_first_step_has_failed_and_its_lane_goes_on() -> None:
    async with one_lane(concurrency=1, pending_limit=1) as lanes:
        first, second = [await lanes.submit("low", double, number) for number in (1, 2)]
        cancel_tasks(f"lane low: {first.name}")
        with anyio.fail_after(20):
            with pytest.raises(StrayCancellation):
                await first
            assert await second == 4
        assert counts(lanes) == {"active": 0, "pending": 0, "done": 1, "failed": 1, "timed_out": 0, "cancelled": 0}


async def test_a_lane_without_waiting_room_takes_what_it_can_run() -> None:
    async with one_lane(concurrency=1, pending_limit=0) as lanes:
        gate = Gate()
        job = await lanes.submit("low", gate, "a")
        with pytest.raises(LaneFull):
            await lanes.submit("low", gate, "b")
        gate.open.set()
        await job
        assert await lanes.run("low", double, 1) == 2


async def test_a_job_that_takes_too_long_is_cancelled_and_frees_its_place() -> None:
    async with one_lane(concurrency=1) as lanes:
        gate = Gate()
        job = await lanes.submit("low", gate, "slow", timeout_s=0.01)
        with pytest.raises(LaneTimeout, match=r"low: Gate had not ended after 0\.01 s"):
            await job
        assert await lanes.run("low", double, 1) == 2
        assert counts(lanes) | {"timed_out": 1, "done": 1, "active": 0} == counts(lanes)


async def test_the_lanes_own_time_limit_holds_for_a_job_that_names_none() -> None:
    async with one_lane(concurrency=1, timeout_s=0.02) as lanes:
        gate = Gate()
        jobs = [await lanes.submit("low", gate, name) for name in "ab"]
        for job in jobs:
            with pytest.raises(LaneTimeout):
                await job
        assert gate.begun == ["a", "b"]


def test_the_time_limit_counts_from_the_start_of_a_job_and_its_wait_does_not_count(actors: Actors) -> None:
    async def three_in_a_row() -> list[str]:
        lane = Lane(LaneSpec("low", 1, 2, timeout_s=10.0))
        lane.open()
        jobs = [await lane.submit(name, lambda: anyio.sleep(6.0), None) for name in "abc"]
        for job in jobs:
            await job
        await lane.close()
        return [f"{job.name} waited {(job.started_at or 0.0) - job.submitted_at:g} s" for job in jobs]

    assert actors.run(three_in_a_row()) == ["a waited 0 s", "b waited 6 s", "c waited 12 s"]


def test_the_oldest_age_is_that_of_the_job_that_waits_longest(actors: Actors) -> None:
    async def oldest_age_s() -> object:
        lane = Lane(LaneSpec("low", 1, 2, timeout_s=60.0))
        lane.open()
        for _ in range(3):  # the first runs
            await lane.submit("sleep", lambda: anyio.sleep(30.0), None)
            await anyio.sleep(2.0)
        shown = lane.snapshot()["oldest_age_s"]
        await lane.close()
        return shown

    assert actors.run(oldest_age_s()) == 4.0


async def test_a_timeout_of_the_works_own_is_a_failure_and_no_timeout_of_the_lane() -> None:
    async def impatient() -> None:
        raise TimeoutError

    async with one_lane() as lanes:
        with pytest.raises(TimeoutError):
            await lanes.run("low", impatient)
        assert counts(lanes) | {"failed": 1, "timed_out": 0} == counts(lanes)


async def test_a_job_that_awaits_what_was_cancelled_elsewhere_has_failed_and_its_lane_goes_on() -> None:
    async def await_what_is_cancelled() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with one_lane(concurrency=1) as lanes:
        with pytest.raises(StrayCancellation):
            await lanes.run("low", await_what_is_cancelled)
        assert counts(lanes) | {"failed": 1, "cancelled": 0, "active": 0} == counts(lanes)
        assert await lanes.run("low", double, 1) == 2


async def test_a_job_that_cancels_its_own_task_has_failed_and_its_lane_goes_on() -> None:
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.lowlevel.checkpoint()

    async with one_lane(concurrency=1) as lanes:
        with pytest.raises(StrayCancellation):
            await lanes.run("low", cancel_itself)
        assert counts(lanes) | {"failed": 1, "cancelled": 0, "active": 0} == counts(lanes)
        assert await lanes.run("low", double, 1) == 2


class Panic(BaseException):
    """As an extension raises it: no `Exception`."""


async def panic() -> None:
    raise Panic("the defect")


async def test_a_job_that_panics_has_failed_and_its_lane_ends_in_good_order() -> None:
    lanes = Lanes([LaneSpec("low", 1, 2, 60)])
    async with tree(lanes) as root:
        with pytest.raises(ForeignError, match="Panic: the defect") as raised:
            await lanes.run("low", panic)
        assert isinstance(raised.value.__cause__, Panic)
        assert counts(lanes) | {"failed": 1, "cancelled": 0, "active": 0} == counts(lanes)
        assert await lanes.run("low", double, 1) == 2
    assert root.children[0].status == "stopped"


async def test_a_job_that_panics_while_the_lane_is_closed_does_not_disturb_the_stop() -> None:
    async def panic_at_the_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await panic()

    lanes = Lanes([LaneSpec("low", 1, 2, 60)])
    async with tree(lanes, drain_s=0) as root:
        job = await lanes.submit("low", panic_at_the_end)
        await anyio.wait_all_tasks_blocked()
    assert root.children[0].status == "stopped"
    with pytest.raises(ForeignError):
        await job


async def test_a_panic_that_nobody_waits_for_is_logged() -> None:
    async with one_lane() as lanes:
        with capture_logs() as lines:
            await lanes.submit("low", panic)
            await until(lambda: bool(lines))
        assert [(line["event"], type(line["exc_info"])) for line in lines] == [("job failed", ForeignError)]


async def test_work_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed: list[str] = []

    async def stubborn() -> None:
        for attempt in ("first", "second"):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                swallowed.append(attempt)
        await anyio.sleep_forever()

    async with one_lane(concurrency=1) as lanes:
        job = await lanes.submit("low", stubborn)
        await anyio.wait_all_tasks_blocked()
        job.cancel()
        with pytest.raises(JobCancelled):
            await job
        assert swallowed == ["first", "second"]
        assert await lanes.run("low", double, 1) == 2


async def test_an_error_goes_to_whoever_waits_and_is_not_logged_besides() -> None:
    async with one_lane() as lanes:
        with capture_logs() as lines:
            for work in (fail, fail_later):
                with pytest.raises(ValueError, match="broken"):
                    await lanes.run("low", work, "broken")
            await anyio.wait_all_tasks_blocked()
        assert lines == []
        assert counts(lanes)["failed"] == 2


async def test_an_error_that_nobody_waits_for_is_logged_and_still_there_for_who_comes_later() -> None:
    async with one_lane() as lanes:
        with capture_logs() as lines:
            job = await lanes.submit("low", fail, "broken")
            await until(lambda: bool(lines))
        [line] = lines
        assert (line["event"], line["log_level"], line["lane"], line["job"]) == ("job failed", "error", "low", "fail")
        assert str(line["exc_info"]) == "broken"
        with pytest.raises(ValueError, match="broken"):
            await job


async def test_a_time_out_that_nobody_waits_for_is_logged() -> None:
    async with one_lane() as lanes:
        with capture_logs() as lines:
            job = await lanes.submit("low", anyio.sleep_forever, timeout_s=0.0)
            await job.wait_ended()
            await until(lambda: bool(lines))
        assert [type(line["exc_info"]) for line in lines] == [LaneTimeout]


async def test_who_gives_up_waiting_does_not_stop_the_job_and_its_error_is_logged_then() -> None:
    async with one_lane() as lanes:
        gate = Gate()

        async def fail_after_the_gate() -> None:
            await gate("a")
            raise ValueError("broken")

        with capture_logs() as lines:
            job = await lanes.submit("low", fail_after_the_gate)
            with anyio.move_on_after(0):
                await job
            assert not job.ended
            gate.open.set()
            await job.wait_ended()
            await until(lambda: bool(lines))
        assert [line["event"] for line in lines] == ["job failed"]


async def test_who_is_cancelled_in_run_takes_the_job_along() -> None:
    async with one_lane() as lanes:
        gate = Gate()
        with anyio.move_on_after(0.01):
            await lanes.run("low", gate, "a")
        await anyio.wait_all_tasks_blocked()
        assert counts(lanes) | {"active": 0, "cancelled": 1} == counts(lanes)


async def test_a_job_has_the_log_context_of_whoever_submitted_it_also_when_it_had_to_wait() -> None:
    seen: list[dict[str, Any]] = []

    async def look() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    async with one_lane(concurrency=1) as lanes:
        gate = Gate()
        with structlog.contextvars.bound_contextvars(signal_id="first", account_id="a"):
            await lanes.submit("low", gate, "a")
        with structlog.contextvars.bound_contextvars(signal_id="second"):
            job = await lanes.submit("low", look)
        gate.open.set()
        await job
    assert seen == [{"signal_id": "second"}]


async def test_at_a_stop_what_is_under_way_and_what_waits_is_done_and_nothing_new_is_taken() -> None:
    lanes = Lanes([LaneSpec("low", 1, 2, 60)])
    gate, jobs = Gate(), list[Job[str]]()
    async with tree(lanes) as root:
        jobs += [await lanes.submit("low", gate, name) for name in "ab"]
        await anyio.wait_all_tasks_blocked()
        root.request_stop()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LaneClosed):
            await lanes.submit("low", gate, "c")
        gate.open.set()
    assert [await job for job in jobs] == ["a done", "b done"]


async def test_what_is_not_done_in_time_at_a_stop_is_cancelled_and_says_so() -> None:
    lanes = Lanes([LaneSpec("low", 1, 2, 60)])
    gate, jobs = Gate(), list[Job[str]]()
    with capture_logs() as lines:
        async with tree(lanes, drain_s=0):
            jobs += [await lanes.submit("low", gate, name) for name in "ab"]
            await anyio.wait_all_tasks_blocked()
    for job in jobs:
        with pytest.raises(LaneClosed):
            await job
    assert gate.begun == ["a"]
    assert [line["event"] for line in lines] == ["job failed", "job failed"]
    assert counts(lanes) | {"active": 0, "pending": 0, "cancelled": 2} == counts(lanes)


def shielded(gate: Gate) -> Callable[[], Awaitable[str]]:
    """Work that must not be cut in two, as a commit."""

    async def commit() -> str:
        with anyio.CancelScope(shield=True):
            await gate("commit")
        return "committed"

    return commit


async def test_what_a_job_shields_is_done_at_a_stop_as_after_its_time_and_when_it_is_cancelled() -> None:
    lanes = Lanes([LaneSpec("low", 3, 2, 60)])
    gate, jobs = Gate(), list[Job[str]]()
    async with tree(lanes, drain_s=0) as root:
        jobs += [await lanes.submit("low", shielded(gate), timeout_s=timeout_s) for timeout_s in (0.0, 60.0, 60.0)]
        await anyio.wait_all_tasks_blocked()
        jobs[1].cancel()
        root.request_stop()
        await anyio.wait_all_tasks_blocked()
        gate.open.set()
    assert [await job for job in jobs] == ["committed"] * 3


async def test_a_shield_holds_off_a_stop_no_longer_than_the_lanes_may_take() -> None:
    lanes, gate = Lanes([LaneSpec("low", 1, 2, 60)]), Gate()
    service = ServiceSpec("lanes", lambda: LanesService(lanes, drain_s=0), shutdown_s=0.05)
    with capture_logs() as lines:
        async with running(SupervisorSpec("root", [service])):
            job = await lanes.submit("low", shielded(gate))
            await anyio.wait_all_tasks_blocked()
    with pytest.raises(LaneClosed):
        await job
    assert [line["event"] for line in lines] == ["child overran its shutdown", "job failed"]


async def test_lanes_that_are_not_running_take_nothing_and_a_second_incarnation_goes_on() -> None:
    lanes = Lanes([LaneSpec("low", 1, 2, 60)])
    with pytest.raises(LaneClosed):
        await lanes.submit("low", double, 1)
    for number in (1, 2):
        async with tree(lanes):
            assert await lanes.run("low", double, number) == 2 * number
    assert counts(lanes)["done"] == 2


def test_two_lanes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two lanes have the same name"):
        Lanes([LaneSpec("low", 4, 100, 10), LaneSpec("high", 1, 0, 1), LaneSpec("low", 1, 0, 1)])


async def test_a_lane_that_is_not_declared_is_named() -> None:
    async with one_lane() as lanes:
        with pytest.raises(UnknownLane, match="no lane 'lwo', only low"):
            await lanes.submit("lwo", double, 1)


async def test_the_snapshot_shows_each_lane() -> None:
    lanes = Lanes([LaneSpec("high", 1, 5, 10), LaneSpec("low", 2, 5, 60)])
    async with tree(lanes):
        gate = Gate()
        jobs = [await lanes.submit("high", gate, name) for name in "ab"]
        await anyio.wait_all_tasks_blocked()
        high, low = lanes.snapshot()
        assert (high["name"], high["concurrency"], high["pending_limit"], high["timeout_s"]) == ("high", 1, 5, 10)
        assert (high["active"], high["pending"]) == (1, 1)
        assert high["oldest_age_s"] >= 0
        assert [one["job"] for one in high["running"]] == ["Gate"]
        assert high["run_ms"] == {"p50": None, "p95": None, "p99": None}
        assert (low["name"], low["active"], low["running"], low["oldest_age_s"]) == ("low", 0, [], 0.0)
        gate.open.set()
        for job in jobs:
            await job
        assert lanes.snapshot()[0]["run_ms"]["p50"] is not None
