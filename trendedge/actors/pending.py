"""Signals that are durable and not worked off yet: what their owner sees in the moment between receipt and outcome."""

from typing import Any

from trendedge.actors.messages import ExecuteSignal
from trendedge.domain.wire import instant, plain
from trendedge.runtime import DurableRef

ACCEPTED = "accepted"


class PendingSignals:
    """Looks into the executor's mailbox. Only this process's mail is there; another's shows once it has an outcome."""

    def __init__(self, executor: DurableRef[ExecuteSignal]) -> None:
        self._executor = executor

    def find(self, user_id: str, signal_id: str) -> dict[str, Any] | None:
        """The decision trace so far of one signal of this user, or None."""
        for message in self._executor.waiting():
            if message.signal_id == signal_id and message.user_id == user_id:
                return _trace(message)
        return None


def _trace(message: ExecuteSignal) -> dict[str, Any]:
    signal = message.signal
    return {
        "id": message.signal_id,
        "status": ACCEPTED,
        "received_at": instant(message.received_at),
        "action": signal.action.value,
        "symbol": str(signal.symbol),
        "root": signal.symbol.root,
        "order_type": signal.order_type.value,
        "quantity": None if signal.quantity is None else str(signal.quantity),
        "price": None if signal.stated_price is None else plain(signal.stated_price),
        "limit_price": None if signal.limit_price is None else plain(signal.limit_price),
        "stop_price": None if signal.stop_price is None else plain(signal.stop_price),
        "account_id": message.account_id,
        "playbook_id": signal.playbook,
        "rejection": None,
        "source": {
            "dialect": signal.dialect.value,
            "sent_at": None if signal.sent_at is None else instant(signal.sent_at),
        },
        "request_id": message.request_id,
        "raw": message.raw,
        "repairs": [{"field": one.field, "was": one.was, "became": one.became} for one in signal.repairs],
        "contract": None,
        "checks": [],
        "timings_ms": {},
        "orders": [],
        "trades": [],
        "trade": None,
    }
