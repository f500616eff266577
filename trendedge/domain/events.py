"""What a user's sockets are told about a trade (PRD INF-FR-012, CONTRACT "HTTP")."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from trendedge.domain.book import ExecutionRequest
from trendedge.domain.booking import Leg, Step
from trendedge.domain.wire import instant, plain

CHANNEL: Final = "trades"
"""The channel of every trade event."""


class EventType(StrEnum):
    """Names of the trade events."""

    CREATED = "trade.created"
    UPDATED = "trade.updated"
    CLOSED = "trade.closed"


_TYPES: Final = {
    Step.OPENED: EventType.CREATED,
    Step.INCREASED: EventType.UPDATED,
    Step.REDUCED: EventType.UPDATED,
    Step.CLOSED: EventType.CLOSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeEvent:
    """One event of a trade, to be told after it is stored. `data` is ready for JSON: every number is a string."""

    id: str
    type: EventType
    at: datetime
    data: Mapping[str, str | None]


def trade_event(leg: Leg, *, event_id: str, request: ExecutionRequest) -> TradeEvent:
    """The event of one leg. Its `signal_id` is the signal that caused the event, not that of the trade's entry."""
    fill, trade = leg.fill, leg.trade
    data = {
        "signal_id": request.signal_id,
        "alert_id": request.signal.sender_id,
        "trade_id": trade.id,
        "account_id": trade.account_id,
        "symbol": trade.symbol,
        "root": trade.root,
        "instrument": trade.symbol,
        "direction": trade.direction.value,
        "status": trade.status.value,
        "quantity": str(trade.quantity),
        "open_quantity": str(trade.open_quantity),
        "entry_price": plain(trade.entry_price),
        "exit_price": _or_null(trade.exit_price),
        "gross_pnl": plain(trade.gross_pnl),
        "commission": plain(trade.commission),
        "pnl": plain(trade.pnl),
        "r_multiple": _or_null(trade.r_multiple),
        "opened_at": instant(trade.opened_at),
        "closed_at": None if trade.closed_at is None else instant(trade.closed_at),
        "playbook_id": trade.playbook_id,
        "order_id": fill.order_id,
        "fill_id": fill.id,
        "side": fill.side.value,
        "fill_price": plain(fill.price),
        "fill_quantity": str(fill.quantity),
    }
    return TradeEvent(id=event_id, type=_TYPES[leg.step], at=fill.at, data=data)


def _or_null(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
