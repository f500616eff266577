"""When a schedule fires: by the calendar, or at equal distances."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from heapq import heappop, heappush, merge
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

MOST_CAUGHT_UP = 1000
"""Fires of one absence that are looked at, and the latest one besides. Each second of a month would be two and a half
million."""

TICK = timedelta(microseconds=1)
"""The shortest time: "next" includes the moment from which one asks."""
_LEAP_YEAR = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
"""Clocks are not put forward or back by more."""


@dataclass(frozen=True, slots=True)
class Cron:
    """At times of the calendar: minute, hour, day of month, month, day of week, as in a crontab.

    When both kinds of days are given (begin with no `*`), either is enough, as crontab(5) has it.
    What summer time leaves out is made up for as much later as the clocks are put forward: half past two is then half
    past three. What comes twice counts twice. Two times of the calendar that are the same moment then are one fire.

    :raises ValueError: not five fields, not a time, weekdays as numbers (cron's Sunday would be APScheduler's Monday),
        a day that no month has, or no such timezone
    """

    expression: str
    timezone: str
    """IANA name, for example `America/Chicago`."""

    def __post_init__(self) -> None:
        fields = self.expression.split()
        if len(fields) == 5 and any(char.isdigit() for char in fields[4]):
            raise ValueError(f"{self}: days of the week are mon, tue, ... and not numbers")
        try:
            ZoneInfo(self.timezone)
            _calendars(self.expression)
        except (ValueError, LookupError) as error:
            raise ValueError(f"{self}: {error}") from error

    def __str__(self) -> str:
        return f"cron {self.expression}"

    def fires(self, since: datetime, *, anchor: datetime) -> Iterator[datetime]:
        """The moments (UTC) at which it fires, from `since` on. The calendar needs no `anchor`."""
        del anchor
        since = since.astimezone(UTC)
        ahead, last = list[datetime](), None
        for wall in self._walls(since):
            once, again = self._read(wall)
            while ahead and ahead[0] < min(once, again):  # no time of the calendar that is still to come is earlier
                if (due := heappop(ahead)) != last:
                    yield (last := due)
            # Of a time that is left out, the second reading is the earlier one, and none.
            for due in {once, max(once, again)}:
                if due >= since:
                    heappush(ahead, due)

    def _walls(self, since: datetime) -> Iterator[datetime]:
        """The times of the calendar whose moment may be `since` or later, oldest first, labelled as if they were UTC.

        APScheduler looks for them on a clock without summer time: on another it loses some when it is put forward.
        """
        zone = ZoneInfo(self.timezone)
        offsets = [(since + by).astimezone(zone).utcoffset() or timedelta() for by in (-_DAY, timedelta(), _DAY)]
        return merge(*(_times(calendar, since + min(offsets)) for calendar in _calendars(self.expression)))

    def _read(self, wall: datetime) -> tuple[datetime, datetime]:
        """The moments (UTC) of a time of the calendar: by the clock before a change, and by the clock after it."""
        zone = ZoneInfo(self.timezone)
        once, again = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return once, again


@dataclass(frozen=True, slots=True)
class Every:
    """At equal distances, counted from the last fire that is remembered, or else from the start.

    While the process runs, a wall clock that is set back makes none of them longer; with one that is set forward, or
    that went on while the machine slept, those that lie in between were missed.

    :raises ValueError: not more than 0 seconds, or less than a clock can tell: a microsecond
    """

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= TICK.total_seconds():
            raise ValueError(f"every {self.seconds} s: must be more than 0, and a microsecond at least")

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"

    def fires(self, since: datetime, *, anchor: datetime) -> Iterator[datetime]:
        """The moments (UTC) at which it fires, from `since` on: `anchor`, and after each multiple of the distance."""
        distance = timedelta(seconds=self.seconds)
        due = anchor.astimezone(UTC) + max(0, -((anchor - since) // distance)) * distance
        while True:
            yield due
            due += distance


@lru_cache(maxsize=256)
def _calendars(expression: str) -> list[CronTrigger]:
    """One, or two of which either is enough: for APScheduler all fields must match."""
    fields = expression.split()
    variants = [fields]
    if len(fields) == 5 and not fields[2].startswith("*") and not fields[4].startswith("*"):
        variants = [[*fields[:4], "*"], [*fields[:2], "*", *fields[3:]]]
    calendars = [CronTrigger.from_crontab(" ".join(variant), timezone=UTC) for variant in variants]
    # One without any day would be searched through to the end of all years, each time.
    if not (with_days := [one for one in calendars if next(_times(one, _LEAP_YEAR), None) is not None]):
        raise ValueError("there is no such day")
    return with_days


def _times(calendar: CronTrigger, since: datetime) -> Iterator[datetime]:
    due = calendar.get_next_fire_time(None, since)
    while due is not None:
        yield due
        due = calendar.get_next_fire_time(None, due + TICK)


def fires_between(
    when: Cron | Every, after: datetime, until: datetime, *, most: int = MOST_CAUGHT_UP
) -> list[datetime]:
    """The moments at which it fires later than `after` and not later than `until`, the first `most` of them."""
    return list(islice(takewhile(lambda due: due <= until, when.fires(after + TICK, anchor=after)), most))


def last_fire(when: Cron | Every, known: datetime, until: datetime) -> datetime:
    """The latest moment, not later than `until`, at which it fires; `known` is one of them.

    Found by halving the time in between: there may be more fires than anybody wants to count.
    """
    latest, early, late = known, known, until
    while late - early > TICK:
        middle = early + (late - early) / 2
        due = next(when.fires(middle, anchor=known), None)
        if due is not None and due <= until:
            latest = early = due
        else:
            late = middle
    return latest
