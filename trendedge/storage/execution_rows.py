"""An execution as one JSON value: what `commit_execution` hands to PostgreSQL, which spreads it over the tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from trendedge.domain.accounts import Account
from trendedge.domain.events import CHANNEL, TradeEvent
from trendedge.domain.execution import Check, Execution, ExecutionRequest, ExecutionStatus, JournalLine, Rejection
from trendedge.domain.fills import Fill
from trendedge.domain.orders import Order
from trendedge.domain.performance import DailyResult
from trendedge.domain.positions import Position
from trendedge.domain.trades import Trade
from trendedge.domain.wire import instant, plain
from trendedge.storage.values import storable

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is kept of a signal beside the decision itself."""

    raw: str
    """The body as text, secrets replaced."""
    request_id: str | None = None
    timings_ms: Mapping[str, float] | None = None
    """Milliseconds that each step took, in the order of the steps."""


def encode(request: ExecutionRequest, execution: Execution, trace: Trace) -> bytes:
    """The whole execution for `jsonb_to_recordset` and its kin: numbers as strings, so that none becomes a float."""
    value = {
        "signal": _signal(request, execution, trace),
        "account": _account(execution.book.account),
        "orders": [_order(order) for order in execution.orders],
        "fills": [_fill(fill) for fill in execution.fills],
        "trades": [_trade(trade) for trade in execution.trades],
        "positions": [_position(position) for position in execution.positions],
        "journal": [_line(line) for line in execution.journal],
        "rollup": [_result(result) for result in execution.rollup],
        "events": [_event(event) for event in execution.events],
    }
    return _dumps(value)


def trade_item(trade: Trade) -> Json:
    """A trade as clients read it (CONTRACT, "Resources"), without its fills."""
    return {
        "id": trade.id,
        "signal_id": trade.signal_id,
        "account_id": trade.account_id,
        "symbol": trade.symbol,
        "root": trade.root,
        "direction": trade.direction,
        "quantity": plain(trade.quantity),
        "open_quantity": plain(trade.open_quantity),
        "entry_price": plain(trade.entry_price),
        "exit_price": None if trade.exit_price is None else plain(trade.exit_price),
        "gross_pnl": plain(trade.gross_pnl),
        "commission": plain(trade.commission),
        "pnl": plain(trade.pnl),
        "r_multiple": None if trade.r_multiple is None else plain(trade.r_multiple),
        "mae": None if trade.mae is None else plain(trade.mae),
        "mfe": None if trade.mfe is None else plain(trade.mfe),
        "status": trade.status,
        "opened_at": instant(trade.opened_at),
        "closed_at": None if trade.closed_at is None else instant(trade.closed_at),
        "playbook_id": trade.playbook_id,
    }


def fill_item(fill: Fill) -> Json:
    """A fill as clients read it."""
    return {
        "id": fill.id,
        "order_id": fill.order_id,
        "side": fill.side,
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "commission": plain(fill.commission),
        "at": instant(fill.at),
    }


def _signal(request: ExecutionRequest, execution: Execution, trace: Trace) -> Json:
    signal, contract = request.signal, execution.contract
    filled = execution.orders[0].quantity if execution.status is ExecutionStatus.FILLED else signal.quantity
    return {
        "received_at": instant(request.received_at),
        "status": execution.status,
        "action": signal.action,
        "symbol": contract.symbol,
        "root": contract.root,
        "order_type": signal.order_type,
        "quantity": filled,
        "price": _number(signal.price),
        "limit_price": _number(signal.limit_price),
        "stop_price": _number(signal.stop_price),
        "playbook_id": signal.playbook,
        "dialect": signal.dialect,
        "sent_at": None if signal.sent_at is None else instant(signal.sent_at),
        "sender_id": signal.sender_id,
        "request_id": trace.request_id,
        "raw": trace.raw,
        "repairs": [{"field": r.field, "was": r.was, "became": r.became} for r in signal.repairs],
        "contract": {
            "requested": contract.requested,
            "symbol": contract.symbol,
            "root": contract.root,
            "resolution": contract.resolution,
        },
        "checks": [_check(check) for check in execution.checks],
        "rejection": _rejection(execution.rejection),
        "timings_ms": dict(trace.timings_ms or {}),
    }


def _check(check: Check) -> Json:
    return {**check.facts, "check": check.check, "passed": check.passed, "detail": check.detail}


def _rejection(rejection: Rejection | None) -> Json | None:
    return None if rejection is None else {"code": rejection.code, "message": rejection.message}


def _account(account: Account) -> Json:
    return {
        "version": account.version,
        "realized_pnl": plain(account.realized_pnl),
        "commissions": plain(account.commissions),
    }


def _order(order: Order) -> Json:
    return {
        "id": order.id,
        "symbol": order.symbol,
        "root": order.root,
        "side": order.side,
        "type": order.type,
        "quantity": order.quantity,
        "limit_price": _number(order.limit_price),
        "stop_price": _number(order.stop_price),
        "status": order.status,
        "client_order_id": order.client_order_id,
        "created_at": instant(order.created_at),
    }


def _fill(fill: Fill) -> Json:
    item = fill_item(fill)
    return {**item, "trade_id": fill.trade_id, "document": _dumps(item).decode()}


def _trade(trade: Trade) -> Json:
    item = trade_item(trade)
    return {
        **item,
        "entry_value": plain(trade.entry_value),
        "exit_quantity": trade.exit_quantity,
        "exit_value": plain(trade.exit_value),
        "document": _dumps(item).decode(),
    }


def _position(position: Position) -> Json:
    return {
        "symbol": position.symbol,
        "root": position.root,
        "quantity": position.quantity,
        "cost_usd": plain(position.cost_usd),
        "average_price": plain(position.average_price),
        "realized_pnl": plain(position.realized_pnl),
    }


def _line(line: JournalLine) -> Json:
    return {"id": line.id, "trade_id": line.trade_id, "kind": line.kind, "text": line.text, "at": instant(line.at)}


def _result(result: DailyResult) -> Json:
    return {
        "day": result.key.day,
        "root": result.key.root,
        "trades": result.trades,
        "wins": result.wins,
        "losses": result.losses,
        "contracts": result.contracts,
        "gross_pnl": plain(result.gross_pnl),
        "commission": plain(result.commission),
    }


def _event(event: TradeEvent) -> Json:
    return {
        "id": event.id,
        "channel": CHANNEL,
        "type": event.type,
        "data": dict(event.data),
        "at": instant(event.at),
    }


def _number(number: Any) -> str | None:
    return None if number is None else plain(number)


def _dumps(value: Any) -> bytes:
    """JSON that PostgreSQL takes. Texts come from strangers; cleaning them all would cost more than looking once."""
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError:  # a lone surrogate
        return orjson.dumps(_storable(value))
    return text if rb"\u0000" not in text else orjson.dumps(_storable(value))


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable(str(value))
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {storable(name): _storable(item) for name, item in value.items()}
        case _:
            return value
