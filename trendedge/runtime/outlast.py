"""Waiting for a task that has to end, through every cancellation of whoever waits."""

import asyncio
from typing import Any

import anyio


async def outlast(task: asyncio.Task[Any]) -> None:
    """Return when a task has ended, however often whoever waits is cancelled meanwhile; that is raised then.

    A shield alone holds off anyio's scopes, and neither `Task.cancel` nor `asyncio.timeout`.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
