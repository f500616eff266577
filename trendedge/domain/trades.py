"""A trade: the way of one position from entry to flat, with all its entries and exits."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trendedge.domain.fills import Fill
from trendedge.domain.orders import Side
from trendedge.domain.positions import average
from trendedge.domain.signals import Direction

_ZERO = Decimal(0)


class TradeStatus(StrEnum):
    """Whether contracts of the trade are still held."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One trade. While it is open, `gross_pnl` is what its exits have realised so far, and `commission` what was paid.

    Dollars in `gross_pnl`, `commission`, `pnl`, `mae`, `mfe`; points in prices; points times contracts in values.
    """

    id: str
    signal_id: str
    """The signal of the entry."""
    account_id: str
    symbol: str
    root: str
    direction: Direction
    quantity: int
    """Contracts entered, all entries together."""
    entry_value: Decimal
    """Sum of price x contracts of the entries, exact."""
    opened_at: datetime
    exit_quantity: int = 0
    exit_value: Decimal = _ZERO
    """Sum of price x contracts of the exits, exact."""
    gross_pnl: Decimal = _ZERO
    commission: Decimal = _ZERO
    r_multiple: Decimal | None = None
    """Profit in units of the risk taken; None without a stop, because the risk is then unknown."""
    mae: Decimal | None = None
    """Worst open loss, dollars, not below 0, over the prices of its fills; None until the second fill tells."""
    mfe: Decimal | None = None
    """Best open profit, counted as `mae`."""
    status: TradeStatus = TradeStatus.OPEN
    closed_at: datetime | None = None
    playbook_id: str | None = None

    @property
    def open_quantity(self) -> int:
        """Contracts still held, as a positive number."""
        return self.quantity - self.exit_quantity

    @property
    def entry_price(self) -> Decimal:
        """Average of the entries, points, rounded as positions do."""
        return average(self.entry_value, self.quantity)

    @property
    def exit_price(self) -> Decimal | None:
        """Average of the exits so far; None before the first."""
        return average(self.exit_value, self.exit_quantity) if self.exit_quantity else None

    @property
    def pnl(self) -> Decimal:
        """Gross profit less commission."""
        return self.gross_pnl - self.commission

    def entered(self, fill: Fill) -> "Trade":
        """After a further entry."""
        return replace(
            self,
            quantity=self.quantity + fill.quantity,
            entry_value=self.entry_value + fill.price * fill.quantity,
            commission=self.commission + fill.commission,
        )

    def left(self, fill: Fill, *, realized_pnl: Decimal) -> "Trade":
        """After an exit that realised so many dollars; closed when it was the last."""
        closes = fill.quantity == self.open_quantity
        return replace(
            self,
            exit_quantity=self.exit_quantity + fill.quantity,
            exit_value=self.exit_value + fill.price * fill.quantity,
            gross_pnl=self.gross_pnl + realized_pnl,
            commission=self.commission + fill.commission,
            status=TradeStatus.CLOSED if closes else TradeStatus.OPEN,
            closed_at=fill.at if closes else None,
        )

    def seen_at(self, open_pnl: Decimal) -> "Trade":
        """After a price at which its contracts still held are worth `open_pnl` dollars more than they cost."""
        gross = self.gross_pnl + open_pnl
        return replace(self, mae=max(self.mae or _ZERO, -gross), mfe=max(self.mfe or _ZERO, gross))


def opened(fill: Fill, *, signal_id: str, playbook_id: str | None) -> Trade:
    """The trade that an entry from flat begins."""
    return Trade(
        id=fill.trade_id,
        signal_id=signal_id,
        account_id=fill.account_id,
        symbol=fill.symbol,
        root=fill.root,
        direction=Direction.LONG if fill.side is Side.BUY else Direction.SHORT,
        quantity=fill.quantity,
        entry_value=fill.price * fill.quantity,
        opened_at=fill.at,
        commission=fill.commission,
        playbook_id=playbook_id,
    )
