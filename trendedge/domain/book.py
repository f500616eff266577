"""What a decision starts from: the request, the account's book and the last price."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from trendedge.domain.accounts import Account
from trendedge.domain.positions import Position
from trendedge.domain.signals import Signal
from trendedge.domain.trades import Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRequest:
    """One accepted alert, addressed to one account. `signal_id` is a UUID in text."""

    signal_id: str
    user_id: str
    account_id: str
    received_at: datetime
    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPrice:
    """The newest price that was heard of for a product, in points."""

    root: str
    price: Decimal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The state of one account at `account.version`; replaced, never changed.

    `positions` holds flat ones too, because what they have earned runs on; `open_trades` has exactly one trade for each
    position that is not flat. Both are keyed by symbol.
    """

    account: Account
    positions: Mapping[str, Position] = field(default_factory=dict)
    open_trades: Mapping[str, Trade] = field(default_factory=dict)
    system_halted: bool = False
    """The kill switch of the whole system, as of this version: turning it counts all versions up."""

    def position(self, symbol: str, *, root: str) -> Position:
        """What is held of the contract; a flat position when it was never traded."""
        held = self.positions.get(symbol)
        return held or Position(account_id=self.account.id, symbol=symbol, root=root)

    def held(self, root: str) -> tuple[Position, ...]:
        """The positions of the product that are not flat, in the order of their symbols."""
        found = (p for p in self.positions.values() if p.root == root and p.quantity)
        return tuple(sorted(found, key=lambda position: position.symbol))
