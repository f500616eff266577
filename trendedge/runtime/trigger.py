"""When a schedule fires: by the calendar, or at equal distances."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

MOST_CAUGHT_UP = 1000
"""Fires of one absence that are looked at. Each second of a month would be two and a half million."""

TICK = timedelta(microseconds=1)
"""The shortest time: APScheduler's "next" includes the moment from which one asks."""


@dataclass(frozen=True, slots=True)
class Cron:
    """At times of the calendar: minute, hour, day of month, month, day of week, as in a crontab.

    An hour that summer time leaves out is made up for an hour later; one that comes twice counts twice.

    :raises ValueError: not five fields, not a time, weekdays as numbers (cron's Sunday would be APScheduler's Monday),
        or no such timezone
    """

    expression: str
    timezone: str
    """IANA name, for example `America/Chicago`."""

    def __post_init__(self) -> None:
        fields = self.expression.split()
        if len(fields) == 5 and any(char.isdigit() for char in fields[4]):
            raise ValueError(f"{self}: days of the week are mon, tue, ... and not numbers")
        try:
            self.trigger(datetime.now(UTC))
        except (ValueError, LookupError) as error:
            raise ValueError(f"{self}: {error}") from error

    def __str__(self) -> str:
        return f"cron {self.expression}"

    def trigger(self, anchor: datetime) -> CronTrigger:
        """In APScheduler's terms. The calendar needs no `anchor`."""
        del anchor
        return CronTrigger.from_crontab(self.expression, timezone=self.timezone)


@dataclass(frozen=True, slots=True)
class Every:
    """At equal distances, counted from the last fire that is remembered, or else from the start.

    :raises ValueError: not more than 0 seconds
    """

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"every {self.seconds} s: must be more than 0")

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"

    def trigger(self, anchor: datetime) -> IntervalTrigger:
        """In APScheduler's terms: fires at `anchor` and each multiple of the distance from there."""
        return IntervalTrigger(seconds=self.seconds, start_date=anchor, timezone=UTC)


def fires_between(
    when: Cron | Every, after: datetime, until: datetime, *, most: int = MOST_CAUGHT_UP
) -> list[datetime]:
    """The moments at which it fires later than `after` and not later than `until`, the first `most` of them."""
    trigger = when.trigger(after)
    fires: list[datetime] = []
    due = trigger.get_next_fire_time(None, after + TICK)
    while due is not None and due <= until and len(fires) < most:
        fires.append(due)
        due = trigger.get_next_fire_time(due, until)
    return fires
