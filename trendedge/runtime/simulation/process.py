"""A simulated operating-system process: whatever it started dies with it, in the middle of anything."""

from asyncio import Handle
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from trendedge.runtime.simulation.loop import SimulatedLoop

_current: ContextVar["SimulatedProcess | None"] = ContextVar("simulated_process", default=None)


def current_process() -> "SimulatedProcess | None":
    """The process whose code runs just now; None outside all of them."""
    return _current.get()


def owner(context: Context) -> "SimulatedProcess | None":
    """The process that a callback or task with this context belongs to."""
    return context.get(_current)


class SimulatedProcess:
    """Owns every task and timer that its code starts, directly or not: they inherit its context.

    `kill` is SIGKILL: none of them runs ever again, not even its `finally`. Steps count from 1; a kill can be set for
    one that is to come, which is a crash at any `await`.
    """

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.name = name
        self.alive = True
        self.steps = 0
        """Callbacks and task steps that were run so far."""
        self.dies_at_step: int | None = None
        self.stopped = False
        """By SIGSTOP: what would run is held back."""
        self._held: list[Handle] = []
        self._loop = loop

    def start(self, main: Callable[[], Coroutine[Any, Any, Any]], *, name: str) -> "asyncio.Task[Any]":
        """Run a coroutine function in this process."""
        return self._loop.create_task(main(), name=f"{self.name}:{name}", context=self._context())

    def signal(self, handler: Callable[[], object]) -> None:
        """Run a handler in this process, as the event loop does when a signal comes in; after `resume`, if need be."""
        self._loop.call_soon(handler, context=self._context())

    def _context(self) -> Context:
        context = copy_context()
        context.run(_current.set, self)
        return context

    def kill(self) -> None:
        """End it now. Code of its own that calls this goes on until its next `await`, which never returns."""
        if self.alive:
            self.alive = False
            self._held.clear()
            self._loop.trace.note("killed", self.name)

    def kill_in(self, steps: int) -> None:
        """Kill it in place of the `steps`-th step from now (from 1)."""
        self.dies_at_step = self.steps + steps

    def stop(self) -> None:
        """SIGSTOP: nothing of it runs until `resume`. The world goes on, and its clocks too."""
        if self.alive and not self.stopped:
            self.stopped = True
            self._loop.trace.note("suspended", self.name)

    def resume(self) -> None:
        """SIGCONT: all that has become due meanwhile runs now."""
        if self.stopped:
            self.stopped = False
            self._loop.trace.note("resumed", self.name)
            held, self._held = self._held, []
            self._loop.put_back(held)

    def may_step(self, handle: Handle) -> bool:
        """Count one step; False when it is dead, or dies instead of taking it, or takes it after `resume`."""
        if not self.alive:
            return False
        if self.stopped:
            self._held.append(handle)
            return False
        self.steps += 1
        if self.dies_at_step is not None and self.steps >= self.dies_at_step:
            self.kill()
        return self.alive
