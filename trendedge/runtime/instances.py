"""The instances of a keyed actor, one for each key that has mail, supervised one for one."""

import asyncio
from typing import TYPE_CHECKING

import anyio

from trendedge.runtime.entity import Entity
from trendedge.runtime.errors import IntensityExceeded, first_error, said
from trendedge.runtime.history import Restarted, remembered
from trendedge.runtime.latch import Latch

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell


class Instances:
    """Begins, restarts and ends the instances of one cell: a message that crashes its instance holds up its own key
    alone. Too many crashes within the period end the cell, which is then its supervisor's business.
    """

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell
        self._tasks: asyncio.TaskGroup | None = None
        """None while they are not run: mail that comes then is for the next run."""
        self._host: asyncio.Task[None] | None = None
        self._stop = Latch()

    async def run(self) -> None:
        """Host all of them until stopped. Raises what is none of an instance's own business."""
        cell = self._cell
        cell.know_accepted()
        self._host = asyncio.current_task()
        try:
            # asyncio's own group: anyio's keeps 1.7 KB more for each task, which ten thousand idle accounts would pay.
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for entity in list(cell.entities.values()):
                    self.begin(entity)
                cell.mark_ready()
                try:
                    await self._stop.wait()
                    await self._wait()
                except asyncio.CancelledError:
                    # The group would cancel each once, be it shielded or not; a scope does until its instance ends.
                    for entity in cell.entities.values():
                        if entity.scope is not None:
                            entity.scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await self._wait()
                    raise
        except BaseExceptionGroup as group:
            error = first_error(group)
            raise error from error.__cause__
        finally:
            self._tasks = self._host = None

    def begin(self, entity: Entity) -> None:
        """There is mail for a new instance."""
        if self._tasks is not None:
            entity.scope = anyio.CancelScope()
            entity.task = self._tasks.create_task(self._run(entity, entity.scope), name=entity.name)

    @property
    def is_cancelled(self) -> bool:
        """Whether the task that runs them is to end."""
        return self._host is not None and self._host.cancelling() > 0

    def request_stop(self) -> None:
        """End `run` when all instances have ended, which their cell tells them to."""
        self._stop.set()

    def reopen(self) -> None:
        """Be ready for another run."""
        self._stop = Latch()

    async def _wait(self) -> None:
        while running := [entity.task for entity in self._cell.hosted() if entity.task is not None]:
            await asyncio.wait(running)

    async def _run(self, entity: Entity, scope: anyio.CancelScope) -> None:
        cell, again = self._cell, False
        with scope:
            while True:
                try:
                    if again:
                        await asyncio.sleep(0)  # a retry without a delay must not keep the loop from everybody else
                    again = True
                    await entity.run()
                except BaseException as error:
                    if cell.is_fenced(error):
                        self._tasks = None  # the group ends with this: mail that comes now is for the next run
                        raise
                    self._count_restart(entity, entity.as_crash(error))
                    if entity.mail or not entity.over:
                        continue
                if cell.stopping:
                    return
                if not entity.mail:
                    del cell.entities[entity.key]
                    cell.breakers.forget_outdated(cell.now())
                    return

    def _count_restart(self, entity: Entity, error: Exception) -> None:
        if entity.outage:
            return
        cell = self._cell
        if entity.culprit is None:
            cell.tell_crash(entity.key, error)
        if cell.stopping and not (cell.spec.drain and entity.mail):
            return  # of its `on_stop`: it is not restarted
        cell.stats.restarts += 1
        restart = Restarted(cell.now(), said(error), entity.culprit, entity.key)
        cell.stats.history = remembered(cell.stats.history, restart)
        if entity.crash_counts:
            try:
                recent = cell.intensity.record(cell.path, entity.name, cell.now())
            except IntensityExceeded:
                self._tasks = None  # the group ends with this: mail that comes now is for the next incarnation
                raise
            if not cell.stopping:
                entity.not_before = cell.now() + cell.supervisor.spec.backoff.delay_s(recent)
