"""Builders for the tests of the trading rules: each says only what the test is about."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from trendedge.domain.accounts import Account
from trendedge.domain.execution import Book, Execution, ExecutionRequest, LastPrice, decide
from trendedge.domain.instruments import MONTH_CODES
from trendedge.domain.signals import Action, Dialect, OrderType, Signal
from trendedge.domain.symbols import Symbol

WEDNESDAY = datetime(2026, 2, 11, 15, 0, tzinfo=UTC)
"""09:00 in Chicago: the exchange is open."""
SATURDAY = datetime(2026, 2, 14, 15, 0, tzinfo=UTC)


def account(**settings: Any) -> Account:
    return replace(Account(id="acc-1", user_id="user-1", name="Paper"), **settings)


def symbol(text: str) -> Symbol:
    """``MNQ``, or a dated one of the 2020s such as ``MNQM6``."""
    if text[-1].isdigit() and text[-2] in MONTH_CODES and len(text) > 2:
        return Symbol(text[:-2], MONTH_CODES.index(text[-2]) + 1, 2020 + int(text[-1]))
    return Symbol(text)


def signal(action: str, contract: str = "MNQ", *, price: str | None = None, **others: Any) -> Signal:
    """A market signal; with `limit`, a limit order."""
    if (limit := others.pop("limit", None)) is not None:
        others |= {"order_type": OrderType.LIMIT, "limit_price": Decimal(limit)}
    return Signal(
        action=Action(action),
        symbol=symbol(contract),
        dialect=Dialect.JSON,
        price=None if price is None else Decimal(price),
        **others,
    )


def request(asked: Signal, *, number: int = 1, owner: Account | None = None) -> ExecutionRequest:
    owner = owner or account()
    return ExecutionRequest(
        signal_id=str(UUID(int=number, version=4)),
        user_id=owner.user_id,
        account_id=owner.id,
        received_at=WEDNESDAY,
        signal=asked,
    )


def last_price(price: str, *, root: str = "MNQ", at: datetime = WEDNESDAY) -> LastPrice:
    return LastPrice(root=root, price=Decimal(price), at=at)


@dataclass
class Desk:
    """An account that trades signal after signal, as the executor does."""

    book: Book
    now: datetime = WEDNESDAY
    done: list[Execution] = field(default_factory=list)

    def send(self, asked: Signal, *, last: LastPrice | None = None) -> Execution:
        ordered = request(asked, number=len(self.done) + 1, owner=self.book.account)
        execution = decide(ordered, book=self.book, last_price=last, now=self.now)
        self.done.append(execution)
        self.book = execution.book
        return execution

    def send_all(self, asked: Iterable[Signal]) -> list[Execution]:
        return [self.send(one) for one in asked]

    def set(self, **settings: Any) -> None:
        """Change the account between two signals."""
        self.book = replace(self.book, account=replace(self.book.account, **settings))

    def held(self, contract: str = "MNQ") -> int:
        position = self.book.positions.get(contract)
        return 0 if position is None else position.quantity


def desk(**settings: Any) -> Desk:
    return Desk(Book(account=account(**settings)))
