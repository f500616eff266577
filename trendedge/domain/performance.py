"""Results rolled up by account, trading day and product: what the analytics read instead of summing trades."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

_ZERO = Decimal(0)


class ResultKey(NamedTuple):
    """What one row of the rollup is about."""

    account_id: str
    day: date
    """The exchange's trading day on which the fills happened, not the calendar day."""
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyResult:
    """What one day brought, or what one execution adds to it: every number is a sum and may be added to another.

    Profit counts on the day of the exit and commission on the day it was paid, so that the rows add up to the trades.
    """

    key: ResultKey
    trades: int = 0
    """Trades closed."""
    wins: int = 0
    """Of those, the ones with a profit after commission."""
    losses: int = 0
    """Of those, the ones with a loss after commission; the rest came out even."""
    contracts: int = 0
    """Contracts filled, entries and exits."""
    gross_pnl: Decimal = _ZERO
    commission: Decimal = _ZERO

    @property
    def pnl(self) -> Decimal:
        """Gross profit less commission."""
        return self.gross_pnl - self.commission

    def __add__(self, other: "DailyResult") -> "DailyResult":
        """Both together.

        :raises ValueError: they are about different things
        """
        if self.key != other.key:
            raise ValueError(f"{self.key} and {other.key} do not add up")
        return DailyResult(
            key=self.key,
            trades=self.trades + other.trades,
            wins=self.wins + other.wins,
            losses=self.losses + other.losses,
            contracts=self.contracts + other.contracts,
            gross_pnl=self.gross_pnl + other.gross_pnl,
            commission=self.commission + other.commission,
        )


def roll_up(results: Iterable[DailyResult]) -> dict[ResultKey, DailyResult]:
    """One result for each account, day and product."""
    rows: dict[ResultKey, DailyResult] = {}
    for result in results:
        row = rows.get(result.key)
        rows[result.key] = result if row is None else row + result
    return rows
