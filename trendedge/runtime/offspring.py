"""The children that one incarnation of an actor has spawned: they end with it."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from trendedge.runtime.errors import SignificantChildEnded, StrayCancellation
from trendedge.runtime.outlast import outlast
from trendedge.runtime.waits import Target, asking_entity, break_circles

if TYPE_CHECKING:
    from collections.abc import Callable

    from trendedge.runtime.cell import Cell
    from trendedge.runtime.dependent import Dependent
    from trendedge.runtime.specs import Spec


class Offspring:
    """Runs them beside the mailbox of their parent, under a supervisor of their own."""

    __slots__ = ("_ending", "_parent", "_spawning", "_stopping", "_task", "supervisor")

    def __init__(self, parent: "Dependent") -> None:
        """:raises ActorStopped: the parent's supervisor is not running"""
        self._parent = parent
        self._spawning: str | None = None
        """Id of the child for whose start the parent's handler waits."""
        self._ending: Callable[[], Iterator[Cell]] | None = None
        """Those for whose end it waits."""
        self._stopping = False
        host = parent.cell.supervisor
        self.supervisor = host.nursery(parent.name)
        self._task = host.foster(self._run, name=f"{parent.name} children")
        self._task.add_done_callback(self._was_cancelled)

    async def spawn(self, spec: "Spec") -> None:
        """Start a child; see `Context.spawn`."""
        await self.supervisor.begun.wait()
        if asking_entity() is not self._parent:
            await self.supervisor.start_child(spec)
            return
        self._spawning = spec.id
        try:
            await self.supervisor.start_child(spec)
        finally:
            self._spawning = None

    async def stop_child(self, child_id: str) -> None:
        """Stop and forget a child; see `Context.stop_child`."""
        if asking_entity() is not self._parent:
            await self.supervisor.stop_child(child_id)
            return
        self._ending = partial(self.supervisor.ending, child_id)
        break_circles(self._ending())
        try:
            await self.supervisor.stop_child(child_id)
        finally:
            self._ending = None

    async def stop(self) -> None:
        """Stop all of them, and outlast a cancellation, which is raised then."""
        self._stopping = True
        self.supervisor.request_stop()
        self._ending = self.supervisor.ending
        break_circles(self._ending())
        await outlast(self._task)  # and not its end: cancelled before its first step, it never came to that

    def awaited(self) -> Iterator[Target]:
        """For whom the parent's handler waits: those that start because it spawns them, and those that it stops."""
        if self._spawning is not None:
            yield from ((cell, None) for cell in self.supervisor.unready(self._spawning))
        if self._ending is not None:
            for cell in self._ending():
                yield from ((cell, key) for key in cell.entities)

    def _was_cancelled(self, task: asyncio.Task[None]) -> None:
        """By somebody else, perhaps before its first step: the children have ended, of which their parent crashes."""
        self.supervisor.begun.set()
        if task.cancelled() and not self._stopping:
            self._parent.escalate(StrayCancellation())

    async def _run(self) -> None:
        error: Exception | None
        children = self.supervisor
        try:
            await children.run(lambda: None)
            error = None if children.missed is None else SignificantChildEnded(children.missed.path)
        except Exception as crash:
            error = crash
        if error is not None and not self._stopping:
            self._parent.escalate(error)
