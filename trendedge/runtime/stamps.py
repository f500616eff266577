"""In which order a process has appended, whichever store has taken what."""

import time
from collections.abc import Callable


class Stamps:
    """Microseconds since 1970 by this process's own clock, each larger than the one before, though it be set back.

    A store's own clock puts its own entries in order; those of two stores it does not, since what each says of it is on
    its way for a while.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._last = 0

    def next(self) -> int:
        """The stamp of what is appended now."""
        self._last = max(self._clock_ns() // 1000, self._last + 1)
        return self._last

    def seen(self, stamp: int) -> None:
        """This was appended before: what is appended from now on comes behind it."""
        self._last = max(self._last, stamp)

    def of_age(self, age_s: float) -> int:
        """What an entry of this age would have been stamped."""
        return self._clock_ns() // 1000 - round(age_s * 1_000_000)
