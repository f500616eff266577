"""Alerts as senders write them, read into one `Signal`, or refused with the field, what was seen and how to mend it.

Two steps, so that a caller can be authenticated in between and learns nothing of the second before that:
`read_alert` finds the dialect, the fields and the sender's key; `interpret` says what they mean. `parse_alert` is both.
"""

from datetime import date

from trendedge.domain.alerts.errors import AlertRefused
from trendedge.domain.alerts.fields import Fields
from trendedge.domain.alerts.interpretation import ParsedAlert, interpret
from trendedge.domain.alerts.reading import read_alert
from trendedge.domain.alerts.redaction import redact
from trendedge.domain.alerts.rendering import render_alert

__all__ = [
    "AlertRefused",
    "Fields",
    "ParsedAlert",
    "interpret",
    "parse_alert",
    "read_alert",
    "redact",
    "render_alert",
]


def parse_alert(body: bytes, *, today: date) -> ParsedAlert:
    """Read and interpret in one go, for callers that need no authentication in between.

    :raises AlertRefused: as `read_alert` and `interpret`
    """
    return interpret(read_alert(body), today=today)
