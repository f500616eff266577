from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trendedge.domain.instruments import INSTRUMENTS, MONTH_CODES, Instrument

TICK_VALUES = {
    "ES": "12.50", "MES": "1.25", "NQ": "5", "MNQ": "0.50", "YM": "5", "MYM": "0.50", "RTY": "5", "M2K": "0.50",
    "CL": "10", "MCL": "1", "NG": "10", "GC": "10", "MGC": "1", "SI": "25", "SIL": "5", "HG": "12.50", "PL": "5",
    "ZB": "31.25", "ZN": "15.625", "6E": "6.25", "6B": "6.25", "6J": "6.25", "BTC": "25", "MBT": "0.50",
}  # fmt: skip
"""US dollars for a tick, as the exchange's contract specifications print them."""

instruments = st.sampled_from(sorted(INSTRUMENTS)).map(INSTRUMENTS.__getitem__)


def test_each_product_is_in_the_table() -> None:
    assert set(INSTRUMENTS) == set(TICK_VALUES)


@pytest.mark.parametrize("root", TICK_VALUES)
def test_tick_size_times_point_value_is_the_exchanges_tick_value(root: str) -> None:
    assert INSTRUMENTS[root].tick_value == Decimal(TICK_VALUES[root])


def test_a_micro_has_the_tick_and_the_months_of_its_elder_at_a_tenth_or_less() -> None:
    micros = {row.root: row.micro_of for row in INSTRUMENTS.values() if row.micro_of}
    assert micros == {
        "MES": "ES", "MNQ": "NQ", "MYM": "YM", "M2K": "RTY", "MCL": "CL", "MGC": "GC", "SIL": "SI", "MBT": "BTC",
    }  # fmt: skip
    for root, elder in micros.items():
        assert INSTRUMENTS[root].tick_size == INSTRUMENTS[elder].tick_size
        assert INSTRUMENTS[root].months == INSTRUMENTS[elder].months
        assert INSTRUMENTS[root].point_value * 5 <= INSTRUMENTS[elder].point_value


def test_months_are_codes_in_the_order_of_the_year() -> None:
    for row in INSTRUMENTS.values():
        assert [*row.months] == sorted(row.months, key=MONTH_CODES.index)


@given(instruments, st.integers(-10_000, 10_000_000), st.decimals(-1, 1, places=12))
@settings(max_examples=200, deadline=None)
def test_the_nearest_tick_is_on_the_grid_and_at_most_half_a_tick_away(
    instrument: Instrument, ticks: int, share: Decimal
) -> None:
    price = ticks * instrument.tick_size + share * instrument.tick_size
    nearest = instrument.nearest_tick(price)
    assert instrument.on_tick(nearest)
    assert nearest % instrument.tick_size == 0
    assert abs(price - nearest) <= instrument.tick_size / 2
    assert instrument.on_tick(price) is (price % instrument.tick_size == 0)


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_no_tick_is_infinite(price: str) -> None:
    assert not INSTRUMENTS["NQ"].on_tick(Decimal(price))
