"""A position: what one account holds of one contract, netted, at average cost.

Money is exact. A position keeps the dollars that its contracts cost, not their average price; a partial exit takes its
share of that cost, rounded to a hundredth of a cent where the share does not come out even, and the remainder stays. So
nothing is lost between the exits: what all of them realise is to the last digit what was received less what was paid.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

_ZERO = Decimal(0)
COST_STEP_USD = Decimal("0.0001")
"""To this a partial exit's share of the cost is rounded, half to even. Fine enough for every tick of the table."""
PRICE_STEP = Decimal("0.0000000001")
"""To this average prices are rounded, half to even, in points. They are shown, never calculated with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is held now, and what its predecessors in the same contract have earned."""

    account_id: str
    symbol: str
    root: str
    quantity: int = 0
    """Contracts: positive is long, negative is short, 0 is flat."""
    cost_usd: Decimal = _ZERO
    """Signed sum of price x contracts x point value of what is held: negative for a short."""
    average_price: Decimal = _ZERO
    """Points, rounded to `PRICE_STEP`; 0 when flat."""
    realized_pnl: Decimal = _ZERO
    """Dollars of all exits from this contract, ever, before commission."""

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held."""
        return self.quantity == 0

    def unrealized_pnl(self, price: Decimal, *, point_value: Decimal) -> Decimal:
        """Dollars that leaving at this price would earn, before commission."""
        return self.quantity * price * point_value - self.cost_usd

    def increased(self, quantity: int, *, price: Decimal, point_value: Decimal) -> "Position":
        """After entering further: `quantity` is signed, in the direction held (either one when flat)."""
        cost = self.cost_usd + quantity * price * point_value
        return self._with(
            quantity=self.quantity + quantity, cost_usd=cost, realized_pnl=self.realized_pnl, point_value=point_value
        )

    def reduced(self, quantity: int, *, price: Decimal, point_value: Decimal) -> "Position":
        """After leaving with part or all: `quantity` is signed, against what is held and not more than it."""
        share = self._share_of_cost(-quantity)
        realized = self.realized_pnl - quantity * price * point_value - share
        return self._with(
            quantity=self.quantity + quantity,
            cost_usd=self.cost_usd - share,
            realized_pnl=realized,
            point_value=point_value,
        )

    def _with(self, *, quantity: int, cost_usd: Decimal, realized_pnl: Decimal, point_value: Decimal) -> "Position":
        return Position(
            account_id=self.account_id,
            symbol=self.symbol,
            root=self.root,
            quantity=quantity,
            cost_usd=cost_usd if quantity else _ZERO,
            average_price=average(cost_usd, quantity * point_value) if quantity else _ZERO,
            realized_pnl=realized_pnl,
        )

    def _share_of_cost(self, leaving: int) -> Decimal:
        if leaving == self.quantity:
            return self.cost_usd
        share = self.cost_usd * leaving / self.quantity
        return share.quantize(COST_STEP_USD, rounding=ROUND_HALF_EVEN)


def average(total: Decimal, count: Decimal | int) -> Decimal:
    """`total` for each of `count`, rounded to `PRICE_STEP` and without trailing zeros."""
    quotient = (total / count).quantize(PRICE_STEP, rounding=ROUND_HALF_EVEN)
    return quotient.normalize() + _ZERO
