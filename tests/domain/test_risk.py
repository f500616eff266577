from datetime import timedelta
from decimal import Decimal

import pytest

from tests.domain.trading import SATURDAY, WEDNESDAY, account, last_price, signal
from trendedge.domain.accounts import Mode
from trendedge.domain.risk import (
    MAX_CONTRACTS,
    MAX_PRICE,
    Check,
    RejectionCode,
    check_broker,
    check_halt,
    check_order_type,
    check_quantity,
    check_session,
    failed,
    passed,
    reference_price,
    rejection_of,
)
from trendedge.domain.signals import OrderType


def outcome(check: Check) -> RejectionCode | None:
    assert check.passed is (check.code is None)
    return check.code


def test_the_first_failure_is_the_reason() -> None:
    checks = (
        passed("a", "fine"),
        failed("b", RejectionCode.HALTED, "stopped"),
        failed("c", RejectionCode.NO_PRICE, "unknown"),
    )
    rejection = rejection_of(checks)
    assert rejection is not None
    assert rejection.to_wire() == {"code": "HALTED", "message": "stopped"}
    assert rejection_of(checks[:1]) is None


def test_a_check_is_told_with_its_numbers_beside_it() -> None:
    assert check_quantity(held=1, order=2, after=3).to_wire() == {
        "check": "quantity",
        "passed": True,
        "detail": "an order for 2 takes the position from 1 to 3",
        "held": "1",
        "order": "2",
        "after": "3",
        "maximum": "1000000",
    }


@pytest.mark.parametrize("order_type", OrderType)
def test_stops_are_not_executed(order_type: OrderType) -> None:
    executed = order_type in (OrderType.MARKET, OrderType.LIMIT)
    assert outcome(check_order_type(order_type)) is (None if executed else RejectionCode.ORDER_TYPE_UNSUPPORTED)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, None),
        ({"broker": "tradovate"}, RejectionCode.BROKER_UNSUPPORTED),
        ({"mode": Mode.LIVE}, RejectionCode.BROKER_UNSUPPORTED),
    ],
)
def test_only_a_paper_account_is_filled_on_paper(settings: dict[str, object], code: RejectionCode | None) -> None:
    assert outcome(check_broker(account(**settings))) is code


@pytest.mark.parametrize(
    ("order", "after", "code"),
    [
        (MAX_CONTRACTS, -MAX_CONTRACTS, None),
        (MAX_CONTRACTS + 1, 0, RejectionCode.QUANTITY_OUT_OF_RANGE),
        (1, -MAX_CONTRACTS - 1, RejectionCode.QUANTITY_OUT_OF_RANGE),
        (10**40, 10**40, RejectionCode.QUANTITY_OUT_OF_RANGE),
    ],
)
def test_what_cannot_be_counted_exactly_is_refused(order: int, after: int, code: RejectionCode | None) -> None:
    assert outcome(check_quantity(held=0, order=order, after=after)) is code


@pytest.mark.parametrize("account_halted", [False, True])
@pytest.mark.parametrize("system_halted", [False, True])
@pytest.mark.parametrize("opens", [0, 1])
def test_a_halt_refuses_whatever_opens_and_nothing_else(account_halted: bool, system_halted: bool, opens: int) -> None:
    refused = (account_halted or system_halted) and opens > 0
    check = check_halt(account_halted=account_halted, system_halted=system_halted, opens=opens)
    assert outcome(check) is (RejectionCode.HALTED if refused else None)


def test_a_closed_exchange_refuses() -> None:
    check = check_session("MNQ", any_hour=False, now=SATURDAY)
    assert outcome(check) is RejectionCode.MARKET_CLOSED
    assert check.facts["exchange_time"] == "2026-02-14T09:00:00-06:00"


def test_an_account_for_any_hour_trades_on_and_says_so() -> None:
    check = check_session("MNQ", any_hour=True, now=SATURDAY)
    assert check.passed
    assert "this account trades at any hour" in check.detail
    assert "any hour" not in check_session("MNQ", any_hour=True, now=WEDNESDAY).detail


def test_the_alerts_price_comes_before_the_last_one() -> None:
    price, check = reference_price(signal("buy", price="18500.25"), last=last_price("18400"), now=WEDNESDAY)
    assert (price, check.facts) == (Decimal("18500.25"), {"price": "18500.25"})


def test_a_limit_order_has_its_limit() -> None:
    price, _ = reference_price(signal("buy", price="18500", limit="18490.50"), last=None, now=WEDNESDAY)
    assert price == Decimal("18490.50")


def test_a_limit_order_without_a_limit_is_refused_whatever_the_market_says() -> None:
    bare = signal("buy", price="18500", order_type=OrderType.LIMIT)
    price, check = reference_price(bare, last=last_price("18500"), now=WEDNESDAY)
    assert (price, outcome(check)) == (None, RejectionCode.NO_PRICE)


@pytest.mark.parametrize(
    ("age", "known"),
    [
        (timedelta(), True),
        (timedelta(minutes=15) - timedelta(microseconds=1), True),
        (timedelta(minutes=15), False),
        (timedelta(days=1), False),
        (-timedelta(seconds=1), True),  # another machine's clock is ahead
    ],
)
def test_the_last_price_serves_for_less_than_a_quarter_of_an_hour(age: timedelta, known: bool) -> None:
    price, check = reference_price(signal("buy"), last=last_price("18500", at=WEDNESDAY - age), now=WEDNESDAY)
    assert price == (Decimal(18500) if known else None)
    assert outcome(check) is (None if known else RejectionCode.NO_PRICE)
    assert Decimal(check.facts["age_s"]) == Decimal(str(age.total_seconds()))
    assert check.facts["max_age_s"] == "900"


def test_no_price_at_all_is_no_price() -> None:
    for last in (None, last_price("5000", root="ES")):
        price, check = reference_price(signal("buy"), last=last, now=WEDNESDAY)
        assert (price, outcome(check)) == (None, RejectionCode.NO_PRICE)


@pytest.mark.parametrize("price", [MAX_PRICE, -MAX_PRICE, Decimal("1E+40")])
def test_a_price_that_cannot_be_calculated_with_exactly_is_refused(price: Decimal) -> None:
    known, check = reference_price(signal("buy", price=str(price)), last=None, now=WEDNESDAY)
    assert (known, outcome(check)) == (None, RejectionCode.PRICE_OUT_OF_RANGE)


def test_a_negative_price_is_a_price() -> None:
    price, check = reference_price(signal("buy", "CL", price="-37.63"), last=None, now=WEDNESDAY)
    assert (price, check.passed) == (Decimal("-37.63"), True)
