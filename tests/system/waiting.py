"""Waiting for something to become true, never for time to pass."""

from collections.abc import Awaitable, Callable

import anyio

PATIENCE_S = 30.0
"""Bounds a wait that would otherwise never end. How long things take is measured elsewhere."""

_PAUSE_S = 0.02


async def eventually[T](ask: Callable[[], Awaitable[T | None]], what: str, *, within_s: float = PATIENCE_S) -> T:
    """Ask again and again until the answer is neither None nor False; that answer.

    :raises AssertionError: it never was within `within_s` seconds; `what` says what was waited for
    """
    with anyio.move_on_after(within_s):
        while True:
            answer = await ask()
            if answer is not None and answer is not False:
                return answer
            await anyio.sleep(_PAUSE_S)
    raise AssertionError(f"not within {within_s:g} s: {what}")
