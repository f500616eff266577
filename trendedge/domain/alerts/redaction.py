"""Keeping senders' keys out of whatever is stored, logged or answered."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

STARS: Final = "***"

SHORTEST: Final = 4
"""A secret shorter than this is blanked at its own place only: elsewhere it would blank half of the text."""

_SECRET_NAMES: Final = re.compile(r"apikey|token|secret|passphrase|password")
_NOT_ALPHANUMERIC: Final = re.compile(r"[\W_]+")
_ASSIGNMENT: Final = re.compile(
    r"""((?:api[_ -]?key|token|secret|passphrase|password)[\w-]{0,20}\\{0,4}["'“”]?\s{0,4}[:=]\s{0,4}\\{0,4}["'“”]?)"""
    r"""([^\s"'“”,;&}\\]+)""",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether what stands under this key is a secret: `api_key`, `Token`, `webhookSecret`, `password`, ..."""
    return _SECRET_NAMES.search(_NOT_ALPHANUMERIC.sub("", name).lower()) is not None


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every occurrence of each secret replaced by `***`; the longest first, so that no tail is left."""
    for secret in sorted((s for s in secrets if len(s) >= SHORTEST), key=len, reverse=True):
        text = text.replace(secret, STARS)
    return text


def redact_assignments(text: str) -> str:
    """The net below the dialects: blanks what follows a secret's name and `=` or `:` in text that nobody could read."""
    return _ASSIGNMENT.sub(rf"\g<1>{STARS}", text)


def redact_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with these half-open ranges replaced by `"***"`; ranges may nest and come in any order."""
    parts, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += [text[end:start], f'"{STARS}"']
        end = max(end, stop)
    return "".join([*parts, text[end:]])
