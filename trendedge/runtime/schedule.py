"""One schedule: when it fires, what it posts, and what has become of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, assert_never

from trendedge.runtime.bounds import at_least
from trendedge.runtime.errors import said, text_of
from trendedge.runtime.ref import ActorRef
from trendedge.runtime.trigger import MOST_CAUGHT_UP, TICK, Cron, Every, fires_between, last_fire
from trendedge.runtime.voice import log


class Misfire(Enum):
    """What is done with fires that were missed: the loop was busy, the machine slept, the process was down."""

    SKIP = "skip"
    """Nothing: the next one comes at its time."""
    ONCE = "once"
    """One message for all of them: the next one that is on time, when it comes together with them."""
    ALL = "all"
    """One message for each, in order; of more than a thousand at once for the first thousand and the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec[M]:
    """A schedule as data.

    :raises ValueError: `grace_s` is less than 0
    """

    id: str
    when: Cron | Every
    target: ActorRef[M]
    message: Callable[[datetime], M]
    """Makes the message, from the moment (UTC) for which it was due."""
    misfire: Misfire = Misfire.SKIP
    grace_s: float = 1.0
    """A fire that comes later than this many seconds counts as missed. Those that come within it are all posted."""

    def __post_init__(self) -> None:
        at_least(0, grace_s=self.grace_s)


def chosen(misfire: Misfire, dues: Sequence[datetime], *, missed: int) -> Sequence[datetime]:
    """Of the fires that are due together, the oldest first, those to post; the first `missed` of them are late."""
    match misfire:
        case Misfire.SKIP:
            return dues[missed:]
        case Misfire.ONCE:
            return dues[min(missed, len(dues) - 1) :]
        case Misfire.ALL:
            return dues
        case _:
            assert_never(misfire)


class Schedule:
    """One schedule, and what has become of it."""

    def __init__(self, spec: ScheduleSpec[Any]) -> None:
        self.spec = spec
        self.last_due: datetime | None = None
        self.last_run_at: datetime | None = None
        self.last_outcome: str | None = None
        self.runs = self.missed = self.refused = 0

    def due(self, now: datetime) -> list[datetime]:
        """The fires since the last one: the first thousand, and the latest; what lies in between is given up."""
        when, since = self.spec.when, self.last_due or now
        dues = fires_between(when, since, now)
        if len(dues) == MOST_CAUGHT_UP and (latest := last_fire(when, dues[-1], now)) > dues[-1]:
            if next(when.fires(dues[-1] + TICK, anchor=since)) < latest:
                log.warning("fires given up", schedule=self.spec.id, after=rfc3339(dues[-1]), before=rfc3339(latest))
            dues.append(latest)
        return dues

    def fire(self, dues: Sequence[datetime]) -> None:
        """Do what the policy says with fires that are due now."""
        on_time_since = datetime.now(UTC) - timedelta(seconds=self.spec.grace_s)
        missed = sum(due < on_time_since for due in dues)
        self.missed += missed
        self.last_due = dues[-1]
        if missed:
            log.warning("schedule missed", schedule=self.spec.id, missed=missed, misfire=self.spec.misfire.value)
        posts = chosen(self.spec.misfire, dues, missed=missed)
        if not posts:
            self.last_outcome = "skipped: missed"
        for due in posts:
            try:
                self.post(due)
            except Exception as error:  # of a full mailbox, of an actor that has ended, of whoever makes the message
                log.error("schedule refused", alert="schedule_refused", schedule=self.spec.id, error=text_of(error))

    def post(self, due: datetime) -> None:
        """Post its message, and note how that went."""
        self.last_run_at = datetime.now(UTC)
        try:
            self.spec.target.tell_nowait(self.spec.message(due.astimezone(UTC)))
        except Exception as error:
            self.refused += 1
            self.last_outcome = f"refused: {said(error)}"
            raise
        self.runs += 1
        self.last_outcome = "posted"

    def snapshot(self, *, running: bool, next_run_at: datetime | None) -> dict[str, Any]:
        """For JSON."""
        when = self.spec.when
        return {
            "id": self.spec.id,
            "trigger": str(when),
            "timezone": when.timezone if isinstance(when, Cron) else None,
            "misfire": self.spec.misfire.value,
            "target": self.spec.target.name,
            "running": running,
            "next_run_at": rfc3339(next_run_at),
            "last_due_at": rfc3339(self.last_due),
            "last_run_at": rfc3339(self.last_run_at),
            "last_outcome": self.last_outcome,
            "runs": self.runs,
            "missed": self.missed,
            "refused": self.refused,
        }


def rfc3339(moment: datetime | None) -> str | None:
    """In UTC, with milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
