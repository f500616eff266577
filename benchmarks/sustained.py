"""The highest rate of alerts whose events still arrive in time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.progress import show
from benchmarks.target import Target
from benchmarks.webhooks import WebhookRun, run_webhooks

Probe = Callable[[float], Awaitable[bool]]
"""Does this rate hold? Answers may vary from one time to the next."""

ATTEMPTS = 2
"""A rate holds when one of so many attempts does: one hiccup of a shared machine is not the limit of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBounds:
    """Where to search, and how closely."""

    start: float = 100.0
    ceiling: float = 3200.0
    """A rate that the tool itself can still send. It is reported as a floor when even this one holds."""
    resolution: float = 0.05
    """Stop when the bracket is narrower than this part of its lower end."""
    limit_ms: float = 100.0
    """For the p95 of the way from webhook to event (PRD's own bound for the whole way)."""
    seconds: float = 6.0
    """Length of one attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedRate:
    """The result of the search, and every attempt on the way."""

    rate: float | None
    """Alerts a second; None when not even the lowest rate tried held."""
    at_ceiling: bool
    """The search ended at its ceiling: the server can do more than this."""
    limit_ms: float
    attempts: tuple[WebhookRun, ...]

    @property
    def problems(self) -> list[str]:
        return [problem for attempt in self.attempts for problem in attempt.problems]


async def find_highest(holds: Probe, *, bounds: SearchBounds) -> float | None:
    """Double while it holds, halve until it does, then bisect. None when a sixteenth of the start does not hold."""
    low, high = bounds.start, bounds.ceiling
    if await holds(low):
        while low < bounds.ceiling:
            step = min(low * 2, bounds.ceiling)
            if not await holds(step):
                high = step
                break
            low = step
        else:
            return low
    else:
        while not await holds(low / 2):
            low /= 2
            if low <= bounds.start / 16:
                return None
        low, high = low / 2, low
    while high - low > low * bounds.resolution:
        middle = (low + high) / 2
        low, high = (middle, high) if await holds(middle) else (low, middle)
    return low


async def find_sustained_rate(target: Target, *, bounds: SearchBounds) -> SustainedRate:
    """Search the highest rate that holds `bounds.limit_ms`, with everything acknowledged and delivered.

    :raises SocketRefused, OSError: there is nothing to listen to
    """
    attempts: list[WebhookRun] = []

    async def holds(rate: float) -> bool:
        for _ in range(ATTEMPTS):
            run = await run_webhooks(target, rate=rate, seconds=bounds.seconds)
            attempts.append(run)
            held = run.holds(bounds.limit_ms)
            p95 = "no event" if run.event is None else f"p95 {run.event.p95_ms:.1f} ms"
            show(f"  {rate:.0f}/s {'holds' if held else 'does not hold'} ({p95})")
            if held:
                return True
        return False

    rate = await find_highest(holds, bounds=bounds)
    at_ceiling = rate is not None and rate >= bounds.ceiling
    return SustainedRate(rate=rate, at_ceiling=at_ceiling, limit_ms=bounds.limit_ms, attempts=tuple(attempts))
