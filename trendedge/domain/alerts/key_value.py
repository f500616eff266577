"""`KEY=VALUE` alerts, one to a line or with `;` between them."""

import re
from typing import Final

from trendedge.domain.alerts.errors import unreadable
from trendedge.domain.alerts.fields import MAX_FIELDS, Value
from trendedge.domain.alerts.json_reader import too_many
from trendedge.domain.alerts.redaction import is_secret_name

_NAME: Final = r"[A-Za-z_][\w.-]{0,63}"
_PAIR: Final = re.compile(rf"[ \t]*({_NAME})[ \t]*=(.*)", re.ASCII)
_NEXT: Final = re.compile(rf";[ \t]*(?={_NAME}[ \t]*=|$)", re.ASCII)
"""A `;` separates only where another pair or the end follows: elsewhere it belongs to the value."""


def read(text: str) -> dict[str, Value]:
    """The pairs of a text that consists of nothing else.

    :raises AlertRefused: 400, a line is no pair
    """
    found: dict[str, Value] = {}
    for number, line in enumerate(filter(str.strip, text.splitlines()), start=1):
        if number > MAX_FIELDS:
            raise too_many()
        if not _PAIR.match(line):
            raise unreadable(
                f"line {number}, which is no KEY=VALUE",
                "send a JSON object, KEY=VALUE lines, or TradingView's own strategy text",
            )
        read_line(line, into=found)
    return found


def read_line(line: str, *, into: dict[str, Value]) -> None:
    """Add the pairs of one line. A key given again with another value is refused: which one counts would be a guess.

    :raises AlertRefused: 400
    """
    for part in _NEXT.split(line):
        pair = _PAIR.match(part)
        if pair is None:
            continue
        key, value = pair[1], _unquoted(pair[2].strip())
        if into.setdefault(key, value) != value:
            seen = "two different values" if is_secret_name(key) else "the same key with two different values"
            raise unreadable(seen, "give the key once", field=key)
        if len(into) > MAX_FIELDS:
            raise too_many()


def _unquoted(value: str) -> str:
    for opening, closing in (('"', '"'), ("“", "”"), ("'", "'")):
        if len(value) >= 2 and value[0] == opening and value[-1] == closing:
            return value[1:-1]
    return value
