from datetime import date
from decimal import Decimal

import pytest

from trendedge.domain.performance import DailyResult, ResultKey, roll_up

MONDAY = ResultKey("acc-1", date(2026, 2, 16), "MNQ")
TUESDAY = ResultKey("acc-1", date(2026, 2, 17), "MNQ")


def test_results_of_one_day_add_up() -> None:
    entry = DailyResult(key=MONDAY, contracts=2, commission=Decimal("1.24"))
    win = DailyResult(key=MONDAY, trades=1, wins=1, contracts=2, gross_pnl=Decimal(40), commission=Decimal("1.24"))
    loss = DailyResult(key=MONDAY, trades=1, losses=1, contracts=1, gross_pnl=Decimal(-15), commission=Decimal("0.62"))
    even = DailyResult(key=MONDAY, trades=1)
    assert entry + win + loss + even == DailyResult(
        key=MONDAY, trades=3, wins=1, losses=1, contracts=5, gross_pnl=Decimal(25), commission=Decimal("3.10")
    )
    assert (entry + win).pnl == Decimal("37.52")


def test_the_rollup_has_a_row_for_each_key() -> None:
    parts = [DailyResult(key=key, trades=1) for key in (MONDAY, TUESDAY, MONDAY)]
    assert {key: row.trades for key, row in roll_up(parts).items()} == {MONDAY: 2, TUESDAY: 1}


def test_different_days_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        DailyResult(key=MONDAY) + DailyResult(key=TUESDAY)
