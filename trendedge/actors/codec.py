"""How a durable message becomes bytes and comes back. Old mail must stay readable: fields are added, never renamed."""

from datetime import datetime
from typing import Any

import orjson

from trendedge.actors.messages import ExecuteSignal
from trendedge.domain.signals import signal_from_wire, signal_to_wire

FORMAT = 1


def encode_execute(message: ExecuteSignal) -> bytes:
    """JSON of an `ExecuteSignal`. No text of it holds a lone surrogate, which is in no UTF-8: as such alerts are read.

    :raises TypeError: one does all the same
    """
    return orjson.dumps(
        {
            "v": FORMAT,
            "signal_id": message.signal_id,
            "user_id": message.user_id,
            "account_id": message.account_id,
            "received_at": message.received_at.isoformat(),
            "request_id": message.request_id,
            "signal": signal_to_wire(message.signal),
            "raw": message.raw,
        }
    )


def decode_execute(payload: bytes) -> ExecuteSignal:
    """The message again.

    :raises ValueError: not JSON, or of a format that this version does not know
    :raises KeyError: a field is missing
    """
    wire: dict[str, Any] = orjson.loads(payload)
    if wire.get("v") != FORMAT:
        raise ValueError(f"format {wire.get('v')!r} is not known, only {FORMAT}")
    return ExecuteSignal(
        signal_id=wire["signal_id"],
        user_id=wire["user_id"],
        account_id=wire["account_id"],
        received_at=datetime.fromisoformat(wire["received_at"]),
        request_id=wire["request_id"],
        signal=signal_from_wire(wire["signal"]),
        raw=wire["raw"],
    )


def received_at(payload: bytes) -> datetime | None:
    """When the alert of an encoded `ExecuteSignal` came in, whatever its format; None where that cannot be read."""
    try:
        return datetime.fromisoformat(orjson.loads(payload)["received_at"])
    except (ValueError, KeyError, TypeError):
        return None
