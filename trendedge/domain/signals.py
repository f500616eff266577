"""What one alert means: the frozen value that intake makes and the executor trades.

A `Signal` carries no identity and no owner: two alerts with the same meaning are equal in all that `meaning` covers.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trendedge.domain.symbols import Symbol


class Action(StrEnum):
    """What the trader asks for. Vendors' words (`long`, `bullish`, `flat`, ...) are mapped onto these."""

    BUY = "buy"
    SELL = "sell"
    CLOSE = "close"
    REVERSE = "reverse"
    ADD = "add"
    CANCEL = "cancel"


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
    price: Decimal | None = None
    """The market's price when the alert fired; None when the sender gave none."""
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

    def meaning(self, user_id: str) -> str:
        """Digest under which a second alert is a duplicate (CONTRACT, "Dedup"): 32 hexadecimal digits.

        The sender's id decides alone when there is one; else contract, action, type, quantity and prices do.
        """
        if self.sender_id is not None:
            facts = (user_id, "id", self.sender_id)
        else:
            prices = (self.price, self.limit_price, self.stop_price)
            facts = (
                user_id,
                "meaning",
                str(self.symbol),
                self.action,
                self.order_type,
                str(self.quantity),
                *("" if p is None else f"{p.normalize():f}" for p in prices),
                self.account or "",
            )
        return hashlib.sha256("\x1f".join(facts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
