"""What one alert means: the frozen value that intake makes and the executor trades.

A `Signal` carries no identity and no owner: two alerts with the same meaning are equal in all that `meaning` covers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trendedge.domain.symbols import Symbol


class Action(StrEnum):
    """What the trader asks for. Vendors' words (`long`, `bullish`, `flat`, ...) are mapped onto these."""

    BUY = "buy"
    SELL = "sell"
    CLOSE = "close"
    REVERSE = "reverse"
    ADD = "add"
    CANCEL = "cancel"


class Direction(StrEnum):
    """Which side of the market a position is on."""

    LONG = "long"
    SHORT = "short"


class OrderType(StrEnum):
    """How the order is to be executed, in CONTRACT's words."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class Dialect(StrEnum):
    """Which way of writing an alert was recognised."""

    JSON = "json"
    KEY_VALUE = "key_value"
    STRATEGY_TEXT = "strategy_text"


@dataclass(frozen=True, slots=True)
class Repair:
    """One safe correction that was made while reading an alert, for the decision trace."""

    field: str
    was: str
    became: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One alert after normalisation.

    Prices are in points of the instrument and lie on its tick grid; `quantity` counts contracts and is positive.
    """

    action: Action
    symbol: Symbol
    dialect: Dialect
    order_type: OrderType = OrderType.MARKET
    quantity: int | None = None
    """Contracts; None means the account's default, or, for `close`, everything that is held."""
    held: Direction | None = None
    """The position that a `close` or an `add` speaks of (`exit_long`, a sell that ends flat); None: whichever is held.

    An exit from a long position must not buy back a short one, nor the reverse.
    """
    price: Decimal | None = None
    """The market's price when the alert fired; None when the sender gave none. Never the price of an order to come."""
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    sender_id: str | None = None
    """The sender's own id (`id`, `alert_id`, `order_id`): it alone then decides what a duplicate is."""
    sent_at: datetime | None = None
    """The sender's clock, aware, in UTC. Never part of the meaning."""
    account: str | None = None
    """Id or name of the account that the sender asked for."""
    playbook: str | None = None
    repairs: tuple[Repair, ...] = ()

    @property
    def stated_price(self) -> Decimal | None:
        """The one price to show for this signal: the limit, else the trigger, else the market's."""
        for price in (self.limit_price, self.stop_price, self.price):
            if price is not None:
                return price
        return None

    def meaning(self, user_id: str) -> str:
        """Digest under which a second alert is a duplicate (CONTRACT, "Dedup"): 32 hexadecimal digits.

        The sender's id decides alone when there is one; else contract, action, type, quantity and prices do, and the
        account: the same alert for two accounts is two orders.
        """
        facts: tuple[str, ...]
        if self.sender_id is not None:
            facts = (user_id, "id", self.sender_id)
        else:
            facts = (
                user_id,
                "meaning",
                self.symbol.root,
                str(self.symbol.month),
                str(self.symbol.year),
                self.action,
                self.held or "",
                self.order_type,
                str(self.quantity),
                *("" if p is None else f"{p.normalize():f}" for p in (self.price, self.limit_price, self.stop_price)),
                self.account or "",
            )
        return hashlib.sha256("\x1f".join(facts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def signal_to_wire(signal: Signal) -> dict[str, Any]:
    """The signal as values that any JSON encoder takes, for the journal. `signal_from_wire` is its exact inverse."""
    symbol, sent_at = signal.symbol, signal.sent_at
    return {
        "action": signal.action.value,
        "symbol": [symbol.root, symbol.month, symbol.year],
        "dialect": signal.dialect.value,
        "order_type": signal.order_type.value,
        "quantity": signal.quantity,
        "held": None if signal.held is None else signal.held.value,
        "price": _to_text(signal.price),
        "limit_price": _to_text(signal.limit_price),
        "stop_price": _to_text(signal.stop_price),
        "sender_id": signal.sender_id,
        "sent_at": None if sent_at is None else sent_at.astimezone(UTC).isoformat(),
        "account": signal.account,
        "playbook": signal.playbook,
        "repairs": [[repair.field, repair.was, repair.became] for repair in signal.repairs],
    }


def signal_from_wire(wire: Mapping[str, Any]) -> Signal:
    """The signal that `signal_to_wire` wrote.

    :raises KeyError, ValueError, TypeError: the mapping was not written by `signal_to_wire`
    """
    held, sent_at = wire["held"], wire["sent_at"]
    return Signal(
        action=Action(wire["action"]),
        symbol=Symbol(*wire["symbol"]),
        dialect=Dialect(wire["dialect"]),
        order_type=OrderType(wire["order_type"]),
        quantity=wire["quantity"],
        held=None if held is None else Direction(held),
        price=_to_price(wire["price"]),
        limit_price=_to_price(wire["limit_price"]),
        stop_price=_to_price(wire["stop_price"]),
        sender_id=wire["sender_id"],
        sent_at=None if sent_at is None else datetime.fromisoformat(sent_at),
        account=wire["account"],
        playbook=wire["playbook"],
        repairs=tuple(Repair(*repair) for repair in wire["repairs"]),
    )


def _to_text(price: Decimal | None) -> str | None:
    return None if price is None else str(price)


def _to_price(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
