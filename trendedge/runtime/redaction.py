"""Data without its secrets: what stands under a name that promises one, also in JSON and in text within strings."""

import re
from typing import Any

import orjson

from trendedge.runtime.logs import SECRET_NAMES

UNSHOWN = "***"
DEEPEST = 64
"""What lies deeper is not shown: nobody reads it, and whoever sends it may want to exhaust the stack."""

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_NAMES = tuple(_NOT_ALPHANUMERIC.sub("", name) for name in SECRET_NAMES)
_ASSIGNED = re.compile(
    rf"""((?:{"|".join(name.replace("_", "[_ -]?") for name in SECRET_NAMES)})[\w-]{{0,20}}\\*["']?\s*[:=]\s*)"""
    r"""(\\*"[^"]*"?|\\*'[^']*'?|[^\s,;&}\]]+(?:(?<=bearer)\s+\S+)?)""",
    re.IGNORECASE,
)


def redacted(value: Any, *, depth: int = 0) -> Any:
    """JSON without its secrets. A string that holds JSON itself is read; another one loses what is assigned in it to a
    secret's name, in quotes or up to the next blank, comma, semicolon, `&` or bracket.
    """
    if depth > DEEPEST:
        return UNSHOWN
    match value:
        case dict():
            return {name: UNSHOWN if _secret(name) else redacted(item, depth=depth + 1) for name, item in value.items()}
        case list():
            return [redacted(item, depth=depth + 1) for item in value]
        case str():
            return _text(value, depth)
        case _:
            return value


def _text(text: str, depth: int) -> str:
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            held = orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            return _ASSIGNED.sub(rf"\g<1>{UNSHOWN}", text)
        shown = redacted(held, depth=depth + 1)
        return text if shown == held else orjson.dumps(shown).decode()
    return _ASSIGNED.sub(rf"\g<1>{UNSHOWN}", text)


def _secret(name: str) -> bool:
    plain = _NOT_ALPHANUMERIC.sub("", name).lower()
    return any(word in plain for word in _NAMES)
