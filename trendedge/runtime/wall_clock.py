"""The wall clock beside the event loop's, which nobody sets."""

import asyncio
import math
from collections.abc import Callable
from datetime import datetime, timedelta

from trendedge.runtime.clock import clock_of

LEAST_S = 0.1
"""A clock that is set back by less is not worth a word."""


class WallClock:
    """Notices that the wall clock was set back. That it was set forward looks as if the machine had slept."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """:param now: reads it"""
        self._now = now
        self._ahead_s = -math.inf
        """Seconds by which it was ahead of the loop's clock, at least, when it was looked at last."""

    def set_back(self) -> timedelta:
        """By how much it was set back since it was looked at last; 0 when it was not, or by less than `LEAST_S`."""
        loop = clock_of(asyncio.get_running_loop())
        # In between: a pause between two readings, however long, must not look like another time.
        before, wall, after = loop(), self._now().timestamp(), loop()
        back_s = self._ahead_s - (wall - before)
        if back_s < LEAST_S:
            self._ahead_s = max(self._ahead_s, wall - after)
            return timedelta()
        self._ahead_s = wall - after
        return timedelta(seconds=back_s)
