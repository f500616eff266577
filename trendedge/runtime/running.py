"""A supervision tree for the time of a block: whoever starts it stops it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from trendedge.runtime.errors import StrayCancellation
from trendedge.runtime.outlast import outlast
from trendedge.runtime.specs import SupervisorSpec
from trendedge.runtime.supervisor import Supervisor


@asynccontextmanager
async def running(spec: SupervisorSpec) -> AsyncIterator[Supervisor]:
    """Run a tree: the block begins when all are ready, and at its end they are stopped in good order.

    A tree that gives up cancels the block, and what it gave up over is raised; what the block itself has raised
    meanwhile is that error's context. One that ends in good order before the block does, since somebody has asked it to
    or a significant child has ended, lets the block go on: `root.ended` is set then.

    :raises StartFailed: a child did not become ready; the block was not begun
    :raises IntensityExceeded: too many restarts; the block was cancelled
    :raises StrayCancellation: somebody else has cancelled the task of the tree; the block was cancelled
    :raises DuplicateChild: two children have one id
    :raises DuplicateRef: two actors have one address
    """
    root, ready, block = Supervisor(spec), anyio.Event(), anyio.CancelScope()
    left = cut_off = False

    def over(task: asyncio.Task[None]) -> None:
        nonlocal cut_off
        if task.cancelled() or task.exception() is not None:
            cut_off = not left
            block.cancel()

    # A plain task: a task group would wrap what the block raises, and what the tree raises, in a group.
    task = asyncio.get_running_loop().create_task(root.run(ready.set), name=root.path)
    task.add_done_callback(over)  # also when it never comes to its first step
    try:
        with block:
            await ready.wait()
            yield root
    finally:
        left = True
        root.request_stop()
        try:
            await outlast(task)
        finally:
            if not root.ended.is_set():  # it has never come to its first step
                root.terminate(None)
            if not task.cancelled():
                task.result()
    if cut_off:
        raise StrayCancellation
