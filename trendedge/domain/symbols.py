"""A symbol as senders write it, read once into the product and, if one is named, the delivery month."""

import difflib
import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final, Self

from trendedge.domain.instruments import INSTRUMENTS, MONTH_CODES, Instrument

_EXCHANGES: Final = frozenset(
    {"CME", "CME_MINI", "CBOT", "CBOT_MINI", "NYMEX", "NYMEX_MINI", "COMEX", "COMEX_MINI", "GLOBEX"}
)
"""Prefixes under which TradingView and the bridges list CME Group's futures."""

_DELAYED: Final = ("_DLY", "_DL")
"""What TradingView appends to the exchange when the feed is a delayed one."""

_LONGEST: Final = 32
"""No spelling that we know needs more characters; it keeps error texts and the cache small."""

_ROOTS: Final = "|".join(sorted(INSTRUMENTS, key=len, reverse=True))
_SPELLING: Final = re.compile(
    rf"(?:(?P<exchange>[A-Z_]+):)?(?P<root>{_ROOTS})(?:1!|(?P<month>[{MONTH_CODES}])(?P<year>20[0-9]{{2}}|[0-9]{{1,2}}))?"
)


class InvalidSymbol(ValueError):
    """The text names no future that we trade. `reason` says why and what would do."""

    def __init__(self, raw: str, reason: str) -> None:
        super().__init__(f"{raw!r} is not a symbol: {reason}")
        self.raw, self.reason = raw, reason


@dataclass(frozen=True, slots=True)
class Symbol:
    """A product, and the delivery month when the sender named one.

    `month` (1-12) and `year` (four digits) are None together: then the symbol is continuous, as in ``NQ1!`` or ``MNQ``.
    """

    root: str
    month: int | None = None
    year: int | None = None

    @classmethod
    def parse(cls, raw: str, *, today: date) -> Self:
        """Read ``NQ1!``, ``CME_MINI:NQ1!``, ``MNQ``, ``NQM5``, ``NQM25`` or ``NQM2025``, in either case.

        A year of one digit is the one that ends in it between five years before `today` and four after; two digits
        are of this century. An expired contract is a symbol too: whether it can be traded is another question.

        :raises InvalidSymbol: unknown root, exchange or month; or a second or later continuous contract
        """
        root, month, year = _read(raw)
        if month is None:
            return cls(root)
        if len(year) > 1:
            return cls(root, month, 2000 + int(year[-2:]))
        first = today.year - 5
        return cls(root, month, first + (int(year) - first) % 10)

    @property
    def instrument(self) -> Instrument:
        """The product's row in the table."""
        return INSTRUMENTS[self.root]

    @property
    def is_continuous(self) -> bool:
        """Whether the sender left the choice of the delivery month to us."""
        return self.month is None

    def __str__(self) -> str:
        """``MNQ`` when continuous, else the exchange's short spelling: ``MNQM6``."""
        if self.month is None or self.year is None:
            return self.root
        return f"{self.root}{MONTH_CODES[self.month - 1]}{self.year % 10}"


@lru_cache(maxsize=512)
def _read(raw: str) -> tuple[str, int | None, str]:
    """Root, month and the digits of the year as written: all that does not depend on today."""
    # ASCII first: upper() would turn the long s or the dotless i into letters of a root.
    text = raw[:_LONGEST].strip().upper() if raw.isascii() else ""
    found = _SPELLING.fullmatch(text) if len(raw) <= _LONGEST else None
    if found is None:
        raise InvalidSymbol(raw[:_LONGEST], _why_not(text))
    exchange, root, month, year = found.group("exchange", "root", "month", "year")
    if exchange is not None and not is_exchange(exchange):
        raise InvalidSymbol(raw, f"{exchange} is not an exchange of CME Group, so {root} there is something else")
    if month is None:
        return root, None, ""
    if month not in INSTRUMENTS[root].months:
        raise InvalidSymbol(
            raw, f"{root} is listed for the months {', '.join(INSTRUMENTS[root].months)}, not for {month}"
        )
    return root, MONTH_CODES.index(month) + 1, year


def is_exchange(name: str) -> bool:
    """Whether TradingView's name of an exchange, ``CME_MINI`` or ``CBOT_DL``, means CME Group."""
    upper = name.strip().upper()
    for suffix in _DELAYED:
        upper = upper.removesuffix(suffix)
    return upper in _EXCHANGES


def _why_not(text: str) -> str:
    """The reason for a spelling that does not match, with the nearest roots that exist."""
    bare = text.rpartition(":")[2]
    if re.fullmatch(rf"(?:{_ROOTS})[0-9]!", bare):
        return "only the front contract can be followed; write it with 1!, or name the delivery month"
    letters = re.sub(r"(?:[0-9]*!|[FGHJKMNQUVXZ][0-9]{1,4})$", "", bare)
    near = difflib.get_close_matches(letters, INSTRUMENTS, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"the known roots are {', '.join(INSTRUMENTS)}{hint}"
