"""When the exchange trades (CME Globex, FACTS "CME futures"), and which trading day a moment belongs to.

Futures trade from Sunday 17:00 to Friday 16:00, Chicago time, with a break from 16:00 to 17:00 each day. Bitcoin trades
around the clock. Holidays are not known here.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

CHICAGO: Final = ZoneInfo("America/Chicago")
AROUND_THE_CLOCK: Final = frozenset({"BTC", "MBT"})
"""Roots that trade 24 hours on 7 days, since 2026-05-29."""

_CLOSE: Final = time(16)
_OPEN: Final = time(17)
_FRIDAY, _SATURDAY, _SUNDAY = 4, 5, 6


@dataclass(frozen=True, slots=True)
class SessionState:
    """Whether a product trades at a moment, and why (not)."""

    is_open: bool
    reason: str
    local: datetime
    """The moment in Chicago."""


def session_at(root: str, at: datetime) -> SessionState:
    """The state of the product's session. An opening bell counts as open, a closing bell as closed."""
    local = at.astimezone(CHICAGO)
    if root in AROUND_THE_CLOCK:
        return SessionState(True, f"{root} trades around the clock", local)
    closed = _why_closed(local)
    return SessionState(closed is None, closed or "the exchange is open", local)


def _why_closed(local: datetime) -> str | None:
    day, clock = local.weekday(), local.time()
    if day == _SATURDAY or (day == _SUNDAY and clock < _OPEN) or (day == _FRIDAY and clock >= _CLOSE):
        return "the exchange is closed for the weekend until Sunday 17:00 Chicago time"
    if day != _SUNDAY and _CLOSE <= clock < _OPEN:
        return "the exchange is in its daily break until 17:00 Chicago time"
    return None


def trading_day(at: datetime) -> date:
    """The business date that the exchange gives to a fill: from 17:00 in Chicago the next one, on weekends Monday's."""
    local = at.astimezone(CHICAGO)
    day = local.date() + timedelta(days=1) if local.time() >= _OPEN else local.date()
    return day + timedelta(days=max(0, 7 - day.weekday()) if day.weekday() >= _SATURDAY else 0)
