from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.domain.trading import WEDNESDAY
from trendedge.domain.fills import Fill, slipped
from trendedge.domain.orders import Side
from trendedge.domain.signals import Direction
from trendedge.domain.trades import Trade, TradeStatus, opened

ENTRY = Fill(
    id="fill-1",
    order_id="order-1",
    trade_id="trade-1",
    account_id="acc-1",
    symbol="MNQ",
    root="MNQ",
    side=Side.BUY,
    price=Decimal(18500),
    quantity=2,
    commission=Decimal("1.24"),
    at=WEDNESDAY,
)


def begun(entry: Fill = ENTRY) -> Trade:
    return opened(entry, signal_id="signal-1", playbook_id="breakout")


def later(quantity: int, price: str, *, side: Side = Side.SELL) -> Fill:
    price_points = Decimal(price)
    at = WEDNESDAY + timedelta(minutes=5)
    return replace(
        ENTRY, side=side, quantity=quantity, price=price_points, commission=Decimal("0.62") * quantity, at=at
    )


def test_a_trade_begins_open_and_without_results() -> None:
    trade = begun()
    assert (trade.direction, trade.status, trade.quantity, trade.open_quantity) == ("long", "open", 2, 2)
    assert (trade.entry_price, trade.exit_price, trade.closed_at) == (Decimal(18500), None, None)
    assert (trade.gross_pnl, trade.commission, trade.pnl) == (Decimal(0), Decimal("1.24"), Decimal("-1.24"))
    assert (trade.r_multiple, trade.mae, trade.mfe, trade.playbook_id) == (None, None, None, "breakout")


def test_a_sale_from_flat_is_a_short() -> None:
    assert begun(replace(ENTRY, side=Side.SELL)).direction is Direction.SHORT


def test_entries_count_into_quantity_and_average() -> None:
    trade = begun().entered(later(1, "18503", side=Side.BUY))
    assert (trade.quantity, trade.entry_price, trade.commission) == (3, Decimal(18501), Decimal("1.86"))


def test_a_trade_closes_with_its_last_contract() -> None:
    half = begun().left(later(1, "18510"), realized_pnl=Decimal(20))
    assert (half.status, half.open_quantity, half.exit_price, half.closed_at) == ("open", 1, Decimal(18510), None)
    whole = half.left(later(1, "18490"), realized_pnl=Decimal(-20))
    assert (whole.status, whole.open_quantity, whole.exit_price) == (TradeStatus.CLOSED, 0, Decimal(18500))
    assert whole.closed_at == WEDNESDAY + timedelta(minutes=5)
    assert (whole.gross_pnl, whole.pnl) == (Decimal(0), Decimal("-2.48"))
    assert whole.quantity == 2


def test_excursions_keep_the_worst_and_the_best() -> None:
    trade = begun().seen_at(Decimal(-30)).seen_at(Decimal(50)).seen_at(Decimal(10))
    assert (trade.mae, trade.mfe) == (Decimal(30), Decimal(50))
    assert begun().seen_at(Decimal(5)).mae == 0


def test_slippage_is_against_the_trader() -> None:
    tick = Decimal("0.25")
    assert slipped(Decimal(100), side=Side.BUY, ticks=2, tick_size=tick) == Decimal("100.50")
    assert slipped(Decimal(100), side=Side.SELL, ticks=2, tick_size=tick) == Decimal("99.50")
    assert slipped(Decimal(100), side=Side.SELL, ticks=0, tick_size=tick) == Decimal(100)
