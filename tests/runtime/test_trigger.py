"""When schedules fire, also where clocks are put forward and back."""

from datetime import UTC, datetime, timedelta

import pytest

from trendedge.runtime import Cron, Every
from trendedge.runtime.trigger import fires_between, last_fire

CHICAGO = "America/Chicago"
LORD_HOWE = "Australia/Lord_Howe"
"""Puts its clocks forward by half an hour."""
APIA = "Pacific/Apia"
"""Has left out a whole day."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(expression: str, zone: str, after: str, until: str) -> list[str]:
    found = fires_between(Cron(expression, zone), utc(after), utc(until))
    return [f"{due.astimezone(UTC):%dT%H:%M}" for due in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/30 2 * * *", ["08T08:00", "08T08:30"]),
        ("30 2 * * *", ["08T08:30"]),
        ("30 2,3 * * *", ["08T08:30"]),
        ("30 1-3 * * *", ["08T07:30", "08T08:30"]),
    ],
)
def test_an_hour_that_is_left_out_is_made_up_for_whole_and_once(expression: str, expected: list[str]) -> None:
    assert fires(expression, CHICAGO, "2026-03-08T06:00", "2026-03-08T12:00") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 1 15 * wed", ["04", "11", "15", "18", "25"]),
        ("0 1 4 * wed", ["04", "11", "18", "25"]),
        ("0 1 * * wed", ["04", "11", "18", "25"]),
        ("0 1 15 * *", ["15"]),
        ("0 1 */8 * wed", ["25"]),
    ],
)
def test_of_both_kinds_of_days_either_is_enough_as_in_a_crontab(expression: str, expected: list[str]) -> None:
    found = fires_between(Cron(expression, "UTC"), utc("2026-11-02T00:00"), utc("2026-11-30T00:00"))
    assert [f"{due:%d}" for due in found] == expected


def test_of_a_change_by_half_an_hour_the_moments_come_in_their_order() -> None:
    found = fires("*/15 2 * * *", LORD_HOWE, "2026-10-03T12:00", "2026-10-04T12:00")
    assert found == ["03T15:30", "03T15:45"]  # 2:00 and 2:15, and at the same moments 2:30 and 2:45


def test_a_day_that_is_left_out_is_made_up_for_a_day_later() -> None:
    assert fires("0 12 30 12 *", APIA, "2011-12-28T00:00", "2012-01-03T00:00") == ["30T22:00"]
    assert fires("0 12 * * *", APIA, "2011-12-29T00:00", "2012-01-01T00:00") == ["29T22:00", "30T22:00", "31T22:00"]


@pytest.mark.parametrize("expression", ["*/20 * * * *", "30 2 * * *", "40 1 * * *", "15,45 0-3 * * sun"])
@pytest.mark.parametrize(("zone", "day"), [(CHICAGO, "2026-03-08"), (CHICAGO, "2026-11-01"), (LORD_HOWE, "2026-10-03")])
def test_what_is_due_does_not_depend_on_when_one_asks(expression: str, zone: str, day: str) -> None:
    cron, began = Cron(expression, zone), utc(day)
    ends = began + timedelta(days=2)
    known = fires_between(cron, began, ends)
    for minutes in range(10, 1440, 40):
        asked = began + timedelta(minutes=minutes)
        assert fires_between(cron, asked, ends) == [due for due in known if due > asked]


@pytest.mark.parametrize("when", [Every(7), Every(1 / 3), Cron("*/5 1-3 * * *", CHICAGO), Cron("0 3 * * sun", CHICAGO)])
def test_the_latest_fire_is_found_without_looking_at_those_before_it(when: Cron | Every) -> None:
    began = utc("2026-03-01T09:00")
    known = fires_between(when, began, utc("2026-04-02T00:00"))
    for until in (known[-1], known[-1] + timedelta(microseconds=1), known[-2], known[len(known) // 2], known[0]):
        assert last_fire(when, known[0], until) == max(due for due in known if due <= until)
