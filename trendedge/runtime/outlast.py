"""Waiting for tasks that have to end, through every cancellation of whoever waits."""

import asyncio
from typing import Any

import anyio


async def outlast(*tasks: asyncio.Task[Any]) -> None:
    """Return when all tasks have ended, however often whoever waits is cancelled meanwhile; that is raised then.

    A shield alone holds off anyio's scopes, and neither `Task.cancel` nor `asyncio.timeout`.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not all(task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
