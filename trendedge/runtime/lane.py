"""One lane: so many jobs at once, so many that wait, and so long for each."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import anyio
import structlog
from aiojobs import Scheduler

from trendedge.runtime.bounds import at_least, more_than_nothing
from trendedge.runtime.errors import ForeignError, JobCancelled, LaneClosed, LaneFull, LaneTimeout, StrayCancellation
from trendedge.runtime.stats import SAMPLES, percentiles_ms
from trendedge.runtime.voice import log


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """A lane as data.

    :raises ValueError: no job could ever run, or less than none wait
    """

    name: str
    concurrency: int
    """Jobs that run at once."""
    pending_limit: int
    """Jobs that may wait; one more is refused with `LaneFull`. With 0, what finds no free slot is refused."""
    timeout_s: float
    """Seconds that a job may run, not counting its wait, unless it is submitted with a time of its own."""

    def __post_init__(self) -> None:
        at_least(1, concurrency=self.concurrency)
        at_least(0, pending_limit=self.pending_limit)
        more_than_nothing(timeout_s=self.timeout_s)


class Outcome(Enum):
    """How a job has ended."""

    DONE = "done"
    FAILED = "failed"
    """It raised."""
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    """By whoever holds it, or because the lane was closed."""


class Job[T]:
    """Work handed to a lane. Awaiting it gives its result.

    Whoever is cancelled while waiting stops waiting, not the job; `cancel` stops the job. What the job raised goes to
    all who wait for it; when nobody does, it is logged.

    :raises LaneTimeout: it ran for too long
    :raises JobCancelled: `cancel` was called
    :raises LaneClosed: the lane was closed before it had ended
    :raises StrayCancellation: it awaited what was cancelled elsewhere
    :raises Exception: what the work itself raised
    """

    def __init__(self, lane: "Lane", name: str, work: Callable[[], Awaitable[T]], timeout_s: float) -> None:
        self.name = name
        self.work: Callable[[], Awaitable[T]] | None = work
        """None once it has ended."""
        self.timeout_s = timeout_s
        self.submitted_at: float = anyio.current_time()
        self.started_at: float | None = None
        """Event loop time, seconds; None while it waits."""
        self._lane = lane
        self._log_context = structlog.contextvars.get_contextvars()
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._value: T | None = None
        self._error: Exception | None = None
        self._waiting = 0
        self._heard = False
        self._stopped: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether there is a result or an error."""
        return self._ended.is_set()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._result().__await__()

    def cancel(self) -> None:
        """Stop the job. One that waits will not run; one that runs is cancelled at its next `await`, again and again.

        A function in a worker process is killed with its process. Does nothing once the job has ended.
        """
        if not self.ended:
            self.stop(JobCancelled(self._lane.spec.name, self.name))

    async def _result(self) -> T:
        self._waiting += 1
        try:
            await self._ended.wait()
        finally:
            self._waiting -= 1
        self._heard = True
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # without an error it is a T

    async def wait_ended(self) -> None:
        """Wait until it has ended, however that may be."""
        await self._ended.wait()

    # -- what the lane does with it -----------------------------------------------------------------------------

    def stop(self, because: Exception) -> None:
        """Cancel the work: it ends with `because`, unless it manages to end otherwise."""
        self._stopped = self._stopped or because
        if self.started_at is None:
            self.end(Outcome.CANCELLED, self._stopped)
        else:
            self._scope.cancel()

    async def run(self, work: Callable[[], Awaitable[T]]) -> None:
        """Do the work within its time, and end with what comes of it."""
        structlog.contextvars.clear_contextvars()  # a task that had to wait was started from somebody else's context
        structlog.contextvars.bind_contextvars(**self._log_context)
        self.started_at = anyio.current_time()
        self._scope.deadline = self.started_at + self.timeout_s
        try:
            with self._scope:
                try:
                    self._value = await work()
                except Exception:
                    raise
                except BaseException as error:
                    raise self._failure(error) from error
        except Exception as error:
            self.end(Outcome.FAILED, error)
        except BaseException:
            self.end(Outcome.CANCELLED, self._stopped or LaneClosed(self._lane.spec.name, self.name))
            raise
        else:
            if not self._scope.cancelled_caught:
                self.end(Outcome.DONE, None)
            elif self._stopped is not None:
                self.end(Outcome.CANCELLED, self._stopped)
            else:
                self.end(Outcome.TIMED_OUT, LaneTimeout(self._lane.spec.name, self.name, self.timeout_s))

    def _failure(self, error: BaseException) -> Exception:
        """What the work has failed of, when it ended with what is no `Exception`; a cancellation is over with it.

        :raises BaseException: `error` itself: the job is cancelled, or that is meant for the whole process
        """
        match error:
            case asyncio.CancelledError() if not self._scope.cancel_called:  # by it the lane cancels, too
                task = asyncio.current_task()
                while task is not None and task.cancelling():
                    task.uncancel()
                return StrayCancellation()
            case asyncio.CancelledError() | KeyboardInterrupt() | SystemExit() | GeneratorExit():
                raise error
            case _:
                return ForeignError(error)

    def end(self, outcome: Outcome, error: Exception | None) -> None:
        """Tell who waits."""
        self._error, self.work = error, None
        self._ended.set()
        self._lane.count(self, outcome)
        if error is not None and not isinstance(self._stopped, JobCancelled):
            # In a moment: somebody may be about to wait for a job that has failed in its first step.
            asyncio.get_running_loop().call_soon(self._log_unheard)

    def _log_unheard(self) -> None:
        if not self._heard and not self._waiting:
            log.error("job failed", lane=self._lane.spec.name, job=self.name, exc_info=self._error)


