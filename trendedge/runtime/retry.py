"""Retry policies are data: how often, how long apart, and what is not a failure of the message at all."""

import random
from dataclasses import dataclass

from trendedge.runtime.bounds import at_least, delays


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays between the attempts at one message. After the last one it is buried with its cause."""

    delays_s: tuple[float, ...] = ()
    jitter: float = 0.0
    """Each delay is stretched by a random share of up to this much (0.1 is 10 %)."""
    outage: tuple[type[Exception], ...] = ()
    """Errors that say nothing about the message (a store is down): they use up no attempt and are retried forever."""
    hopeless: tuple[type[Exception], ...] = ()
    """Errors that no further attempt can mend: the message is given up at once."""
    outage_delays_s: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0)
    """Delays during an outage; the last one repeats."""
    max_deliveries: int = 3
    """Handler runs that ended with the death of the process before the message is buried."""

    def __post_init__(self) -> None:
        """:raises ValueError: an outage has no delay, so that it would be retried without end and without a pause; or
        a delay, a share or a number is less than can be
        """
        if not self.outage_delays_s:
            raise ValueError("outage_delays_s is empty: an outage is retried for ever, and needs a pause")
        delays(delays_s=self.delays_s, outage_delays_s=self.outage_delays_s)
        at_least(0, jitter=self.jitter)
        at_least(1, max_deliveries=self.max_deliveries)

    def delay_s(self, attempts: int) -> float | None:
        """Seconds to wait after the `attempts`-th failed attempt (from 1), or None when there is no further one."""
        if attempts > len(self.delays_s):
            return None
        return self._stretched(self.delays_s[attempts - 1])

    def outage_delay_s(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th consecutive outage error (from 1)."""
        return self._stretched(self.outage_delays_s[min(failures, len(self.outage_delays_s)) - 1])

    def _stretched(self, delay_s: float) -> float:
        return delay_s * (1 + self.jitter * random.random())  # noqa: S311 - spreads retries, guards no secret
