"""What holds for every account after every sequence of signals, to the last digit: no tolerance anywhere."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.trading import Desk, desk, last_price, request, signal
from trendedge.domain.book import LastPrice
from trendedge.domain.execution import Execution, Fill, Trade, decide
from trendedge.domain.instruments import INSTRUMENTS
from trendedge.domain.performance import roll_up
from trendedge.domain.signals import Action, Direction, OrderType, Signal
from trendedge.domain.trades import TradeStatus

CONTRACTS = ("MNQ", "MNQM6", "MNQU6", "ZN", "6J")
ZERO = Decimal(0)


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    contract = draw(st.sampled_from(CONTRACTS))
    action = draw(st.sampled_from(Action))
    instrument = INSTRUMENTS[contract.removesuffix("M6").removesuffix("U6")]
    price = draw(st.none() | st.integers(-200, 80_000).map(lambda ticks: ticks * instrument.tick_size))
    limited = draw(st.booleans()) and price is not None
    held = draw(st.none() | st.sampled_from(Direction)) if action in (Action.CLOSE, Action.ADD) else None
    return replace(
        signal(action, contract),
        quantity=draw(st.none() | st.integers(1, 7)),
        held=held,
        order_type=OrderType.LIMIT if limited else OrderType.MARKET,
        price=None if limited else price,
        limit_price=price if limited else None,
    )


@st.composite
def desks(draw: st.DrawFn) -> Desk:
    """An account with a history: up to fifteen signals, over some days."""
    trader = desk(
        commission=draw(st.sampled_from([ZERO, Decimal("0.62"), Decimal("1.333")])),
        slippage_ticks=draw(st.integers(0, 3)),
        default_quantity=draw(st.integers(1, 3)),
        any_hour=draw(st.booleans()),
    )
    for asked in draw(st.lists(signals(), max_size=15)):
        trader.now += timedelta(hours=draw(st.integers(0, 30)))
        trader.set(halted=draw(st.integers(0, 9)) == 0)
        trader.send(asked, last=draw(st.sampled_from([None, _known(trader, asked)])))
    return trader


def _known(trader: Desk, asked: Signal) -> LastPrice:
    return last_price("100", root=asked.symbol.root, at=trader.now)


def fills(done: Iterable[Execution]) -> list[Fill]:
    return [fill for execution in done for fill in execution.fills]


def trades(done: Iterable[Execution]) -> dict[str, Trade]:
    """Every trade as it is in the end."""
    return {trade.id: trade for execution in done for trade in execution.trades}


def cash(some: Iterable[Fill]) -> Decimal:
    """Dollars received less dollars paid, as if each contract were bought and sold for its full value."""
    return sum((-f.signed_quantity * f.price * INSTRUMENTS[f.root].point_value for f in some), ZERO)


@given(desks())
def test_a_position_is_the_signed_sum_of_its_fills(trader: Desk) -> None:
    summed: dict[str, int] = defaultdict(int)
    for fill in fills(trader.done):
        summed[fill.symbol] += fill.signed_quantity
    assert {name: position.quantity for name, position in trader.book.positions.items()} == summed


@given(desks())
def test_profit_is_the_cash_of_the_fills(trader: Desk) -> None:
    """Closed trades earn what their fills brought; an open one what they brought beside what is still held at cost."""
    by_trade: dict[str, list[Fill]] = defaultdict(list)
    for fill in fills(trader.done):
        by_trade[fill.trade_id].append(fill)
    for trade in trades(trader.done).values():
        held = ZERO
        if trade.status is TradeStatus.OPEN:
            held = trader.book.positions[trade.symbol].cost_usd
        assert trade.gross_pnl == cash(by_trade[trade.id]) + held
        assert trade.commission == sum((fill.commission for fill in by_trade[trade.id]), ZERO)


@given(desks())
def test_a_closed_trade_earns_the_difference_of_its_values(trader: Desk) -> None:
    for trade in trades(trader.done).values():
        if trade.status is TradeStatus.CLOSED:
            sign = 1 if trade.direction is Direction.LONG else -1
            points = sign * (trade.exit_value - trade.entry_value)
            assert trade.gross_pnl == points * INSTRUMENTS[trade.root].point_value
            assert trade.quantity == trade.exit_quantity


@given(desks())
def test_there_is_one_open_trade_for_each_position_and_none_for_a_flat_one(trader: Desk) -> None:
    book = trader.book
    assert {name for name, position in book.positions.items() if position.quantity} == set(book.open_trades)
    for name, trade in book.open_trades.items():
        position = book.positions[name]
        assert trade.status is TradeStatus.OPEN
        assert trade.open_quantity == abs(position.quantity) > 0
        assert (trade.direction is Direction.LONG) == (position.quantity > 0)
    for position in book.positions.values():
        assert position.quantity or (position.cost_usd, position.average_price) == (ZERO, ZERO)
    assert {t.id for t in trades(trader.done).values() if t.status == "open"} == {
        t.id for t in book.open_trades.values()
    }


@given(desks())
def test_equity_reconciles(trader: Desk) -> None:
    owner = trader.book.account
    everything = trades(trader.done).values()
    assert owner.equity == owner.starting_equity + sum((trade.pnl for trade in everything), ZERO)
    assert owner.realized_pnl == sum((p.realized_pnl for p in trader.book.positions.values()), ZERO)
    at_cost = sum((p.cost_usd for p in trader.book.positions.values()), ZERO)
    assert owner.realized_pnl == cash(fills(trader.done)) + at_cost


@given(desks())
def test_the_rollup_adds_up_to_the_trades(trader: Desk) -> None:
    rows = roll_up(result for execution in trader.done for result in execution.rollup)
    for root in ("MNQ", "ZN", "6J"):
        mine = [row for key, row in rows.items() if key.root == root]
        of_root = [trade for trade in trades(trader.done).values() if trade.root == root]
        closed = [trade for trade in of_root if trade.status is TradeStatus.CLOSED]
        assert sum((row.gross_pnl for row in mine), ZERO) == sum((trade.gross_pnl for trade in of_root), ZERO)
        assert sum((row.pnl for row in mine), ZERO) == sum((trade.pnl for trade in of_root), ZERO)
        assert sum(row.trades for row in mine) == len(closed)
        assert sum(row.wins for row in mine) == sum(trade.pnl > 0 for trade in closed)
        assert sum(row.losses for row in mine) == sum(trade.pnl < 0 for trade in closed)
        assert sum(row.contracts for row in mine) == sum(trade.quantity + trade.exit_quantity for trade in of_root)


@given(desks())
def test_an_execution_is_whole(trader: Desk) -> None:
    """Each fill has its order, its trade, its line and its event; the fills are the order and share its commission."""
    for execution in trader.done:
        if execution.status == "rejected":
            assert not execution.orders
            continue
        (order,) = execution.orders
        assert sum(fill.quantity for fill in execution.fills) == order.quantity
        assert sum((f.commission for f in execution.fills), ZERO) == trader.book.account.commission * order.quantity
        assert len({fill.price for fill in execution.fills}) == 1
        of_fills = [fill.trade_id for fill in execution.fills]
        assert of_fills == [trade.id for trade in execution.trades] == [line.trade_id for line in execution.journal]
        assert of_fills == [event.data["trade_id"] for event in execution.events]
        assert execution.positions == (execution.book.positions[order.symbol],)


@given(desks(), signals())
def test_an_exit_opens_nothing_and_a_reverse_keeps_count(trader: Desk, asked: Signal) -> None:
    before = trader.book
    execution = trader.send(asked)
    for order in execution.orders:
        held = before.positions[order.symbol].quantity if order.symbol in before.positions else 0
        after = trader.held(order.symbol)
        assert after - held == order.side.sign * order.quantity
        match asked.action:
            case Action.CLOSE:
                assert 0 <= after * (1 if held > 0 else -1) < abs(held)
                assert "trade.created" not in [event.type for event in execution.events]
            case Action.REVERSE:
                assert after * held < 0
                assert abs(after) == (asked.quantity or abs(held))
                assert [event.type for event in execution.events] == ["trade.closed", "trade.created"]
            case Action.ADD:
                assert after * held > 0
                assert abs(after) > abs(held)


@given(desks(), signals())
def test_equal_inputs_give_equal_outputs(trader: Desk, asked: Signal) -> None:
    ordered = request(asked, number=999, owner=trader.book.account)
    last = _known(trader, asked)
    first = decide(ordered, book=trader.book, last_price=last, now=trader.now)
    again = decide(ordered, book=replace(trader.book), last_price=replace(last), now=trader.now)
    assert first == again
    if first.status == "rejected":
        assert first.book == trader.book


@settings(max_examples=30)
@given(st.lists(signals(), min_size=1, max_size=12))
def test_a_book_reaches_the_same_end_whether_kept_or_reloaded(asked: list[Signal]) -> None:
    """The executor keeps its book in memory; a restart loads equal values from rows. Nothing else may matter."""
    kept, reloaded = desk(), desk()
    for one in asked:
        kept.send(one, last=_known(kept, one))
        reloaded.book = replace(
            reloaded.book,
            account=replace(reloaded.book.account),
            positions={name: replace(held) for name, held in sorted(reloaded.book.positions.items())},
            open_trades={name: replace(held) for name, held in sorted(reloaded.book.open_trades.items())},
        )
        reloaded.send(one, last=_known(reloaded, one))
    assert kept.done == reloaded.done
    assert kept.book == reloaded.book
    assert kept.book.account.version == sum(execution.status == "filled" for execution in kept.done)
