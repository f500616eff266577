from datetime import UTC, date, datetime

import pytest

from trendedge.domain.sessions import CHICAGO, session_at, trading_day


def chicago(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO).astimezone(UTC)


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        ("2026-02-15T16:59:59.999999", False),  # Sunday
        ("2026-02-15T17:00", True),
        ("2026-02-16T15:59:59", True),  # Monday
        ("2026-02-16T16:00", False),
        ("2026-02-16T16:59:59", False),
        ("2026-02-16T17:00", True),
        ("2026-02-17T00:00", True),
        ("2026-02-20T15:59:59", True),  # Friday
        ("2026-02-20T16:00", False),
        ("2026-02-20T17:00", False),
        ("2026-02-21T12:00", False),
        ("2026-02-22T16:30", False),
    ],
)
def test_the_week_runs_from_sunday_evening_to_friday_afternoon(local: str, is_open: bool) -> None:
    assert session_at("NQ", chicago(local)).is_open is is_open


@pytest.mark.parametrize(
    ("utc", "is_open"),
    [
        ("2026-03-05T22:30+00:00", False),  # 16:30 CST, before the clocks change on March 8
        ("2026-03-09T22:30+00:00", True),  # 17:30 CDT, after
        ("2026-03-09T21:30+00:00", False),  # 16:30 CDT
        ("2026-03-08T21:59+00:00", False),  # the Sunday itself: opens at 22:00 UTC, not at 23:00
        ("2026-03-08T22:00+00:00", True),
        ("2026-11-01T22:30+00:00", False),  # back on standard time: opens at 23:00 UTC
        ("2026-11-01T23:00+00:00", True),
    ],
)
def test_the_hours_follow_chicagos_clock(utc: str, is_open: bool) -> None:
    assert session_at("CL", datetime.fromisoformat(utc)).is_open is is_open


@pytest.mark.parametrize("root", ["BTC", "MBT"])
def test_bitcoin_never_closes(root: str) -> None:
    assert session_at(root, chicago("2026-06-13T12:00")).is_open
    assert session_at(root, chicago("2026-06-15T16:30")).is_open


def test_the_reason_tells_a_break_from_a_weekend() -> None:
    assert "daily break" in session_at("NQ", chicago("2026-02-16T16:30")).reason
    assert "weekend" in session_at("NQ", chicago("2026-02-20T16:00")).reason
    assert "weekend" in session_at("NQ", chicago("2026-02-22T16:30")).reason


@pytest.mark.parametrize(
    ("local", "day"),
    [
        ("2026-02-16T09:00", date(2026, 2, 16)),
        ("2026-02-16T16:59", date(2026, 2, 16)),
        ("2026-02-16T17:00", date(2026, 2, 17)),
        ("2026-02-15T17:00", date(2026, 2, 16)),  # Sunday evening is Monday's session
        ("2026-02-20T15:00", date(2026, 2, 20)),
        ("2026-02-20T16:30", date(2026, 2, 20)),
        ("2026-02-20T18:00", date(2026, 2, 23)),  # bitcoin, or an account that trades at any hour
        ("2026-02-21T12:00", date(2026, 2, 23)),
        ("2026-02-22T10:00", date(2026, 2, 23)),
        ("2026-12-31T18:00", date(2027, 1, 1)),
    ],
)
def test_the_trading_day_begins_at_five_in_the_afternoon(local: str, day: date) -> None:
    assert trading_day(chicago(local)) == day
