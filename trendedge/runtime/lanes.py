"""Lanes: where an actor hands off work that would block its mailbox, each with limits of its own.

An actor gets the result as a message: `context.pipe_to_self(lanes.run("low", scan, symbol), Scanned)`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from trendedge.runtime.bounds import at_least
from trendedge.runtime.errors import UnknownLane
from trendedge.runtime.lane import Job, Lane, LaneSpec
from trendedge.runtime.processes import ProcessPool, name_of
from trendedge.runtime.service import Service, ServiceContext

__all__ = ["Job", "LaneSpec", "Lanes", "LanesService", "cpu"]

CLOSE_S = 1.0
"""Seconds for jobs to end that are cut off because the supervisor waits no longer."""


@dataclass(frozen=True, slots=True)
class Cpu[*Ts, T]:
    """A function that computes, marked to be called in a worker process."""

    function: Callable[[*Ts], T]


def cpu[*Ts, T](function: Callable[[*Ts], T]) -> Cpu[*Ts, T]:
    """Mark a function of a module (no lambda, no method of a live object) for a worker process.

    Arguments and result are pickled. A job that is cancelled or runs out of time is killed with its process. There are
    fewer processes than jobs at once: the wait for a free one counts towards the job's time.

    Each process imports the program's main module anew: what that starts has to be behind `if __name__ == "__main__":`.
    """
    return Cpu(function)


class Lanes:
    """All lanes, by name. Made before the tree and valid through restarts; open while a `LanesService` runs."""

    def __init__(self, specs: Sequence[LaneSpec], *, processes: int = 2) -> None:
        """:param processes: workers for what is marked with `cpu`
        :raises ValueError: two lanes have one name, or there are no processes
        """
        at_least(1, processes=processes)
        self._lanes = {spec.name: Lane(spec) for spec in specs}
        if len(self._lanes) < len(specs):
            raise ValueError("two lanes have the same name")
        self._pool = ProcessPool(processes)

    async def submit[*Ts, T](
        self,
        lane: str,
        function: Callable[[*Ts], Awaitable[T]] | Cpu[*Ts, T],
        *args: *Ts,
        timeout_s: float | None = None,
    ) -> Job[T]:
        """Hand work off and go on; the job can be awaited and cancelled.

        :param function: a coroutine function, or `cpu(...)` of an ordinary one
        :param timeout_s: seconds that it may run, not counting its wait in the lane; the lane's own if None
        :raises LaneFull: as many jobs wait as may: nothing was taken
        :raises LaneClosed: the lanes are not running, or are stopping
        :raises UnknownLane: no such lane is declared
        """
        target = self._lanes.get(lane)
        if target is None:
            raise UnknownLane(lane, self._lanes)
        if isinstance(function, Cpu):
            work = partial(self._pool.run, function.function, *args)
            return await target.submit(name_of(function.function), work, timeout_s)
        return await target.submit(name_of(function), partial(function, *args), timeout_s)

    async def run[*Ts, T](
        self,
        lane: str,
        function: Callable[[*Ts], Awaitable[T]] | Cpu[*Ts, T],
        *args: *Ts,
        timeout_s: float | None = None,
    ) -> T:
        """As `submit`, and wait for the result. Whoever is cancelled in the wait cancels the job.

        :raises LaneTimeout: it ran for too long
        :raises Exception: what the work raised; otherwise as `submit`
        """
        job = await self.submit(lane, function, *args, timeout_s=timeout_s)
        try:
            return await job
        except anyio.get_cancelled_exc_class():
            job.cancel()
            raise

    def snapshot(self) -> list[dict[str, Any]]:
        """All lanes as an operator sees them, in the order of their declaration.

        Of each `name`, the limits `concurrency`, `pending_limit` and `timeout_s`; how many are `active` and `pending`,
        and `oldest_age_s` of these; how many have ended: `done`, `failed`, `timed_out`, `cancelled`; what is `running`,
        each with `job` and `elapsed_s`; and `run_ms`: `p50`, `p95` and `p99` of the last 512 jobs.
        """
        return [lane.snapshot() for lane in self._lanes.values()]

    def open(self) -> None:
        """Take work."""
        for lane in self._lanes.values():
            lane.open()

    async def drain(self) -> None:
        """Take no more work, and wait until all is done."""
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes.values():
                tasks.start_soon(lane.drain)

    async def end(self) -> None:
        """Take no more work, cancel what there is, and wait until it has ended. What a job shields is done first."""
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes.values():
                tasks.start_soon(lane.end)

    async def close(self) -> None:
        """Take no more work, cut off what is left, shielded or not, and end the worker processes."""
        try:
            async with anyio.create_task_group() as tasks:
                for lane in self._lanes.values():
                    tasks.start_soon(lane.close)
        finally:
            self._pool.close()


class LanesService(Service):
    """Keeps the lanes open while it runs."""

    def __init__(self, lanes: Lanes, *, drain_s: float) -> None:
        """:raises ValueError: `drain_s` is less than 0"""
        at_least(0, drain_s=drain_s)
        self._lanes = lanes
        self._drain_s = drain_s

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`. At a stop, work gets `drain_s` seconds to end by itself; the rest is cancelled.

        What a job shields against that has until the end of the child's `shutdown_s`, and is cut off then. `drain_s`
        must be less than that, or the supervisor cancels first.
        """
        self._lanes.open()
        try:
            context.started()
            await context.stopping.wait()
            with anyio.move_on_after(self._drain_s):
                await self._lanes.drain()
            await self._lanes.end()
        finally:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await self._lanes.close()
