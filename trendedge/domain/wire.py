"""How the domain writes for the outside: decimal strings, RFC 3339 in UTC (CONTRACT, "Resources"), derived ids."""

from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha1
from typing import Final
from uuid import UUID

_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""RFC 9562 sets the first two bits of this digit of a UUID, as it sets the 5 of version 5."""


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


class DerivedIds:
    """Names the things that a signal leads to: `ids("fill/0")` is always the same, so a replay writes nothing twice.

    The ids are `uuid5(UUID(signal_id), name)`. They are written out here because a decision needs five or more, and the
    standard library's way over two UUID objects each was a third of its time.
    """

    __slots__ = ("_namespace",)

    def __init__(self, signal_id: str) -> None:
        """:raises ValueError: `signal_id` is no UUID"""
        self._namespace = UUID(signal_id).bytes

    def __call__(self, name: str) -> str:
        """The id of the thing with this name among those of the signal."""
        text = sha1(self._namespace + name.encode(), usedforsecurity=False).hexdigest()
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"
