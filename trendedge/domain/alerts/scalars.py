"""Single values of an alert: numbers on the exchange's grid, texts and clocks."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from trendedge.domain.alerts.errors import AlertRefused, shown, unacceptable
from trendedge.domain.alerts.fields import Value
from trendedge.domain.instruments import Instrument
from trendedge.domain.signals import Repair

MAX_QUANTITY: Final = 10_000
"""Contracts of one order. The exchange takes fewer in every product; what is more is a price in the wrong field."""

MAX_PRICE: Final = Decimal(100_000_000)
"""Points. Above every price of every product, and low enough for exact arithmetic."""

NOISE: Final = Decimal("0.0001")
"""Share of a tick that counts as rounding. Binary floats are off by far less (18250.250000001 by 4e-9 of a tick), a
price that was computed without rounding it to the tick (18250.30) by far more."""

MAX_TEXT: Final = 200
"""Characters of an id or a name."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_NOT_VALUES: Final = frozenset({"nan", "na", "n/a", "inf", "infinity", "null", "none", "undefined"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_PLOT: Final = "the plot has no value on this bar (na); send the alert only when it has one"


def refuse_placeholder(path: str, value: Value) -> None:
    """Refuse a `{{placeholder}}` that TradingView has left as it was.

    :raises AlertRefused: 422
    """
    if isinstance(value, str) and "{{" in value:
        raise unacceptable(
            path,
            f"the unresolved placeholder {shown(value)}",
            "use a placeholder that TradingView fills in this kind of alert",
        )


def read_word(path: str, value: Value) -> str:
    """A text that has to be there.

    :raises AlertRefused: 422, it is empty, a placeholder, or no text
    """
    refuse_placeholder(path, value)
    if not isinstance(value, str):
        raise unacceptable(path, shown(value), "send text")
    word = value.strip()
    if not word:
        raise unacceptable(path, "empty text", "fill it in, or leave the field out")
    return word


def read_name(path: str, value: Value) -> str | None:
    """An id or a name, which may be a number; None when it is empty.

    :raises AlertRefused: 422, a placeholder, no value, too long, or with control characters
    """
    refuse_placeholder(path, value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise unacceptable(path, shown(value), "send text")
    name = str(value).strip()
    if name.lower() in _NOT_VALUES:
        raise unacceptable(path, shown(name), "send text, or leave the field out")
    if len(name) > MAX_TEXT:
        raise unacceptable(path, f"{len(name)} characters", f"send at most {MAX_TEXT}")
    if not name.isprintable():
        raise unacceptable(path, shown(name), "send text without control characters")
    return name or None


def read_quantity(path: str, value: Value) -> int:
    """Whole contracts, at least one: `2`, `"2"` and `"2.0"` are two.

    :raises AlertRefused: 422
    """
    number = read_number(path, value)
    if number <= 0:
        raise unacceptable(
            path, shown(value), "send a number of contracts above 0, or leave it out for the account's default"
        )
    if number > MAX_QUANTITY:
        raise unacceptable(path, shown(value), f"send at most {MAX_QUANTITY} contracts")
    if number != number.to_integral_value():
        raise unacceptable(path, shown(value), "send whole contracts: fractions are not traded")
    return int(number)


def read_price(path: str, value: Value, *, instrument: Instrument) -> tuple[Decimal, Repair | None]:
    """A price on the instrument's grid in plain notation, and the repair if it had to be rounded by float noise.

    :raises AlertRefused: 422, no number, not positive, or off the tick by more than `NOISE`
    """
    price = read_number(path, value)
    if not 0 < price < MAX_PRICE:
        raise unacceptable(path, shown(value), "send a price above 0 in points")
    nearest = instrument.nearest_tick(price)
    if price == nearest:
        return _plain(price, nearest), None
    if nearest > 0 and abs(price - nearest) <= instrument.tick_size * NOISE:
        return nearest, Repair(path, str(value).strip()[:50], str(nearest))
    raise unacceptable(
        path,
        shown(value),
        f"send a multiple of {instrument.root}'s tick of {instrument.tick_size:f}, the nearest is {nearest:f}",
    )


def read_clock(value: Value) -> datetime | None:
    """The sender's clock in UTC, from ISO 8601 (without a zone it is UTC) or from seconds or milliseconds since 1970.

    None for whatever is no time between 2001 and 2100: a wrong clock is no reason to refuse a trade.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    try:
        if _NUMBER.fullmatch(text):
            return _from_epoch(Decimal(text))
        at = datetime.fromisoformat(text)
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if 2001 <= at.year < 2100 else None


def _from_epoch(number: Decimal) -> datetime | None:
    if Decimal(10**12) <= number < Decimal(4 * 10**12):
        return _EPOCH + timedelta(milliseconds=int(number))
    if Decimal(10**9) <= number < Decimal(4 * 10**9):
        return _EPOCH + timedelta(microseconds=int(number * 1_000_000))
    return None


def read_number(path: str, value: Value) -> Decimal:
    """A finite decimal number, as a number or as text.

    :raises AlertRefused: 422
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _no_number(path, value)
    refuse_placeholder(path, value)
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise _no_number(path, value)
    return Decimal(text)


def _no_number(path: str, value: Value) -> AlertRefused:
    if isinstance(value, str) and value.strip().lower().lstrip("+-") in _NOT_VALUES:
        return unacceptable(path, shown(value), _NO_PLOT)
    return unacceptable(path, shown(value), "send a plain number such as 2 or 18250.25")


def _plain(price: Decimal, nearest: Decimal) -> Decimal:
    """The price as the sender wrote it, unless with an exponent or with more decimals than a tick has."""
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101 - finite, see _NUMBER; tells mypy
    finest = nearest.as_tuple().exponent
    if exponent > 0:
        return price.quantize(Decimal(1))
    return nearest if isinstance(finest, int) and exponent < finest else price
