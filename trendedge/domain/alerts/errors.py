"""What can be wrong with an alert."""

from typing import Literal

_SHOWN = 80
"""Characters of a sender's text that an error repeats at most."""


class AlertRefused(Exception):
    """The alert is not readable (400), or readable with a field that cannot be accepted (422)."""

    def __init__(self, status: Literal[400, 422], *, field: str | None, seen: str, mend: str) -> None:
        self.status = status
        self.field = None if field is None else printable(field)
        self.seen = seen
        self.mend = mend
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """One sentence for the sender: where, what was seen, what would do."""
        where = f"{self.field}: " if self.field else ""
        return f"{where}saw {self.seen}; {self.mend}"


def unreadable(seen: str, mend: str, *, field: str | None = None) -> AlertRefused:
    """The refusal of a body that no dialect can read."""
    return AlertRefused(400, field=field, seen=seen, mend=mend)


def unacceptable(field: str, seen: str, mend: str) -> AlertRefused:
    """The refusal of one field of a readable alert."""
    return AlertRefused(422, field=field, seen=seen, mend=mend)


def shown(value: object) -> str:
    """A sender's value as an error may print it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
    return f'"{printable(str(value))}"'


def printable(text: str) -> str:
    """A sender's text short, on one line, without control characters (PostgreSQL stores no NUL) or lone surrogates."""
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)
