"""What a process knows of its store's outages, and so of the others who could not renew a lease meanwhile."""

import time

from trendedge.storage.node import LeaseTimes

_TIME_TO_SAY_SO = 1.5
"""Heartbeats within which all who live have renewed their leases."""


class Outages:
    """Whether the leases of a store mean anything right now."""

    def __init__(self, times: LeaseTimes) -> None:
        self._times = times
        self._away = False
        self._answered_at = self._back_at = float("-inf")

    def failed(self) -> None:
        """It gave no answer."""
        self._away = True

    def answered(self) -> None:
        """It gave one. An outage has lasted since the answer before, as far as anybody knows. One that is shorter than
        a heartbeat costs nobody the lease: that was renewed one and a half heartbeats before at most, holds for three,
        and is renewed within a second of the store's return.
        """
        now = time.monotonic()
        if self._away:
            self._away = False
            if now - self._answered_at > self._times.heartbeat_s:
                self._back_at = now
        self._answered_at = now

    @property
    def just_back(self) -> bool:
        """Nobody could renew a lease until a moment ago, and not all who live have had the time for it since."""
        return time.monotonic() - self._back_at < _TIME_TO_SAY_SO * self._times.heartbeat_s
