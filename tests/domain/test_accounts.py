from decimal import Decimal

from tests.domain.trading import account


def test_equity_is_what_was_put_in_and_earned_less_commissions() -> None:
    one = account(starting_equity=Decimal(50_000), realized_pnl=Decimal("120.50"), commissions=Decimal("2.48"))
    assert one.equity == Decimal("50118.02")


def test_booking_moves_the_sums_and_the_version() -> None:
    before = account(version=7)
    after = before.booked(realized_pnl=Decimal(-40), commission=Decimal("1.24"))
    assert (after.realized_pnl, after.commissions, after.version) == (Decimal(-40), Decimal("1.24"), 8)
    assert after.equity == before.equity - Decimal("41.24")
