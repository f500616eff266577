"""What two alerts have to share to be one: `Signal.meaning`; and the journal's form of a signal."""

import json
import random
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.signal_strategies import signals
from trendedge.domain.alerts import parse_alert
from trendedge.domain.signals import Dialect, Repair, Signal, signal_from_wire, signal_to_wire

TODAY = date(2026, 2, 11)
ALERT = {"ticker": "NQ1!", "action": "buy", "quantity": 1, "price": 18250.25}
bounded = settings(max_examples=200, deadline=None)


def meaning(alert: dict[str, object] | str, *, user: str = "ann") -> str:
    body = alert if isinstance(alert, str) else json.dumps(alert)
    return parse_alert(body.encode(), today=TODAY).signal.meaning(user)


@pytest.mark.parametrize(
    "same",
    [
        {"price": "18250.25", "quantity": "1.0", "side": "LONG", "symbol": "CME_MINI:NQ1!"},
        {"symbol": "NQ", "data": "bullish", "qty": 1, "signalPrice": "18250.250"},
        ALERT | {"price": 18250.250000001},
        ALERT | {"token": "te_live_0123456789"},
        ALERT | {"api_key": "another-key", "comment": "unknown fields do not count"},
        ALERT | {"time": "2026-02-11T15:00:00Z"},
        ALERT | {"time": "2026-02-11T15:00:59Z", "timenow": 1770822000},
        ALERT | {"order_type": "MKT"},
        ALERT | {"id": None, "order_id": ""},
        "SYMBOL=NQ1!\nSIGNAL=BUY\nQTY=1\nPRICE=18250.25\nTOKEN=te_live_0123456789",
        "{“ticker”:“NQ1!”,“action”:“buy”,“quantity”:1,“price”:“18250.25”,}",
    ],
)
def test_spelling_order_key_and_clock_do_not_count(same: dict[str, object] | str) -> None:
    assert meaning(same) == meaning(ALERT)


@pytest.mark.parametrize(
    "other",
    [
        ALERT | {"ticker": "MNQ1!"},
        ALERT | {"ticker": "NQH6"},
        ALERT | {"action": "sell"},
        ALERT | {"action": "close"},
        ALERT | {"quantity": 2},
        ALERT | {"quantity": None},
        ALERT | {"price": 18250.5},
        ALERT | {"price": None},
        ALERT | {"order_type": "limit"},
        ALERT | {"account": "second"},
        ALERT | {"id": "1"},
    ],
)
def test_contract_action_type_quantity_price_and_account_count(other: dict[str, object]) -> None:
    assert meaning(other) != meaning(ALERT)


def test_the_same_contract_ten_years_on_is_another() -> None:
    assert meaning(ALERT | {"ticker": "NQM2016"}) != meaning(ALERT | {"ticker": "NQM2026"})
    assert meaning(ALERT | {"ticker": "NQM6"}) == meaning(ALERT | {"ticker": "NQM2026"})


def test_each_user_has_meanings_of_their_own() -> None:
    assert meaning(ALERT, user="bob") != meaning(ALERT)
    assert meaning(ALERT | {"id": "1"}, user="bob") != meaning(ALERT | {"id": "1"})


def test_leaving_a_long_is_not_leaving_a_short() -> None:
    assert meaning({"ticker": "NQ", "action": "exit_long"}) != meaning({"ticker": "NQ", "action": "exit_short"})


@given(st.randoms(use_true_random=False))
@bounded
def test_the_order_of_keys_does_not_count(rng: random.Random) -> None:
    keys = list(ALERT)
    rng.shuffle(keys)
    assert meaning({key: ALERT[key] for key in keys}) == meaning(ALERT)


@given(signals(), signals(), st.text(min_size=1, max_size=10))
@bounded
def test_the_senders_id_decides_alone(one: Signal, other: Signal, sender_id: str) -> None:
    assert replace(one, sender_id=sender_id).meaning("ann") == replace(other, sender_id=sender_id).meaning("ann")
    assert replace(one, sender_id=sender_id).meaning("ann") != replace(one, sender_id=sender_id + "x").meaning("ann")


@given(signals())
@bounded
def test_what_the_sender_did_not_decide_does_not_count(signal: Signal) -> None:
    other = replace(
        signal,
        dialect=Dialect.KEY_VALUE,
        sent_at=datetime(2026, 1, 1, tzinfo=UTC),
        repairs=(Repair("price", "1", "2"),),
        playbook="another",
        price=None if signal.price is None else signal.price.quantize(Decimal("1e-12")),
    )
    assert other.meaning("ann") == signal.meaning("ann")
    assert len(signal.meaning("ann")) == 32


@given(signals())
@bounded
def test_the_journal_gives_back_exactly_what_it_was_given(signal: Signal) -> None:
    again = signal_from_wire(orjson.loads(orjson.dumps(signal_to_wire(signal))))
    assert again == signal
    assert [str(p) for p in (again.price, again.limit_price, again.stop_price)] == [
        str(p) for p in (signal.price, signal.limit_price, signal.stop_price)
    ]


def test_the_stated_price_is_the_orders_before_the_markets() -> None:
    assert parse_alert(json.dumps(ALERT).encode(), today=TODAY).signal.stated_price == Decimal("18250.25")
    limit = parse_alert(json.dumps(ALERT | {"order_type": "limit"}).encode(), today=TODAY).signal
    assert (limit.price, limit.limit_price, limit.stated_price) == (None, Decimal("18250.25"), Decimal("18250.25"))