class Lane:
    """Runs the jobs of one `LaneSpec`. `open` and `close` may alternate; counters go on."""

    def __init__(self, spec: LaneSpec) -> None:
        self.spec = spec
        self._scheduler: Scheduler | None = None
        self._accepting = False
        self._jobs: dict[Job[Any], None] = {}
        """All that have not ended, the oldest first."""
        self._waiting: OrderedDict[Job[Any], None] = OrderedDict()
        """Those of them that have not been started."""
        self._ended = dict.fromkeys(Outcome, 0)
        self._durations_s: deque[float] = deque(maxlen=SAMPLES)
        self._next: asyncio.Task[None] | None = None
        """Starts what waits in the place of a job that never ran."""

    def open(self) -> None:
        """Take jobs."""
        # The lane does the counting, and hands over what is to start now: the library keeps what is cancelled in its
        # queue until its turn comes, and makes `spawn` wait when that is full.
        self._scheduler = Scheduler(limit=None, close_timeout=None)
        self._accepting = True

    async def submit[T](self, name: str, work: Callable[[], Awaitable[T]], timeout_s: float | None) -> Job[T]:
        """Take one job; never waits.

        :raises LaneFull: as many wait as may
        :raises LaneClosed: the lane is not open
        """
        if self._scheduler is None or not self._accepting:
            raise LaneClosed(self.spec.name, name)
        if len(self._jobs) >= self.spec.concurrency + self.spec.pending_limit:
            raise LaneFull(self.spec.name, self.spec.pending_limit)
        job = Job(self, name, work, self.spec.timeout_s if timeout_s is None else timeout_s)
        self._jobs[job] = self._waiting[job] = None
        await self._start_waiting()
        return job

    def count(self, job: Job[Any], outcome: Outcome) -> None:
        """Note that a job has ended."""
        del self._jobs[job]
        self._waiting.pop(job, None)
        self._ended[outcome] += 1
        if job.started_at is not None:
            self._durations_s.append(anyio.current_time() - job.started_at)

    async def drain(self) -> None:
        """Take no more jobs, and wait until those that there are have ended."""
        self._accepting = False
        for job in list(self._jobs):
            await job.wait_ended()

    async def end(self) -> None:
        """Take no more jobs, and end those that there are by cancellation; what they shield is done. Returns then."""
        self._accepting = False
        for job in self._stop_jobs():
            await job.wait_ended()

    async def close(self) -> None:
        """As `end`, at once: no shield holds it off, since the library knows none."""
        self._accepting = False
        scheduler, self._scheduler = self._scheduler, None
        self._stop_jobs()
        if scheduler is not None:
            await scheduler.close()

    def _stop_jobs(self) -> list[Job[Any]]:
        jobs = list(reversed(self._jobs))  # those that wait first, lest the end of one start the next
        for job in jobs:
            job.stop(LaneClosed(self.spec.name, job.name))
        return jobs

    def snapshot(self) -> dict[str, Any]:
        """The lane as an operator sees it; ages in seconds, `run_ms` over the last 512 jobs."""
        now = anyio.current_time()
        running = [job for job in self._jobs if job.started_at is not None]
        waiting = [job for job in self._jobs if job.started_at is None]
        return {
            "name": self.spec.name,
            "concurrency": self.spec.concurrency,
            "active": len(running),
            "pending": len(waiting),
            "pending_limit": self.spec.pending_limit,
            "timeout_s": self.spec.timeout_s,
            **{outcome.value: count for outcome, count in self._ended.items()},
            "oldest_age_s": round(now - waiting[0].submitted_at, 3) if waiting else 0.0,
            "run_ms": percentiles_ms(self._durations_s),
            "running": [{"job": job.name, "elapsed_s": round(now - (job.started_at or now), 3)} for job in running],
        }

    async def _start_waiting(self) -> None:
        """Start what waits, the oldest first, as far as the lane allows. Without a limit `spawn` suspends nobody."""
        while self._waiting and self._scheduler is not None:
            if len(self._jobs) - len(self._waiting) >= self.spec.concurrency:
                return
            job, _ = self._waiting.popitem(last=False)
            started = await self._scheduler.spawn(self._run(job), name=f"lane {self.spec.name}: {job.name}")
            if started._task is not None:  # the library gives nobody else a look at it
                started._task.add_done_callback(partial(self._unless_it_ran, job))

    def _unless_it_ran(self, job: Job[Any], _: asyncio.Task[None]) -> None:
        """End a job whose task somebody else has cancelled before its first step."""
        if not job.ended:
            job.end(Outcome.FAILED, StrayCancellation())
            self._next = asyncio.get_running_loop().create_task(self._start_waiting())

    async def _run(self, job: Job[Any]) -> None:
        try:
            if job.work is not None:  # it may have been cancelled since it was started
                await job.run(job.work)
        except GeneratorExit:  # the loop is gone
            raise
        except BaseException:
            await self._start_waiting()
            raise
        await self._start_waiting()
