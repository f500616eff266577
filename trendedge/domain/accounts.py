"""A trading account: its settings, and the sums from which its equity follows."""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

_ZERO = Decimal(0)


class Mode(StrEnum):
    """Whether an account's money is real."""

    PAPER = "paper"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account of one user. Money is in `currency`, which is US dollars for every instrument that we know."""

    id: str
    user_id: str
    name: str
    mode: Mode = Mode.PAPER
    broker: str = "paper"
    """The adapter that executes its orders; ``paper`` is the built-in market."""
    currency: str = "USD"
    starting_equity: Decimal = Decimal(100_000)
    default_quantity: int = 1
    """Contracts, for an alert that names none."""
    slippage_ticks: int = 0
    """Ticks by which a market order fills worse than the price."""
    commission: Decimal = _ZERO
    """US dollars for one contract and one side."""
    any_hour: bool = False
    """Trades while the exchange is closed as well: for demonstrations, and the session check says so."""
    halted: bool = False
    """The account's kill switch: exits pass, entries are refused."""
    version: int = 0
    """Fence against a stale writer. A book that was changed carries the next number."""
    realized_pnl: Decimal = _ZERO
    """Sum of the gross profit of all that was closed, before commission."""
    commissions: Decimal = _ZERO
    """Sum of all commissions paid."""

    @property
    def equity(self) -> Decimal:
        """What the account is worth with its open positions at cost."""
        return self.starting_equity + self.realized_pnl - self.commissions

    def booked(self, *, realized_pnl: Decimal, commission: Decimal) -> "Account":
        """The account after one execution, under its next version."""
        return replace(
            self,
            realized_pnl=self.realized_pnl + realized_pnl,
            commissions=self.commissions + commission,
            version=self.version + 1,
        )
