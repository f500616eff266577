"""What PostgreSQL can hold, and how it is written out: ids, text, times and numbers at the edge of the database."""

from uuid import UUID

_REPLACEMENT = "�"


def as_uuid(raw: str) -> UUID | None:
    """The id as PostgreSQL stores it; None for what cannot be the id of anything (a client may ask for any string)."""
    try:
        return UUID(raw)
    except ValueError:
        return None


def storable(text: str) -> str:
    """The text without what PostgreSQL refuses: NUL and lone surrogates become U+FFFD.

    Alerts are other people's bytes. Refusing one here, after it was acknowledged, would leave a message that can
    never be worked off.
    """
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def rfc3339(column: str) -> str:
    """SQL for a timestamp in UTC with microseconds and `Z`, or null."""
    return f"""to_char({column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def decimal(column: str) -> str:
    """SQL for a number as a decimal string without trailing zeros, or null."""
    return f"trim_scale({column})::text"
