"""A signal written as the canonical JSON alert, such as a sender who knows our own names would send."""

from typing import Any

import orjson

from trendedge.domain.alerts.words import LONG
from trendedge.domain.signals import Action, Signal


def render_alert(signal: Signal) -> bytes:
    """The alert that `parse_alert` reads back as this signal, but for the dialect and the repairs.

    Read it back with the same `today`: a delivery year is written in full, so any day will do.
    """
    symbol = signal.symbol
    dated = symbol.month is not None and symbol.year is not None
    fields: dict[str, Any] = {
        "symbol": f"{str(symbol)[:-1]}{symbol.year}" if dated else symbol.root,
        "action": _action(signal),
        "order_type": signal.order_type.value,
        "quantity": signal.quantity,
        "market_price": signal.price,
        "limit_price": signal.limit_price,
        "stop_price": signal.stop_price,
        "id": signal.sender_id,
        "sent_at": signal.sent_at,
        "account": signal.account,
        "playbook": signal.playbook,
    }
    return orjson.dumps({name: value for name, value in fields.items() if value is not None}, default=str)


def _action(signal: Signal) -> str:
    if signal.held is None:
        return signal.action.value
    side = "long" if signal.held is LONG else "short"
    return f"{signal.action.value}_{side}" if signal.action is Action.CLOSE else f"add_{side}"
