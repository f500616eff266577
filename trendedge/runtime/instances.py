"""The instances of a keyed actor, one for each key that has mail, supervised one for one."""

import asyncio
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING

import anyio

from trendedge.runtime.entity import Entity
from trendedge.runtime.errors import said
from trendedge.runtime.failures import tell_crash
from trendedge.runtime.history import Restarted, remembered
from trendedge.runtime.latch import Latch
from trendedge.runtime.outlast import outlast

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell


class Instances:
    """Begins, restarts and ends the instances of one cell: a message that crashes its instance holds up its own key
    alone. Too many crashes within the period end the cell, which is then its supervisor's business.
    """

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell
        self._context: Context | None = None
        """Of whoever runs them, and not of the sender whose message an instance begins with. None while they are not
        run: mail that comes then is for the next run."""
        self._host: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """Held here: the event loop itself forgets a task that nobody holds."""
        self._stopping = False
        self._over = Latch()
        """Set when the run that is under way is to end."""
        self._failure: Exception | None = None
        """What ends it for all."""

    async def run(self) -> None:
        """Host all of them until stopped. Raises what is none of an instance's own business."""
        cell = self._cell
        cell.know_accepted()
        self._begin_anew()
        try:
            for key, entity in list(cell.entities.items()):
                if entity.mail:
                    self.begin(entity)
                else:
                    del cell.entities[key]  # it was idle: the next message begins it
            cell.mark_ready()
            try:
                if not self._stopping:
                    await self._over.wait()
                if self._failure is not None:
                    self._cancel()
                await self._ended()
            except asyncio.CancelledError:
                self._context = None  # what comes now is for the next run
                self._cancel()
                try:
                    await outlast(*self._tasks)
                finally:
                    self._tasks.clear()  # also of who was cancelled before its first step
                raise
        finally:
            self._host = self._context = None
        if self._failure is not None:
            raise self._failure

    def _begin_anew(self) -> None:
        self._host, self._context = asyncio.current_task(), copy_context()
        self._over, self._failure = Latch(), None

    def begin(self, entity: Entity) -> None:
        """There is mail for a new instance."""
        if self._context is None:
            return
        entity.scope = anyio.CancelScope()
        # Plain tasks: a task group costs more for each, and asyncio's cancels past every shield when one of them fails.
        run = self._run(entity, entity.scope)
        loop = asyncio.get_running_loop()
        entity.task = task = loop.create_task(run, name=entity.name, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(partial(self._unless_it_ran, entity))

    def _unless_it_ran(self, entity: Entity, task: asyncio.Task[None]) -> None:
        """Begin an instance again whose task somebody else has cancelled before its first step."""
        if task in self._tasks and self._context is not None and entity.task is task:
            self._tasks.discard(task)
            self.begin(entity)

    @property
    def is_cancelled(self) -> bool:
        """Whether the task that runs them is to end."""
        return self._host is not None and self._host.cancelling() > 0

    def request_stop(self) -> None:
        """End `run` when all instances have ended, which their cell tells them to."""
        self._stopping = True
        self._over.set()

    def reopen(self) -> None:
        """Be ready for another run."""
        self._stopping = False

    def _cancel(self) -> None:
        """A scope cancels until its instance ends, and not past a shield."""
        for entity in self._cell.hosted():
            if entity.scope is not None:
                entity.scope.cancel()

    async def _ended(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
            self._tasks -= {task for task in self._tasks if task.done()}  # also who was cancelled before its first step

    def _fail(self, error: Exception) -> None:
        """End all of them: whoever lost its mail has nothing left to restart with."""
        if self._failure is None or self._cell.is_fenced(error):
            self._failure = error
        self._context = None
        self._over.set()

    async def _run(self, entity: Entity, scope: anyio.CancelScope) -> None:
        cell, again = self._cell, False
        try:
            with scope:
                while True:
                    try:
                        if again:
                            await asyncio.sleep(0)  # a retry without a delay must not keep the loop from everybody else
                        again = True
                        await entity.run()
                    except BaseException as error:
                        if cell.is_fenced(error):
                            raise
                        self._count_restart(entity, entity.as_crash(error))
                        if entity.is_wanted:
                            continue
                    if entity.passivated and entity.mail and (not cell.stopping or cell.drains):
                        continue  # it came while the instance was being passivated
                    self._leave(entity)
                    return
        except Exception as error:
            self._fail(error)
        finally:
            if entity.task is not None:
                self._tasks.discard(entity.task)

    def _leave(self, entity: Entity) -> None:
        cell = self._cell
        if not (cell.stopping or entity.mail):
            if cell.entities.get(entity.key) is entity:  # or else the mailbox was closed meanwhile
                del cell.entities[entity.key]
            cell.breakers.forget_outdated(cell.now())
        elif cell.log is None:
            for envelope in entity.mail:  # nobody takes it any more, and others may wait for the answer
                envelope.abandon(cell.path)

    def _count_restart(self, entity: Entity, error: Exception) -> None:
        if entity.outage:
            return
        cell = self._cell
        if entity.culprit is None:
            tell_crash(cell, entity.key, error)
        if cell.stopping and not (cell.spec.drain and entity.mail):
            return  # of its `on_stop`: it is not restarted
        cell.stats.restarts += 1
        restart = Restarted(cell.now(), said(error), entity.culprit, entity.key)
        cell.stats.history = remembered(cell.stats.history, restart)
        if entity.crash_counts:
            recent = cell.intensity.record(cell.path, entity.name, cell.now())
            if not cell.stopping:
                entity.not_before = cell.now() + cell.supervisor.spec.backoff.delay_s(recent)
