"""Rate limits (PRD INF-SEC-004): a sliding window per key, in memory.

In memory and not in Redis, as the PRD has it: there is one process, and a webhook may cost Redis two commands in all.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Requests a minute, by the categories of PRD INF-SEC-004."""

    auth: int = 10
    webhook: int = 30
    read: int = 200
    write: int = 60
    analytics: int = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the limit says about one request; `reset_s` and `retry_after_s` are seconds from now."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that every rate-limited answer carries; the reset is in Unix seconds."""
        reset = math.ceil(time.time() + self.reset_s)
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % reset),
        ]


class _Window:
    __slots__ = ("count", "previous", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.previous = 0


class SlidingWindow:
    """At most `limit` requests per key and window, counted in O(1) memory per key.

    The window before the current one counts in proportion to how much of it still lies within the last `window_s`
    seconds. A key's first window begins with its first request, so that a burst from rest is counted exactly.
    Beyond `capacity` keys the one that was idle longest is forgotten.
    """

    def __init__(
        self,
        limit: int,
        *,
        window_s: float = 60.0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._window_s = window_s
        self._capacity = capacity
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, key: str) -> Verdict:
        """Count one request against `key`, unless it is over the limit: what was refused does not count."""
        now = self._clock()
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
            if len(self._windows) > self._capacity:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
            self._roll(window, now)
        used = self._used(window, now)
        allowed = used + 1 <= self.limit
        if allowed:
            window.count += 1
            used += 1
        return Verdict(
            allowed,
            self.limit,
            max(0, math.floor(self.limit - used)),
            window.since + self._window_s - now,
            0 if allowed else self._retry_after(window, now),
        )

    def _roll(self, window: _Window, now: float) -> None:
        passed = int((now - window.since) // self._window_s)
        if passed:
            window.previous = window.count if passed == 1 else 0
            window.count = 0
            window.since = window.since + self._window_s if passed == 1 else now

    def _used(self, window: _Window, now: float) -> float:
        left = 1.0 - (now - window.since) / self._window_s
        return window.previous * left + window.count

    def _retry_after(self, window: _Window, now: float) -> int:
        """Whole seconds until one more request fits."""
        room = self.limit - 1 - window.count
        fading = window.previous
        since = window.since
        if room < 0:  # the current window is full by itself: it has to become the previous one first
            room, fading, since = self.limit - 1, window.count, since + self._window_s
        share = min(1.0, max(0.0, room / fading)) if fading else 1.0
        return max(1, math.ceil(since + self._window_s * (1.0 - share) - now))
