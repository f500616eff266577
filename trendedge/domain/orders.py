"""An order as it was sent to the market."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Self

from trendedge.domain.signals import OrderType


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell: what one contract does to the position."""
        return 1 if self is Side.BUY else -1

    @classmethod
    def of(cls, quantity: int) -> Self:
        """The side that leads from flat to this signed quantity."""
        return cls.BUY if quantity > 0 else cls.SELL


class OrderStatus(StrEnum):
    """How far an order has come."""

    WORKING = "working"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order of one signal. `quantity` counts contracts and is positive."""

    id: str
    signal_id: str
    account_id: str
    symbol: str
    root: str
    side: Side
    type: OrderType
    quantity: int
    limit_price: Decimal | None
    stop_price: Decimal | None
    status: OrderStatus
    client_order_id: str
    """Ours, given to the broker: by it an order whose outcome is unknown is found again."""
    created_at: datetime


def client_order_id(signal_id: str) -> str:
    """The id under which the broker knows the signal's order."""
    return f"te-{signal_id}"
