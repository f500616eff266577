from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID, uuid5

import pytest

from trendedge.domain.wire import DerivedIds, dollars, instant, plain


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("18500.2500", "18500.25"),
        ("1.85E+4", "18500"),
        ("5E-7", "0.0000005"),
        ("-37.630", "-37.63"),
        ("100", "100"),
        ("0.00", "0"),
        ("-0.0", "0"),
        ("-0", "0"),
    ],
)
def test_numbers_are_plain_decimals(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1234.5", "$1,234.50"), ("-3.125", "-$3.125"), ("0", "$0.00"), ("-0.0", "$0.00"), ("15.625", "$15.625")],
)
def test_amounts_have_cents_and_finer_digits_only_where_there_are_some(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


def test_times_are_written_in_utc() -> None:
    chicago = timezone(timedelta(hours=-6))
    assert instant(datetime(2026, 2, 11, 9, 0, tzinfo=chicago)) == "2026-02-11T15:00:00Z"
    assert instant(datetime(2026, 2, 11, 15, 0, 0, 250_000, tzinfo=UTC)) == "2026-02-11T15:00:00.250000Z"


@pytest.mark.parametrize("name", ["order", "fill/0", "fill/1", "trade", "event/0"])
def test_derived_ids_are_those_of_rfc_9562(name: str) -> None:
    for signal_id in (str(UUID(int=number, version=4)) for number in range(50)):
        assert DerivedIds(signal_id)(name) == str(uuid5(UUID(signal_id), name))


def test_a_derived_id_is_the_same_for_ever() -> None:
    ids = DerivedIds("0b0f9b8e-7d60-4b51-9f64-6a86a1b8c0a1")
    assert ids("fill/0") == "a8d26fab-01dd-5cd2-a752-b0607af01a86"


def test_what_is_no_uuid_derives_nothing() -> None:
    with pytest.raises(ValueError, match="badly formed"):
        DerivedIds("signal-1")
