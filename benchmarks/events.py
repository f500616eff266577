"""Reading trade events off a WebSocket."""

from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.target import Match


@dataclass(frozen=True, slots=True)
class TradeEvent:
    """What a frame says happened, as far as counting needs it."""

    key: str
    """Names the alert that caused it, in the words of `Match`."""
    mark: tuple[str, str]
    """Type of the event and id of the trade: a repeat of both for one alert is the same event told twice."""


def read_event(payload: bytes, match: Match) -> TradeEvent | None:
    """The trade event in a frame, or None when the frame is something else."""
    try:
        frame: Any = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(frame, dict) or not str(frame.get("type")).startswith("trade."):
        return None
    data = frame.get("data")
    if not isinstance(data, dict) or data.get(match) is None:
        return None
    return TradeEvent(key=str(data[match]), mark=(str(frame["type"]), str(data.get("trade_id"))))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the answer to a webhook POST says."""

    key: str | None
    """The signal's id; None when the answer names none."""
    status: str | None
    """`accepted` or `duplicate`."""


def read_receipt(body: bytes) -> Receipt:
    """Read the answer of a webhook POST. Never fails: an answer that is no JSON object has neither key nor status."""
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Receipt(None, None)
    if not isinstance(answer, dict):
        return Receipt(None, None)
    key, status = answer.get("signal_id"), answer.get("status")
    return Receipt(None if key is None else str(key), None if status is None else str(status))
