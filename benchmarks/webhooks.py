"""Latency of webhooks and of the events that they cause, at a fixed rate."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.distribution import Distribution
from benchmarks.flatten import flatten
from benchmarks.ledger import Counts
from benchmarks.pacer import paced
from benchmarks.session import Patience, open_session
from benchmarks.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRun:
    """What came of `rate` alerts a second for `seconds`. Latencies count from when each alert was due."""

    rate: float
    seconds: float
    counts: Counts
    post: Distribution | None
    event: Distribution | None
    send_lag: Distribution | None
    """How late this tool sent. A p99 of some milliseconds means that the tool was the bottleneck."""

    def holds(self, limit_ms: float) -> bool:
        """Was every alert acknowledged and delivered, and the event's p95 under the limit?"""
        whole = self.counts.delivered == self.counts.sent and not self.counts.problems
        return whole and self.event is not None and self.event.p95_ms < limit_ms

    @property
    def problems(self) -> list[str]:
        """What no load excuses, in words; a run that was answered nothing measured nothing."""
        found = list(self.counts.problems)
        if self.counts.accepted == 0:
            found.append(f"nothing accepted ({self.counts.answers or 'no answer'})")
        return [f"webhooks at {self.rate:g}/s: {problem}" for problem in found]


async def run_webhooks(target: Target, *, rate: float, seconds: float, patience: Patience | None = None) -> WebhookRun:
    """Send `rate * seconds` alerts, open loop, and wait for what they cause.

    :raises SocketRefused, OSError: there is nothing to listen to
    """
    await flatten(target)
    connections = min(max(int(rate / 10), 4), 64)
    async with open_session(target, connections=connections) as session:

        def send(_number: int, due_at: float) -> None:
            session.fire(due_at)

        with collector_off():
            await paced(max(1, round(rate * seconds)), rate=rate, send=send)
            await session.settle(patience or Patience())
    ledger = session.ledger
    return WebhookRun(
        rate=rate,
        seconds=seconds,
        counts=ledger.counts(),
        post=ledger.post_latency(),
        event=ledger.event_latency(),
        send_lag=ledger.send_lag(),
    )


@contextmanager
def collector_off() -> Iterator[None]:
    """Collect garbage before, not during: a pause of this tool would show as the server's latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
