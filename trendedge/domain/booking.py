"""From a plan and a price to fills, and from fills to the book after them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trendedge.domain import trades
from trendedge.domain.accounts import Account
from trendedge.domain.book import Book
from trendedge.domain.fills import Fill
from trendedge.domain.instruments import INSTRUMENTS
from trendedge.domain.orders import Order
from trendedge.domain.performance import DailyResult, ResultKey
from trendedge.domain.plans import Plan
from trendedge.domain.positions import Position
from trendedge.domain.sessions import trading_day
from trendedge.domain.trades import Trade, TradeStatus

_ZERO = Decimal(0)


class Step(StrEnum):
    """What a fill did to its trade."""

    OPENED = "opened"
    INCREASED = "increased"
    REDUCED = "reduced"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One fill with what it led to: trade and position are those after it."""

    step: Step
    fill: Fill
    trade: Trade
    position: Position
    realized_pnl: Decimal
    """Dollars that this fill realised, before commission."""


def fill_order(
    order: Order, chosen: Plan, *, book: Book, price: Decimal, make_id: Callable[[str], str], playbook_id: str | None
) -> tuple[Leg, ...]:
    """Fill the whole order at one price: one leg, or two when it reverses, the closing one first.

    Fills belong to trades, and a reversing order has part in two; so it is one order with two fills.
    """
    quantities = [quantity for quantity in (chosen.closes, chosen.opens) if quantity]
    legs: list[Leg] = []
    position, trade = chosen.position, book.open_trades.get(order.symbol)
    for number, quantity in enumerate(quantities):
        trade_id = trade.id if trade is not None else make_id("trade")
        fill = _fill(order, make_id(f"fill/{number}"), trade_id, quantity=quantity, price=price, account=book.account)
        leg = _leg(fill, position=position, trade=trade, signal_id=order.signal_id, playbook_id=playbook_id)
        legs.append(leg)
        position, trade = leg.position, leg.trade if leg.trade.status is TradeStatus.OPEN else None
    return tuple(legs)


def _fill(order: Order, fill_id: str, trade_id: str, *, quantity: int, price: Decimal, account: Account) -> Fill:
    return Fill(
        id=fill_id,
        order_id=order.id,
        trade_id=trade_id,
        account_id=order.account_id,
        symbol=order.symbol,
        root=order.root,
        side=order.side,
        price=price,
        quantity=quantity,
        commission=account.commission * quantity,
        at=order.created_at,
    )


def _leg(fill: Fill, *, position: Position, trade: Trade | None, signal_id: str, playbook_id: str | None) -> Leg:
    point_value = INSTRUMENTS[fill.root].point_value
    if trade is None or position.quantity * fill.side.sign > 0:
        after = position.increased(fill.signed_quantity, price=fill.price, point_value=point_value)
        if trade is None:
            begun = trades.opened(fill, signal_id=signal_id, playbook_id=playbook_id)
            return Leg(step=Step.OPENED, fill=fill, trade=begun, position=after, realized_pnl=_ZERO)
        step, grown, realized = Step.INCREASED, trade.entered(fill), _ZERO
    else:
        after = position.reduced(fill.signed_quantity, price=fill.price, point_value=point_value)
        realized = after.realized_pnl - position.realized_pnl
        grown = trade.left(fill, realized_pnl=realized)
        step = Step.CLOSED if after.is_flat else Step.REDUCED
    seen = grown.seen_at(after.unrealized_pnl(fill.price, point_value=point_value))
    return Leg(step=step, fill=fill, trade=seen, position=after, realized_pnl=realized)


def book_after(book: Book, legs: tuple[Leg, ...], *, result: DailyResult) -> Book:
    """The book with the legs entered, and with what they brought, under its next version."""
    positions, open_trades = dict(book.positions), dict(book.open_trades)
    for leg in legs:
        symbol = leg.fill.symbol
        positions[symbol] = leg.position
        if leg.step is Step.CLOSED:
            del open_trades[symbol]
        else:
            open_trades[symbol] = leg.trade
    account = book.account.booked(realized_pnl=result.gross_pnl, commission=result.commission)
    return replace(book, account=account, positions=positions, open_trades=open_trades)


def result_of(legs: tuple[Leg, ...], *, at: datetime) -> DailyResult:
    """What the legs, of one order, add to the rollup."""
    first = legs[0].fill
    closed = [leg.trade.pnl for leg in legs if leg.step is Step.CLOSED]
    return DailyResult(
        key=ResultKey(first.account_id, trading_day(at), first.root),
        trades=len(closed),
        wins=sum(pnl > 0 for pnl in closed),
        losses=sum(pnl < 0 for pnl in closed),
        contracts=sum(leg.fill.quantity for leg in legs),
        gross_pnl=sum((leg.realized_pnl for leg in legs), _ZERO),
        commission=sum((leg.fill.commission for leg in legs), _ZERO),
    )
