"""Tasks that run beside the children of a supervisor: piped work, what actors have spawned, removals."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


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
        task.add_done_callback(self._tasks.pop)
        return task

    async def ended(self) -> None:
        """Return when none runs any more; those that are to be cancelled have been."""
        while self._tasks:
            await asyncio.wait(self._tasks)
