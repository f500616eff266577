"""Round trips worked out by hand, in dollars, one for each family of instruments.

Each line of arithmetic stands beside its case, so that the code is checked against paper and not against itself.
"""

from decimal import Decimal

import pytest

from tests.domain.trading import desk, signal


@pytest.mark.parametrize(
    ("root", "side", "quantity", "entry", "exit_", "gross"),
    [
        # 18500.25 to 18512.75: 12.50 points x 20 dollars x 2 contracts
        ("NQ", "buy", 2, "18500.25", "18512.75", "500"),
        # 18500.25 to 18512.75 against a short: 12.50 x 2 x 3
        ("MNQ", "sell", 3, "18500.25", "18512.75", "-75"),
        # 71.40 to 70.15: 1.25 x 1000 x 1
        ("CL", "sell", 1, "71.40", "70.15", "1250"),
        # The May contract on 20 April 2020: 10.01 down to -37.63: 47.64 x 1000 x 2
        ("CL", "buy", 2, "10.01", "-37.63", "-95280"),
        # 1.08505 to 1.08730: 0.00225 x 125000 = 281.25, x 4
        ("6E", "buy", 4, "1.08505", "1.08730", "1125"),
        # 118-16 to 118-23 (32nds): 7/32 = 0.21875 x 1000 x 1
        ("ZB", "buy", 1, "118.5", "118.71875", "218.75"),
        # one tick of a 64th, 15.625, twice
        ("ZN", "sell", 2, "110.015625", "110", "31.25"),
        # 0.0067145 to 0.0067060: 0.0000085 = 17 ticks x 6.25 x 2
        ("6J", "sell", 2, "0.0067145", "0.0067060", "212.5"),
        # 95000 to 95105: 105 x 0.1 x 5
        ("MBT", "buy", 5, "95000", "95105", "52.5"),
    ],
)
def test_a_round_trip_in_dollars(root: str, side: str, quantity: int, entry: str, exit_: str, gross: str) -> None:
    trader = desk(starting_equity=Decimal(100_000), commission=Decimal("2.04"))
    trader.send(signal(side, root, price=entry, quantity=quantity))
    (trade,) = trader.send(signal("close", root, price=exit_)).trades
    commission = Decimal("2.04") * quantity * 2
    assert trade.status == "closed"
    assert (trade.gross_pnl, trade.commission) == (Decimal(gross), commission)
    assert trade.pnl == Decimal(gross) - commission
    assert trader.book.account.equity == Decimal(100_000) + Decimal(gross) - commission


@pytest.mark.parametrize(
    ("root", "price", "cost"),
    [
        # a tick on the way in and one on the way out, for one contract
        ("NQ", "18500", "10"),
        ("MNQ", "18500", "1"),
        ("CL", "71.40", "20"),
        ("6E", "1.085", "12.5"),
        ("ZB", "118.5", "62.5"),
        ("6J", "0.0067", "12.5"),
    ],
)
def test_slippage_costs_a_tick_each_way(root: str, price: str, cost: str) -> None:
    trader = desk(slippage_ticks=1)
    trader.send(signal("sell", root, price=price))
    (trade,) = trader.send(signal("close", root, price=price)).trades
    assert trade.gross_pnl == -Decimal(cost)


def test_a_morning_in_the_nasdaq() -> None:
    """Scale in, take some off, reverse, and go home flat: 2 dollars a point, 0.62 a contract and side.

    Long 2 at 18500 and 1 at 18530: cost 55530, average 18510. Sell 1 at 18540: +30 points = $60. Reverse 2 into short 2
    at 18525: +15 x 2 points = $60, the trade is closed at +$120 gross, 6 sides = $3.72. Buy 2 back at 18527.50: -2.50 x
    2 points = -$10 gross, 4 sides = $2.48.
    """
    trader = desk(starting_equity=Decimal(10_000), commission=Decimal("0.62"))
    trader.send_all(
        [
            signal("buy", price="18500", quantity=2),
            signal("buy", price="18530", quantity=1),
            signal("sell", price="18540", quantity=1),
            signal("reverse", price="18525"),
            signal("buy", price="18527.50", quantity=2),
        ]
    )
    closed, bought_back = trader.done[3].trades[0], trader.done[4].trades[0]
    assert (closed.gross_pnl, closed.commission, closed.pnl) == (Decimal(120), Decimal("3.72"), Decimal("116.28"))
    assert (bought_back.direction, bought_back.gross_pnl, bought_back.pnl) == ("short", Decimal(-10), Decimal("-12.48"))
    assert trader.book.account.equity == Decimal("10103.80")
    assert trader.held() == 0
