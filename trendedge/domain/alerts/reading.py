"""From the bytes of a request to the fields of an alert, whichever dialect it is written in."""

import re
from typing import Any, Final

import orjson

from trendedge.domain.alerts import key_value, strategy_text
from trendedge.domain.alerts.errors import unreadable
from trendedge.domain.alerts.fields import Fields, Value
from trendedge.domain.alerts.json_reader import JsonReader
from trendedge.domain.alerts.redaction import (
    SHORTEST,
    redact,
    redact_assignments,
    redact_spans,
)
from trendedge.domain.alerts.survey import Survey, survey
from trendedge.domain.signals import Dialect, Repair

_BOM: Final = "\ufeff"
_KEY: Final = re.compile(r'"[ \t\r\n]*:')
_FENCE: Final = re.compile(r"```[A-Za-z]{0,10}[ \t]*\r?\n(.*)\n[ \t]*```", re.DOTALL)


def read_alert(body: bytes) -> Fields:
    """Find the dialect and the fields, and blank the secrets. The content type is of no use: senders get it wrong.

    :raises AlertRefused: 400, no dialect can read this
    """
    text, repairs = _text_of(body)
    if text.startswith("{") and not text.startswith("{{"):
        return _read_json(text, repairs)
    if text.startswith(("[", '"')):
        raise unreadable("JSON that is not an object", 'send one object: {"ticker": "{{ticker}}", ...}')
    if strategy_text.is_sentence(text):
        return _fields(Dialect.STRATEGY_TEXT, text, strategy_text.read(text), repairs)
    return _fields(Dialect.KEY_VALUE, text, key_value.read(text), repairs)


def _text_of(body: bytes) -> tuple[str, tuple[Repair, ...]]:
    """The body as text, without what editors put around it."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(
            f"the byte 0x{body[error.start]:02x} at {error.start}, which is not UTF-8", "send UTF-8"
        ) from None
    if "\x00" in text:
        raise unreadable("a NUL character", "send text")
    repairs: tuple[Repair, ...] = ()
    text = text.strip()
    if text.startswith(_BOM):
        text, repairs = text.lstrip(_BOM).lstrip(), (Repair("body", "byte order mark", ""),)
    if fenced := _FENCE.fullmatch(text):
        text, repairs = fenced[1].strip(), (*repairs, Repair("body", "code fence", ""))
    if not text:
        raise unreadable("an empty body", "put the alert's text into the request's body")
    return text, repairs


def _read_json(text: str, repairs: tuple[Repair, ...]) -> Fields:
    """The fast way for what is plain JSON; the reader for the rest."""
    try:
        tree: Any = orjson.loads(text)
    except ValueError:
        return _read_closely(text, repairs)
    found = survey(tree)
    # Each key of valid JSON is followed by a colon, and inside a string a quote is escaped: fewer keys than such
    # colons means that one was given twice, or that a string looks like a key. The reader tells which.
    plain = "\\" not in text and len(_KEY.findall(text)) == found.keys
    if not plain or any(len(secret) < SHORTEST or secret not in text for secret in found.secrets):
        return _read_closely(text, repairs)
    return _of(Dialect.JSON, found, raw=redact(text, found.secrets), repairs=repairs)


def _read_closely(text: str, repairs: tuple[Repair, ...]) -> Fields:
    reader = JsonReader(text)
    found = survey(reader.read())
    if found.clash is None:
        found.clash = reader.clash
    telling = [secret for secret in found.secrets if len(secret) >= SHORTEST]
    spans = reader.secrets + [(at, to) for at, to, said in reader.strings if any(s in said for s in telling)]
    raw = redact_assignments(redact(redact_spans(text, spans), telling))
    return _of(Dialect.JSON, found, raw=raw, repairs=(*repairs, *reader.repairs))


def _fields(dialect: Dialect, text: str, values: dict[str, Value], repairs: tuple[Repair, ...]) -> Fields:
    found = survey(values)
    return _of(dialect, found, raw=redact_assignments(redact(text, found.secrets)), repairs=repairs)


def _of(dialect: Dialect, found: Survey, *, raw: str, repairs: tuple[Repair, ...]) -> Fields:
    return Fields(
        dialect=dialect,
        values=found.values,
        secret=found.secret(),
        secrets=tuple(sorted(found.secrets, key=len, reverse=True)),
        raw=raw,
        repairs=repairs,
        refusal=found.clash,
    )
