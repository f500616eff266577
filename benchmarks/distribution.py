"""Percentiles of a set of durations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile of ascending values: always one that was measured, never an interpolation.

    :raises ValueError: there are no values
    """
    if not ordered:
        raise ValueError("no values")
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How long something took, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, durations_s: Sequence[float]) -> "Distribution | None":
        """Summarise durations in seconds; None when there are none, which is not the same as zero."""
        if not durations_s:
            return None
        ordered = sorted(durations_s)
        p50, p95, p99 = (round(percentile(ordered, percent) * 1e3, 3) for percent in (50, 95, 99))
        return cls(count=len(ordered), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=round(ordered[-1] * 1e3, 3))
