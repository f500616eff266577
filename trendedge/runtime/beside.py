"""Tasks that run beside the children of a supervisor: piped work, what actors have spawned, removals."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from trendedge.runtime.voice import log


class Beside:
    """Holds them until they end. Plain tasks: an outer scope that is cancelled reaches none of them before the orderly
    stop does, which ends each in its turn.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}

    def begin(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str, context: Context | None = None
    ) -> asyncio.Task[None]:
        """:param context: to run it in; None for a copy of the caller's"""
        task = asyncio.get_running_loop().create_task(work(), name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def insist(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> asyncio.Future[None]:
        """As `begin`, and again when somebody else has cancelled it; what this returns has the end of it."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin() -> None:
            self.begin(work, name=name).add_done_callback(ended)

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                begin()
            elif not over.done() and (error := task.exception()) is not None:
                over.set_exception(error)
            elif not over.done():
                over.set_result(None)

        begin()
        return over

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        error = None if task.cancelled() else task.exception()
        # What ends the process has been raised out of the event loop as well, and needs no second word.
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
            log.error("work beside the mailboxes failed", work=task.get_name(), exc_info=error)

    async def ended(self) -> None:
        """Return when none runs any more; those that are to be cancelled have been."""
        while self._tasks:
            await asyncio.wait(self._tasks)
