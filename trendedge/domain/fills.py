"""A fill: contracts that changed hands at one price."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trendedge.domain.orders import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of (a part of) an order. It belongs to one trade: an order that reverses has two fills.

    `quantity` is positive, `commission` is in dollars for all its contracts.
    """

    id: str
    order_id: str
    trade_id: str
    account_id: str
    symbol: str
    root: str
    side: Side
    price: Decimal
    quantity: int
    commission: Decimal
    at: datetime

    @property
    def signed_quantity(self) -> int:
        """What the fill does to the position: positive for buy, negative for sell."""
        return self.side.sign * self.quantity


def slipped(price: Decimal, *, side: Side, ticks: int, tick_size: Decimal) -> Decimal:
    """Where a market order fills: `ticks` worse for the trader than `price`."""
    return price + side.sign * ticks * tick_size
