"""One child of a supervisor: its process, its incarnations, and how it is stopped."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio
import anyio.abc

from trendedge.runtime.cell import Cell
from trendedge.runtime.clock import clock_of
from trendedge.runtime.errors import IntensityExceeded, StrayCancellation, said
from trendedge.runtime.history import History, Restarted, remembered
from trendedge.runtime.latch import Latch
from trendedge.runtime.outlast import outlast
from trendedge.runtime.service import Service, ServiceContext
from trendedge.runtime.specs import Spec
from trendedge.runtime.voice import log
from trendedge.runtime.waits import is_running

LEAVE_S = 1.0
"""How long a stop waits for the journal when its actor has ended."""
ENDED = ("stopped", "crashed")


class Process(Protocol):
    """What a supervisor can run: an actor's cell, a service, another supervisor."""

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Run one incarnation: call `on_ready` once, return when stopped, raise when crashed."""
        ...

    @property
    def culprit(self) -> str | None:
        """Type of the message over which it crashed last; None when it was none."""
        ...

    def request_stop(self) -> None:
        """Ask the incarnation to end in good order."""
        ...

    def close(self) -> None:
        """It has ended, or never began, and is perhaps started again: settle whatever waits for an answer."""
        ...

    def terminate(self, cause: str | None) -> None:
        """It has ended, or never began, and is not started again: settle whatever still waits for it."""
        ...

    def release_address(self) -> None:
        """It has been terminated, and its record is gone: whatever is below may have another address now."""
        ...


class ServiceProcess:
    """Runs a service: a new object for each incarnation."""

    culprit = None

    def __init__(self, path: str, start: Callable[[], Service]) -> None:
        self._path = path
        self._start = start
        self._context: ServiceContext | None = None
        self._stop_asked = False

    async def run(self, on_ready: Callable[[], None]) -> None:
        """As `Process.run`."""
        self._context = ServiceContext(self._path, on_ready)
        if self._stop_asked:
            self._context.stopping.set()
        await self._start().run(self._context)

    def request_stop(self) -> None:
        """As `Process.request_stop`."""
        self._stop_asked = True  # perhaps before its first step
        if self._context is not None:
            self._context.stopping.set()

    def close(self) -> None:
        """As `Process.close`: nobody waits for a service."""

    def terminate(self, cause: str | None) -> None:
        """As `Process.terminate`: nobody watches a service."""

    def release_address(self) -> None:
        """As `Process.release_address`: a service has none."""


@dataclass(frozen=True, slots=True)
class Exit:
    """An incarnation has ended. `child` is None for a mere wake-up of the supervisor."""

    child: "Child | None"
    error: BaseException | None
    generation: int = 0


class Child:
    """The supervisor's record of one child."""

    def __init__(
        self,
        spec: Spec,
        path: str,
        make: Callable[[Spec, str, Process | None], Process],
        *,
        kind: str,
        former: "Child | None" = None,
    ) -> None:
        """:param make: is given spec and path, and the process that had the place before
        :param former: the record of this child below the supervisor that was restarted
        """
        self.spec = spec
        self.path = path
        self.kind = kind
        self.status = "stopped"
        self.restarts: int = 0 if former is None else former.restarts
        self.history: History | None = None if former is None else former.history
        """The last of them; None before the first."""
        self.generation: int = 0 if former is None else former.generation
        """Counts incarnations, from 1."""
        self.last_error: str | None = None if former is None else former.last_error
        self.crashed_at: float = -math.inf if former is None else former.crashed_at
        """Event loop time of the last crash over no message: of the others its cell knows more."""
        self.dynamic = False
        """Added to a running supervisor: it is forgotten once it has ended for good."""
        self.process: Process = make(spec, path, None if former is None else former.process)
        self._make = make
        self._begun = False
        """That process has been run."""
        self._task: asyncio.Task[None] | None = None
        """Kept here: the event loop itself forgets a task that nobody holds."""
        self._context: Context | None = None
        """What its last incarnation ran in."""
        self._scope: anyio.CancelScope | None = None
        """Around its incarnation; None before the first."""
        self._ended = Latch()

    @property
    def crash_counts(self) -> bool:
        """Whether the last crash counts towards the supervisor's intensity."""
        return self.process.crash_counts if isinstance(self.process, Cell) else True

    @property
    def culprit(self) -> str | None:
        """Type of the message over which it crashed last; None when it was none."""
        return self.process.culprit

    @property
    def begun(self) -> bool:
        """Whether it was ever started, below the supervisor that there is now."""
        return self._begun

    @property
    def died_of(self) -> str | None:
        """What the last incarnation crashed of; None when it has not."""
        return self.last_error if self.status == "crashed" else None

    def report(self, error: BaseException) -> None:
        """Log a crash with its traceback, unless that was done where it happened: in a handler, or below."""
        if self.culprit is None and not isinstance(error, IntensityExceeded):
            log.error("crashed", actor=self.path, cause=said(error), exc_info=error)

    def will_restart(self, cause: str) -> None:
        """Count a restart, and remember why."""
        self.restarts += 1
        culprit = self.culprit if self.status == "crashed" else None
        self.history = remembered(self.history, Restarted(anyio.current_time(), cause, culprit))

    async def start(self, on_exit: Callable[[Exit], None], *, context: Context | None = None) -> BaseException | None:
        """Begin an incarnation; None when it is ready, otherwise what prevented that. Its exit is reported later.

        :param context: to run it in, or a copy of it; None for a copy of the caller's

        What it answers is in no log yet: whoever began it has it now.
        Cancelled, the incarnation is given up, and has ended when this returns.
        """
        if isinstance(self.process, Cell):
            self.process.reopen()  # it keeps its mail over restarts
        elif self._begun:
            self.process = self._make(self.spec, self.path, self.process)
        self._begun = True
        self._context = context
        self.generation += 1
        self.status = "starting" if self.generation == 1 else "restarting"
        scope, ended = self._scope, self._ended = anyio.CancelScope(), Latch()
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[BaseException | None] = loop.create_future()
        # A plain task: a task group's bookkeeping is larger than an idle actor. `stop` waits for its end.
        run = self._run(on_exit, ready, scope)
        task = self._task = loop.create_task(run, name=self.path, context=None if context is None else context.copy())
        task.add_done_callback(unborn := partial(self._unborn, ready))
        try:
            return await ready
        except BaseException:
            scope.cancel()
            with suppress(asyncio.CancelledError):  # one is being raised already
                await outlast(task)
            if not ended.is_set():  # it was cancelled before its first step, as at the end of the event loop
                self._never_ran("stopped")
            raise
        finally:
            task.remove_done_callback(unborn)

    def _is_ready(self) -> None:
        if self.status != "stopping":  # it was asked to meanwhile
            self.status = "running"

    def _unborn(self, ready: "asyncio.Future[BaseException | None]", _: "asyncio.Task[None]") -> None:
        """Somebody else has cancelled the incarnation before its first step."""
        if not ready.done():
            error = StrayCancellation()
            self.last_error = said(error)
            self._never_ran("crashed")
            ready.set_result(error)

    def _never_ran(self, status: str) -> None:
        self.status = status
        self._ended.set()
        if not isinstance(self.process, Cell):  # which keeps its mail for the next incarnation
            self.process.close()

    async def _run(
        self,
        on_exit: Callable[[Exit], None],
        ready: "asyncio.Future[BaseException | None]",
        scope: anyio.CancelScope,
    ) -> None:
        generation, began = self.generation, False
        error: BaseException | None = None

        def on_ready() -> None:
            nonlocal began
            if not began:
                began = True
                self._is_ready()
                if not ready.done():
                    ready.set_result(None)

        try:
            with scope:
                await self.process.run(on_ready)
        except asyncio.CancelledError as cancelled:
            error = cancelled  # not by its supervisor, which would have ended in the scope
            raise
        except BaseException as crash:  # also what is no `Exception`, as the panic of an extension
            if self._is_the_end(crash):
                raise
            error = crash
        finally:
            if error is not None:
                self.last_error = said(error)
                if self.culprit is None:
                    self.crashed_at = clock_of(asyncio.get_running_loop())()
            self.status = "stopped" if error is None else "crashed"
            self._ended.set()
            asked = not began and not ready.done()
            if error is not None and not asked:
                self.report(error)
            if began:
                on_exit(Exit(self, error, generation))
            elif asked:
                ready.set_result(error or RuntimeError("ended before it was ready"))

    def _is_the_end(self, error: BaseException) -> bool:
        """Of the process, or of the event loop, which closes what does not run."""
        closed = isinstance(error, GeneratorExit) and not is_running(self._task)
        return closed or isinstance(error, KeyboardInterrupt | SystemExit)

    async def stop(self, *, for_good: bool, cut_off: bool = False) -> None:
        """Ask to stop; cancel after `shutdown_s` and name who overran. Does nothing when it is not running.

        :param for_good: it is not to be started again, and who watches it is told
        :param cut_off: with a stop before this one all has been cancelled: nothing is begun again to drain
        """
        with anyio.move_on_after(self.spec.shutdown_s) as patience:
            # Without an incarnation it waits for its restart, or was about to be ready again.
            has_ended = self.status in ENDED and not cut_off
            if has_ended and isinstance(self.process, Cell) and self.process.has_to_drain:
                await self._start_to_drain(self.process)
        if patience.cancelled_caught:
            self._overran("draining")
        if self.status not in ENDED:
            was, self.status = self.status, "stopping"
            self.process.request_stop()
            with anyio.CancelScope(deadline=patience.deadline):
                await self._ended.wait()
            if not self._ended.is_set():
                self._overran(was)
                if self._scope is not None:
                    self._scope.cancel()
                await self._ended.wait()
        await self.leave()
        if for_good:
            self.terminate(None)
        else:
            self.process.close()

    async def leave(self) -> None:
        """To be called when it has ended and may never be started again, before it is closed."""
        if not isinstance(self.process, Cell):
            return
        try:
            with anyio.move_on_after(LEAVE_S):
                await self.process.leave()
        except Exception as error:  # a defect of the journal: it must not keep the others from their stop
            self.report(error)

    def close(self) -> None:
        """It has ended in good order by itself, and is started again: what waits in memory ends with it."""
        if isinstance(self.process, Cell):
            self.process.close()

    def _overran(self, was: str) -> None:
        log.error(
            "child overran its shutdown",
            actor=self.path,
            instances=[one.name for one in self.process.hosted()] if isinstance(self.process, Cell) else [],
            shutdown_s=self.spec.shutdown_s,
            was=was,
        )

    async def _start_to_drain(self, cell: Cell) -> None:
        """It waits for its restart, which the stop forestalls: let it handle what waits all the same."""
        cell.request_stop()
        error = await self.start(lambda _: None, context=self._context)
        if error is not None and self.status == "crashed":  # or else it leaves what waits for a retry to the journal
            self.report(error)

    def terminate(self, error: BaseException | None) -> None:
        """It has ended and is not started again: settle what waits for it, and tell who watches.

        :param error: what prevented its start; None for what it died of
        """
        self.process.terminate(self.died_of if error is None else said(error))
