from decimal import Decimal
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from trendedge.domain.positions import Position, average

TWENTY = Decimal(20)
FLAT = Position(account_id="acc-1", symbol="NQ", root="NQ")


def test_entries_average() -> None:
    held = FLAT.increased(2, price=Decimal(100), point_value=TWENTY).increased(
        1, price=Decimal("100.75"), point_value=TWENTY
    )
    assert (held.quantity, held.average_price, held.cost_usd) == (3, Decimal("100.25"), Decimal(6015))


def test_a_partial_exit_leaves_the_average_price() -> None:
    held = FLAT.increased(-4, price=Decimal(100), point_value=TWENTY).reduced(1, price=Decimal(90), point_value=TWENTY)
    assert (held.quantity, held.average_price, held.realized_pnl) == (-3, Decimal(100), Decimal(200))


def test_an_exit_that_does_not_come_out_even_is_rounded_to_a_hundredth_of_a_cent() -> None:
    held = FLAT.increased(2, price=Decimal(100), point_value=TWENTY).increased(
        1, price=Decimal(101), point_value=TWENTY
    )
    first = held.reduced(-1, price=Decimal(110), point_value=TWENTY)
    assert first.realized_pnl == Decimal("193.3333")
    assert first.cost_usd == Decimal("4013.3333")
    assert first.reduced(-2, price=Decimal(110), point_value=TWENTY).realized_pnl == (330 - 301) * TWENTY


def test_a_flat_position_has_neither_cost_nor_price() -> None:
    flat = FLAT.increased(3, price=Decimal("0.0067145"), point_value=TWENTY).reduced(
        -3, price=Decimal("0.0067"), point_value=TWENTY
    )
    assert flat.is_flat
    assert flat.cost_usd == flat.average_price == 0


def test_unrealized_profit_of_a_short_falls_with_the_price() -> None:
    short = FLAT.increased(-2, price=Decimal(100), point_value=TWENTY)
    assert short.unrealized_pnl(Decimal(99), point_value=TWENTY) == 40
    assert short.unrealized_pnl(Decimal(101), point_value=TWENTY) == -40


def test_averages_are_rounded_half_to_even_and_written_short() -> None:
    assert str(average(Decimal("37000.50"), 2)) == "18500.25"
    assert str(average(Decimal(18500), 1)) == "18500"
    assert str(average(Decimal(2), 3)) == "0.6666666667"
    assert str(average(Decimal("0.00000000005"), 1)) == "0"


@given(
    entries=st.lists(st.tuples(st.integers(1, 9), st.decimals(-50, 50_000, places=6)), min_size=1, max_size=6),
    exits=st.lists(st.tuples(st.integers(1, 9), st.decimals(-50, 50_000, places=6)), max_size=8),
    direction=st.sampled_from([1, -1]),
)
def test_all_exits_together_realise_exactly_what_came_in_less_what_went_out(
    entries: list[tuple[int, Decimal]], exits: list[tuple[int, Decimal]], direction: int
) -> None:
    position = FLAT
    for count, price in entries:
        position = position.increased(direction * count, price=price, point_value=TWENTY)
    total = sum(count for count, _ in entries)
    so_far = accumulate(count for count, _ in exits)
    partial = [leg for leg, gone in zip(exits, so_far, strict=True) if gone < total]
    steps = [*partial, (total - sum(count for count, _ in partial), Decimal("1.25"))]
    for count, price in steps:
        position = position.reduced(-direction * count, price=price, point_value=TWENTY)
    paid = sum((count * price for count, price in entries), Decimal(0))
    received = sum((count * price for count, price in steps), Decimal(0))
    assert position.is_flat
    assert position.realized_pnl == direction * (received - paid) * TWENTY
