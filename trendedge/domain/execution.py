"""The executor's one decision: what a signal does to an account's book. Pure: the same inputs give equal outputs.

    execution = decide(request, book=book, last_price=None, now=clock())

The caller stores the execution in one transaction and goes on with `execution.book`.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trendedge.domain.book import Book, ExecutionRequest, LastPrice
from trendedge.domain.booking import book_after, fill_order, result_of
from trendedge.domain.events import TradeEvent, trade_event
from trendedge.domain.fills import Fill, slipped
from trendedge.domain.instruments import INSTRUMENTS
from trendedge.domain.journal import JournalLine, journal_line
from trendedge.domain.orders import Order, OrderStatus, client_order_id
from trendedge.domain.performance import DailyResult
from trendedge.domain.plans import Contract, Plan, plan, resolve
from trendedge.domain.positions import Position
from trendedge.domain.risk import (
    LAST_PRICE_MAX_AGE,
    Check,
    Rejection,
    RejectionCode,
    check_broker,
    check_halt,
    check_order_type,
    check_quantity,
    check_session,
    failed,
    reference_price,
    rejection_of,
)
from trendedge.domain.signals import OrderType
from trendedge.domain.trades import Trade
from trendedge.domain.wire import DerivedIds

__all__ = [
    "LAST_PRICE_MAX_AGE",
    "Book",
    "Check",
    "Contract",
    "Execution",
    "ExecutionRequest",
    "ExecutionStatus",
    "Fill",
    "JournalLine",
    "LastPrice",
    "Order",
    "Position",
    "Rejection",
    "RejectionCode",
    "Trade",
    "TradeEvent",
    "decide",
    "duplicate_of",
    "given_up",
]


class ExecutionStatus(StrEnum):
    """How a signal ended; these are values of the signal's `status`."""

    FILLED = "filled"
    REJECTED = "rejected"
    DEAD = "dead"
    """Given up after its attempts: the fault is ours, and a person has to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """All that one signal leads to. When it was rejected, the book is unchanged and all from `orders` on is empty."""

    status: ExecutionStatus
    rejection: Rejection | None
    contract: Contract
    checks: tuple[Check, ...]
    book: Book
    """The book afterwards: `account.version` is one higher if it changed."""
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    trades: tuple[Trade, ...] = ()
    """As they are afterwards, to be inserted or replaced by id: the closed one before the opened one."""
    positions: tuple[Position, ...] = ()
    """As they are afterwards, to be inserted or replaced by account and symbol."""
    journal: tuple[JournalLine, ...] = ()
    rollup: tuple[DailyResult, ...] = ()
    """To be added to the rows of the same keys."""
    events: tuple[TradeEvent, ...] = ()
    """In the order in which they are to be told."""


def decide(request: ExecutionRequest, *, book: Book, last_price: LastPrice | None, now: datetime) -> Execution:
    """Fill the signal on paper, or reject it with a reason.

    `last_price` is only looked at when the alert has no price. Never raises for anything that a parsed signal can hold.
    """
    signal, account = request.signal, book.account
    contract, ambiguous = resolve(signal, book)
    position = book.position(contract.symbol, root=contract.root)
    if ambiguous is not None:
        return _rejected((ambiguous,), contract=contract, book=book)
    chosen, planned = plan(signal, position=position, default_quantity=account.default_quantity)
    if chosen is None:
        return _rejected((planned,), contract=contract, book=book)
    price, priced = reference_price(signal, last=last_price, now=now)
    checks = (
        planned,
        check_broker(account),
        check_order_type(signal.order_type),
        _counted(chosen),
        check_halt(account_halted=account.halted, system_halted=book.system_halted, opens=chosen.opens),
        check_session(contract.root, any_hour=account.any_hour, now=now),
        priced,
    )
    if price is None or rejection_of(checks) is not None:
        return _rejected(checks, contract=contract, book=book)
    return _filled(request, chosen, contract=contract, checks=checks, book=book, price=price, now=now)


def duplicate_of(request: ExecutionRequest, *, first: str, book: Book) -> Execution:
    """The rejection of a signal whose meaning another one, `first`, has had within the last minute."""
    contract, _ = resolve(request.signal, book)
    detail = f"signal {first} had the same meaning less than a minute earlier"
    check = failed("duplicate", RejectionCode.DUPLICATE, detail, first=first)
    return _rejected((check,), contract=contract, book=book)


def given_up(request: ExecutionRequest, *, cause: str, book: Book) -> Execution:
    """The outcome of a signal that could not be executed however often it was tried. `cause` is shown to its owner."""
    contract, _ = resolve(request.signal, book)
    check = failed("execution", RejectionCode.GIVEN_UP, f"the signal could not be executed: {cause}")
    return replace(_rejected((check,), contract=contract, book=book), status=ExecutionStatus.DEAD)


def _counted(chosen: Plan) -> Check:
    held = chosen.position.quantity
    return check_quantity(held=held, order=chosen.quantity, after=held + chosen.side.sign * chosen.quantity)


def _rejected(checks: tuple[Check, ...], *, contract: Contract, book: Book) -> Execution:
    return Execution(
        status=ExecutionStatus.REJECTED,
        rejection=rejection_of(checks),
        contract=contract,
        checks=checks,
        book=book,
    )


def _filled(
    request: ExecutionRequest,
    chosen: Plan,
    *,
    contract: Contract,
    checks: tuple[Check, ...],
    book: Book,
    price: Decimal,
    now: datetime,
) -> Execution:
    make_id = DerivedIds(request.signal_id)
    order = _order(request, chosen, order_id=make_id("order"), now=now)
    at_price = _fill_price(order, price, slippage_ticks=book.account.slippage_ticks)
    playbook = request.signal.playbook
    legs = fill_order(order, chosen, book=book, price=at_price, make_id=make_id, playbook_id=playbook)
    result = result_of(legs, at=now)
    return Execution(
        status=ExecutionStatus.FILLED,
        rejection=None,
        contract=contract,
        checks=checks,
        book=book_after(book, legs, result=result),
        orders=(order,),
        fills=tuple(leg.fill for leg in legs),
        trades=tuple(leg.trade for leg in legs),
        positions=(legs[-1].position,),
        journal=tuple(
            journal_line(leg, line_id=make_id(f"journal/{n}"), signal_id=request.signal_id)
            for n, leg in enumerate(legs)
        ),
        rollup=(result,),
        events=tuple(trade_event(leg, event_id=make_id(f"event/{n}"), request=request) for n, leg in enumerate(legs)),
    )


def _order(request: ExecutionRequest, chosen: Plan, *, order_id: str, now: datetime) -> Order:
    signal, position = request.signal, chosen.position
    return Order(
        id=order_id,
        signal_id=request.signal_id,
        account_id=position.account_id,
        symbol=position.symbol,
        root=position.root,
        side=chosen.side,
        type=signal.order_type,
        quantity=chosen.quantity,
        limit_price=signal.limit_price if signal.order_type is OrderType.LIMIT else None,
        stop_price=None,
        status=OrderStatus.FILLED,
        client_order_id=client_order_id(request.signal_id),
        created_at=now,
    )


def _fill_price(order: Order, price: Decimal, *, slippage_ticks: int) -> Decimal:
    if order.type is OrderType.LIMIT:
        return price
    tick_size = INSTRUMENTS[order.root].tick_size
    return slipped(price, side=order.side, ticks=slippage_ticks, tick_size=tick_size)
