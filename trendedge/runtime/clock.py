"""The event loop's clock, as fine as it gets."""

import asyncio
import time
from collections.abc import Callable


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """`loop.time`, seconds; under uvloop, which cuts it to milliseconds and reads it once a turn, the clock behind it.

    Every other loop is asked, for its time may be virtual, as a simulation's is.
    """
    return time.monotonic if type(loop).__module__ == "uvloop" else loop.time
