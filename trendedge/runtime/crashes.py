"""What counts as a crash of the code of an actor: anything it raises that is not meant for its host or the process."""

import asyncio
import math
from collections.abc import Awaitable
from typing import Any

import anyio

from trendedge.runtime.errors import ForeignError, StrayCancellation
from trendedge.runtime.waits import is_running


async def in_errors[T](work: Awaitable[T]) -> T:
    """Await what may end with anything: that is an error of the work, and no cancellation of this task."""
    try:
        return await work
    except Exception:
        raise
    except BaseException as error:
        raise crash_of(error) from error


def crash_of(error: BaseException, task: asyncio.Task[Any] | None = None) -> Exception:
    """The crash that takes the place of what is no `Exception`; a cancellation is over with it.

    :param task: whose code has raised it, if that is known
    :raises BaseException: `error` itself, as `Entity.as_crash`
    """
    crash: Exception
    match error:
        case Exception():
            return error
        case asyncio.CancelledError() if not _is_cancelled():
            current = asyncio.current_task()
            while current is not None and current.cancelling():
                current.uncancel()
            crash = StrayCancellation()
        case GeneratorExit() if is_running(task):
            crash = ForeignError(error)  # raised by the code itself
        case asyncio.CancelledError() | KeyboardInterrupt() | SystemExit() | GeneratorExit():
            raise error
        case _:
            crash = ForeignError(error)
    crash.__cause__ = error
    return crash


def _is_cancelled() -> bool:
    """Whether a scope around this task is to end. Otherwise it awaited something that somebody else has cancelled, or
    has cancelled itself."""
    task = asyncio.current_task()
    return task is None or (task.cancelling() > 0 and anyio.current_effective_deadline() == -math.inf)
