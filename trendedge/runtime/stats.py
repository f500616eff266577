"""What a cell counts about itself. Plain attributes: counting must cost next to nothing, and reading nothing at all."""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Any

from trendedge.runtime.history import History

SAMPLES = 512
MARK_EVERY_S = 5.0
MARKS = 13
"""Marks that span a minute."""


@dataclass(slots=True)
class Stats:
    """Counters since the process began, and the durations of the last handlers."""

    handled: int = 0
    failed: int = 0
    """Handler runs that ended in an exception which is not an answer."""
    dropped: int = 0
    """Messages that were taken out unhandled: by the overflow policy, with the incarnation that sent them, or because
    the actor was stopped before their turn. What is journalled is never dropped."""
    expired: int = 0
    """Messages whose turn came after their deadline."""
    buried: int = 0
    restarts: int = 0
    durations_s: deque[float] | None = None
    waits_s: deque[float] | None = None
    """How long the last messages waited for their turn. None before the first, as an idle actor should cost little."""
    last_failure: str | None = None
    """What the last handler that failed has failed of, or an instance over no message."""
    last_failure_at: float = -inf
    """Event loop time of that, seconds."""
    history: History | None = None
    """The last restarts of instances of a keyed actor."""
    marks: deque[tuple[float, int]] | None = None
    """(loop time, `handled` then), about a minute back."""

    def began(self, waited_s: float) -> None:
        """A handler begins, of a message that has waited so long."""
        if self.waits_s is None:
            self.waits_s = deque(maxlen=SAMPLES)
        self.waits_s.append(waited_s)

    def ended(self, seconds: float) -> None:
        """A handler has returned, after so long."""
        if self.durations_s is None:
            self.durations_s = deque(maxlen=SAMPLES)
        self.durations_s.append(seconds)

    def note_failure(self, now: float, what: str) -> None:
        """Remember the newest failure."""
        self.last_failure, self.last_failure_at = what, now

    def mark(self, now: float) -> None:
        """Remember how far it is; to be called every `MARK_EVERY_S`, by whoever looks at all actors."""
        if self.marks is None:
            if not self.handled:
                return
            self.marks = deque([(now - MARK_EVERY_S, 0)], maxlen=MARKS)
        self.marks.append((now, self.handled))

    def rate_per_s(self, now: float) -> float:
        """Messages handled a second, over about the last minute; 0 while nobody marks."""
        if self.marks is None:
            return 0.0
        since, handled = self.marks[0]
        return round((self.handled - handled) / (now - since), 3) if now > since else 0.0

    def latency_ms(self) -> dict[str, float | None]:
        """Percentiles of the time in `receive`, milliseconds, over the last 512 messages."""
        return percentiles_ms(self.durations_s)

    def wait_ms(self) -> dict[str, float | None]:
        """Percentiles of the time between arrival and the begin of the handler, milliseconds, as `latency_ms`."""
        return percentiles_ms(self.waits_s)


_NOTHING: dict[str, float | None] = {"p50": None, "p95": None, "p99": None}


def percentiles_ms(samples: deque[float] | None) -> dict[str, float | None]:
    """Percentiles of `samples` (seconds) in milliseconds: keys p50, p95, p99, each None where there is no sample."""
    if not samples:
        return dict(_NOTHING)
    ordered = sorted(samples)
    return {name: rank(ordered, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def rank(ordered: list[float], share: float) -> float | None:
    """Nearest-rank percentile, in milliseconds."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3)


def describe(message: Any) -> str:
    """Name of a message's type: what may be shown of a message without showing what is in it."""
    return type(message).__name__
