"""What became of each alert: the one place that decides what was lost and what was doubled.

Pure bookkeeping: times are handed in, nothing is waited for. An event may come before the answer to the POST that
caused it, because they travel on different connections; it is then kept until the answer names its signal.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from benchmarks.distribution import Distribution
from benchmarks.events import TradeEvent, read_event, read_receipt
from benchmarks.target import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The sum of a run. `sent = accepted + refused + failed`, `accepted = delivered + lost`."""

    sent: int
    accepted: int
    """Acknowledged as new (2xx, and not as a duplicate)."""
    refused: int
    """Answered, and not acknowledged."""
    failed: int
    """Not answered: connection lost or time-out. Nobody knows whether they were executed."""
    delivered: int
    """Acknowledged, and all events that they cause have arrived."""
    lost: int
    doubled: int
    """Events beyond those that an alert causes."""
    stray: int
    """Trade events that belong to no acknowledged alert of this run."""
    answers: dict[str, int]
    """How often each status was answered; `duplicate` apart from its 2xx."""

    @property
    def problems(self) -> list[str]:
        """What no load excuses. A stray event is excused by a POST that failed: that alert may have been executed."""
        found = [f"{self.lost} lost"] if self.lost else []
        found += [f"{self.doubled} doubled"] if self.doubled else []
        found += [f"{self.stray} stray events"] if self.stray > self.failed else []
        return found


@dataclass(slots=True)
class _Alert:
    due_at: float
    sent_at: float
    events_due: int
    answered_at: float | None = None
    accepted: bool = False
    delivered_at: float | None = None
    marks: set[tuple[str, str]] = field(default_factory=set)
    doubled: int = 0


class Ledger:
    """The alerts of one run, and the events of one socket."""

    def __init__(self, match: Match) -> None:
        self._match = match
        self._alerts: dict[str, _Alert] = {}
        self._by_key: dict[str, _Alert] = {}
        self._unclaimed: defaultdict[str, list[tuple[TradeEvent, float]]] = defaultdict(list)
        self._answers: Counter[str] = Counter()
        self._undelivered = 0

    def send(self, alert_id: str, *, due_at: float, sent_at: float, events_due: int = 1) -> None:
        """An alert goes out. `due_at` is when it should have: latencies count from there, so that a generator or a
        server that falls behind cannot hide it. A reverse causes two events, any other alert one."""
        alert = _Alert(due_at=due_at, sent_at=sent_at, events_due=events_due)
        self._alerts[alert_id] = alert
        if self._match is Match.ALERT_ID:
            self._claim(alert_id, alert)

    def answer(self, alert_id: str, *, status: int, body: bytes, at: float) -> None:
        """The POST of an alert was answered."""
        alert, receipt = self._alerts[alert_id], read_receipt(body)
        alert.answered_at = at
        duplicate = receipt.status == "duplicate"
        self._answers["duplicate" if duplicate else str(status)] += 1
        if not 200 <= status < 300 or duplicate:
            return
        alert.accepted = True
        self._undelivered += alert.delivered_at is None
        if self._match is Match.SIGNAL_ID and receipt.key is not None:
            self._claim(receipt.key, alert)

    def frame(self, payload: bytes, at: float) -> None:
        """A text frame arrived. Frames that are no trade events are ignored."""
        event = read_event(payload, self._match)
        if event is None:
            return
        alert = self._by_key.get(event.key)
        if alert is None:
            self._unclaimed[event.key].append((event, at))
        else:
            self._deliver(alert, event, at)

    @property
    def undelivered(self) -> int:
        """Acknowledged alerts that wait for an event."""
        return self._undelivered

    @property
    def first_event_at(self) -> float | None:
        """When the first acknowledged alert was delivered; None before that."""
        times = (a.delivered_at for a in self._alerts.values() if a.accepted)
        return min((at for at in times if at is not None), default=None)

    def counts(self) -> Counts:
        """The sum so far. What is undelivered counts as lost, so wait before you ask."""
        alerts = self._alerts.values()
        accepted = [alert for alert in alerts if alert.accepted]
        answered = sum(alert.answered_at is not None for alert in alerts)
        delivered = sum(alert.delivered_at is not None for alert in accepted)
        unacknowledged = sum(len(a.marks) + a.doubled for a in alerts if not a.accepted)
        return Counts(
            sent=len(alerts),
            accepted=len(accepted),
            refused=answered - len(accepted),
            failed=len(alerts) - answered,
            delivered=delivered,
            lost=len(accepted) - delivered,
            doubled=sum(alert.doubled for alert in accepted),
            stray=unacknowledged + sum(map(len, self._unclaimed.values())),
            answers=dict(sorted(self._answers.items())),
        )

    def post_latency(self) -> Distribution | None:
        """From when a POST was due to its whole answer, whatever the answer was."""
        return Distribution.of([a.answered_at - a.due_at for a in self._alerts.values() if a.answered_at is not None])

    def event_latency(self) -> Distribution | None:
        """From when a POST was due to the last event that it causes."""
        times = [a.delivered_at - a.due_at for a in self._alerts.values() if a.delivered_at is not None]
        return Distribution.of(times)

    def send_lag(self) -> Distribution | None:
        """How late this tool itself was. Large values mean that the tool, and not the server, was measured."""
        return Distribution.of([a.sent_at - a.due_at for a in self._alerts.values()])

    def _claim(self, key: str, alert: _Alert) -> None:
        self._by_key[key] = alert
        for event, at in self._unclaimed.pop(key, []):
            self._deliver(alert, event, at)

    def _deliver(self, alert: _Alert, event: TradeEvent, at: float) -> None:
        if event.mark in alert.marks or alert.delivered_at is not None:
            alert.doubled += 1
            return
        alert.marks.add(event.mark)
        if len(alert.marks) == alert.events_due:
            alert.delivered_at = at
            self._undelivered -= alert.accepted
