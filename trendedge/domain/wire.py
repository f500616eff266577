"""How the domain writes for the outside: decimal strings, RFC 3339 in UTC (CONTRACT, "Resources"), derived ids."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid5


def plain(number: Decimal | int) -> str:
    """The number without exponent and without trailing zeros: ``18500.25``, ``0.0067145``, ``-12``."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def dollars(amount: Decimal) -> str:
    """An amount for a sentence: ``$1,234.50``, ``-$3.125``; cents always, finer digits only where there are some."""
    whole, _, part = plain(abs(amount)).partition(".")
    sign = "-" if amount < 0 else ""
    return f"{sign}${int(whole):,}.{part.ljust(2, '0')}"


def instant(at: datetime) -> str:
    """An aware time as RFC 3339 in UTC, with `Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def derived_id(signal_id: str, name: str) -> str:
    """The id of what a signal leads to, e.g. its ``fill/0``: always the same, so that a replay writes nothing twice.

    :raises ValueError: `signal_id` is no UUID
    """
    return str(uuid5(UUID(signal_id), name))
