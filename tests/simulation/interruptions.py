"""Whoever waits for something is cancelled in the middle of it: at any await, in each of the ways that Python has."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

from trendedge.runtime.simulation import SimulatedLoop

type Work = Callable[[], Coroutine[Any, Any, None]]
type Moment = Callable[[Callable[[], object]], None]
"""Is given what cancels, and calls it when the moment has come."""

SOON = (4, 40, 400)
"""Within how many steps of the loop it comes: right at the beginning, in the same burst of work, or later."""


@dataclass
class Interruptions:
    """Cancels a share of what it is given; each is noted in the trace as `<what> cancelled`."""

    loop: SimulatedLoop
    share: float

    async def perhaps(self, what: str, go: Work) -> None:
        """Do it, or be cancelled in the middle of it, by a scope that is left or as a task that somebody ends.

        A scope cancels until it is left, and waits for what is shielded; a task is cancelled once.
        """
        if not self._strikes():
            await go()
        elif self.loop.random.random() < 0.5:
            await self._in_scope(what, go)
        else:
            await self._as_task(what, go, self.at_some_step)

    async def within(self, what: str, go: Work) -> None:
        """As `perhaps`, and always in the calling task: a handler that gives up part of its work and goes on."""
        if self._strikes():
            await self._in_scope(what, go)
        else:
            await go()

    async def when(self, moment: Moment, what: str, go: Work) -> None:
        """As `perhaps`, and some at a moment that is sought out."""
        if self._strikes():
            await self._as_task(what, go, moment)
        else:
            await self.perhaps(what, go)

    async def stray[T](self, what: str, go: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it, or let a task do it that somebody cancels, as `elsewhere`."""
        if not self._strikes():
            return await go()
        try:
            return await self.elsewhere(go, self.at_some_step)
        except asyncio.CancelledError:
            if not _is_cancelled():
                self.loop.trace.note(f"{what} astray")
            raise

    async def elsewhere[T](self, go: Callable[[], Coroutine[Any, Any, T]], moment: Moment) -> T:
        """Let a task do it that somebody cancels.

        :raises asyncio.CancelledError: that one was cancelled, though nobody has cancelled the caller
        """
        task: asyncio.Task[T] = self.loop.create_task(go())
        moment(task.cancel)
        return await task

    def at_some_step(self, cancel: Callable[[], object]) -> None:
        """The moment that is nobody's choice."""
        self.loop.call_at_step(self.loop.random.randint(1, self.loop.random.choice(SOON)), cancel)

    async def _in_scope(self, what: str, go: Work) -> None:
        with anyio.CancelScope() as scope:
            self.at_some_step(scope.cancel)
            await go()
        if scope.cancelled_caught:
            self.loop.trace.note(f"{what} cancelled")

    async def _as_task(self, what: str, go: Work, moment: Moment) -> None:
        try:
            await self.elsewhere(go, moment)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            self.loop.trace.note(f"{what} cancelled")

    def _strikes(self) -> bool:
        return self.loop.random.random() < self.share


def _is_cancelled() -> bool:
    """Whether the calling task itself is."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
