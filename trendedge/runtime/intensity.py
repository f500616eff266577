"""How many restarts are too many (OTP's `intensity` and `period`)."""

from trendedge.runtime.errors import IntensityExceeded


class Intensity:
    """Counts restarts within a sliding period."""

    __slots__ = ("_times", "intensity", "period_s")

    def __init__(self, intensity: int, period_s: float) -> None:
        self.intensity = intensity
        self.period_s = period_s
        self._times: tuple[float, ...] = ()  # not a list: that is 72 bytes for each actor that never crashes

    def record(self, supervisor: str, child: str, now: float) -> int:
        """Count one restart at `now` (seconds of any steady clock); answers how many fall into the period.

        :raises IntensityExceeded: this one is more than `intensity` allows
        """
        self._times = (*(time for time in self._times if time > now - self.period_s), now)
        if len(self._times) > self.intensity:
            raise IntensityExceeded(supervisor, child, len(self._times), self.period_s)
        return len(self._times)

    def begin_anew(self) -> None:
        """Whoever counts has been restarted, which his own supervisor has counted."""
        self._times = ()

    def recent(self, now: float) -> int:
        """Restarts within the period that ends at `now`."""
        return sum(1 for time in self._times if time > now - self.period_s)
