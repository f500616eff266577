"""Names who is slow: a handler that has run for too long, and whatever keeps the event loop from everybody else."""

import asyncio
import math
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator

import anyio

from trendedge.runtime.bounds import at_least, more_than_nothing
from trendedge.runtime.cell import Cell
from trendedge.runtime.errors import text_of
from trendedge.runtime.service import Service, ServiceContext
from trendedge.runtime.stats import MARK_EVERY_S, SAMPLES, describe, rank
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.voice import log

_FRAMES = 12
"""Frames of a stack that are logged, the innermost last."""


class LoopLag:
    """How late the event loop is: seconds between when a timer was due and when it ran."""

    __slots__ = ("_samples", "last_s", "worst_s")

    def __init__(self) -> None:
        self.last_s = 0.0
        self.worst_s = 0.0
        """Since the process began."""
        self._samples: deque[float] = deque(maxlen=SAMPLES)

    def record(self, late_s: float) -> None:
        """Take in one measurement."""
        self.last_s = late_s
        self.worst_s = max(self.worst_s, late_s)
        self._samples.append(late_s)

    def snapshot(self) -> dict[str, float | None]:
        """Milliseconds: the last measurement, percentiles of the last 512, the worst since the process began.

        Their keys are `last_ms`, `p50_ms`, `p99_ms` and `worst_ms`.
        """
        ordered = sorted(self._samples)
        return {
            "last_ms": round(self.last_s * 1000, 3),
            "p50_ms": rank(ordered, 0.5),
            "p99_ms": rank(ordered, 0.99),
            "worst_ms": round(self.worst_s * 1000, 3),
        }


class Watchdog(Service):
    """Looks at the handlers and at the loop twice a second, and from a thread of its own when the loop does not turn.

    It reads what the cells count anyway; the actors do not notice. Rates are counted, and `lag` measured, by it alone::

        lag = LoopLag()
        watchdog = ServiceSpec("watchdog", lambda: Watchdog(lambda: root, lag))
        async with running(SupervisorSpec("app", [watchdog, ...])) as root:
            inspector = Inspector(root, lag)
    """

    def __init__(
        self,
        root: Callable[[], Supervisor],
        lag: LoopLag,
        *,
        slow_s: float = 10.0,
        blocked_s: float = 0.25,
        every_s: float = 0.5,
    ) -> None:
        """:param root: gives the tree; while its name is not known yet, as in the example until all have started, there
            are no handlers to look at
        :param slow_s: seconds after which a handler that has not returned is named, once
        :param blocked_s: seconds of a loop that does not turn after which its stack is logged, once for each time
        :param every_s: seconds between two looks
        :raises ValueError: it would look, or take the loop for blocked, without a pause
        """
        at_least(0, slow_s=slow_s)
        more_than_nothing(blocked_s=blocked_s, every_s=every_s)
        self._root = root
        self._lag = lag
        self._slow_s = slow_s
        self._blocked_s = blocked_s
        self._every_s = every_s
        self._marked_at = float("-inf")
        self._blind_since: float | None = None
        """Event loop time at which it found no tree; infinite when that was said."""

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`."""
        sentinel = _Sentinel(asyncio.get_running_loop(), self._blocked_s, self._every_s)
        sentinel.start()
        context.started()
        try:
            while not context.stopping.is_set():
                due = time.monotonic() + self._every_s
                with anyio.move_on_after(self._every_s):
                    await context.stopping.wait()
                    return
                self._lag.record(max(0.0, time.monotonic() - due))
                sentinel.beat()
                self._name_the_slow()
                self._mark()
        finally:
            sentinel.dismiss()

    def _name_the_slow(self) -> None:
        now = asyncio.get_running_loop().time()
        for cell in self._cells():
            for entity in cell.busy():
                elapsed_s = 0.0 if entity.since is None else now - entity.since
                if elapsed_s < self._slow_s or entity.reported:
                    continue
                entity.reported = True
                log.warning(
                    "handler runs long",
                    alert="handler_slow",
                    actor=cell.path,
                    key=entity.key,
                    handling=describe(entity.in_hand.message) if entity.in_hand else None,
                    elapsed_s=round(elapsed_s, 1),
                    at=_innermost(entity.task),
                )

    def _mark(self) -> None:
        """Rates are counted from what was read every few seconds: a clock in each handler would cost more."""
        now = asyncio.get_running_loop().time()
        if now - self._marked_at < MARK_EVERY_S:
            return
        self._marked_at = now
        for cell in self._cells():
            cell.stats.mark(now)

    def _cells(self) -> Iterator[Cell]:
        try:
            root = self._root()
        except NameError as error:  # `running` gives the tree when all have started
            self._say_blind(error)
            return iter(())
        self._blind_since = None
        return cells(root)

    def _say_blind(self, error: NameError) -> None:
        """Once, if it lasts: the name may be a wrong one."""
        now = asyncio.get_running_loop().time()
        self._blind_since = now if self._blind_since is None else self._blind_since
        if now - self._blind_since >= self._slow_s:
            self._blind_since = math.inf
            log.warning("watchdog finds no tree", error=text_of(error))


def cells(supervisor: Supervisor) -> Iterator[Cell]:
    """The cells of a tree, those of spawned children too."""
    for child in tuple(supervisor.children):
        if isinstance(child.process, Supervisor):
            yield from cells(child.process)
        elif isinstance(child.process, Cell):
            yield child.process
            for entity in tuple(child.process.entities.values()):
                if entity.children is not None:
                    yield from cells(entity.children)


def _innermost(task: asyncio.Task[object] | None) -> str | None:
    """File, line and function where a task waits."""
    if task is None:
        return None
    coroutine = task.get_coro()
    while (inner := getattr(coroutine, "cr_await", None)) is not None and hasattr(inner, "cr_frame"):
        coroutine = inner
    frame = getattr(coroutine, "cr_frame", None)
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class _Sentinel(threading.Thread):
    """Watches the loop from outside: while it is blocked, nothing inside it can say so."""

    def __init__(self, loop: asyncio.AbstractEventLoop, blocked_s: float, every_s: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._blocked_s = blocked_s
        self._every_s = every_s
        self._dismissed = threading.Event()
        self._beat = time.monotonic()

    def beat(self) -> None:
        """The loop turns."""
        self._beat = time.monotonic()

    def dismiss(self) -> None:
        """End; not waited for."""
        self._dismissed.set()

    def run(self) -> None:
        """As `Thread.run`."""
        named: float | None = None
        while not self._dismissed.wait(self._blocked_s / 2):
            beat = self._beat
            blocked_s = time.monotonic() - beat - self._every_s
            if blocked_s < self._blocked_s or beat == named:
                continue
            named = beat
            self._report(blocked_s)

    def _report(self, blocked_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # the way to see another thread's stack
        stack = [] if frame is None else traceback.extract_stack(frame, limit=None)[-_FRAMES:]
        task = asyncio.current_task(self._loop)
        log.error(
            "event loop blocked",
            alert="loop_blocked",
            blocked_s=round(blocked_s, 3),
            task=None if task is None else task.get_name(),
            stack=[f"{one.filename}:{one.lineno} in {one.name}" for one in stack],
        )
