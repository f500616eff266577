"""Tasks that write to a journal beside the handlers, for the time of one incarnation."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from trendedge.runtime.outlast import outlast

type Work = Callable[[], Coroutine[Any, Any, None]]


class Writers:
    """Each is begun again when somebody else has cancelled it: what it was about waits still."""

    def __init__(self, works: Sequence[Work], *, name: str, on_failure: Callable[[], None]) -> None:
        """:param works: which go on, from where they were, when they are called again
        :param on_failure: called when one of them has raised, which `end` does then
        """
        self._name = name
        self._on_failure = on_failure
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._failure: BaseException | None = None
        self._ends = False
        for work in works:
            self._begin(work)

    def _begin(self, work: Work) -> None:
        task = asyncio.get_running_loop().create_task(work(), name=self._name)
        self._tasks[task] = None
        # A callback: a task that is cancelled before its first step never comes to its own `except`.
        task.add_done_callback(partial(self._ended, work))

    def _ended(self, work: Work, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._note(task)
        if self._failure is not None:
            self._on_failure()
        elif task.cancelled() and not self._ends:
            self._begin(work)

    async def end(self) -> None:
        """Cancel them, and return when they have ended, through every cancellation of whoever waits.

        :raises BaseException: what one of them has raised
        """
        self._ends = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await outlast(*tasks)
        for task in tasks:
            self._note(task)
        if self._failure is not None:
            raise self._failure

    def _note(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()  # of each: one that nobody asks for is logged
        self._failure = self._failure or error
