"""The eight payloads of FACTS.md, posted as TradingView posts them: JSON as such, everything else as plain text."""

import json
from dataclasses import dataclass
from decimal import Decimal

import httpx
import pytest

from tests.system.envelope import error_of
from tests.system.ledger import FINAL
from tests.system.person import WEBHOOK, Person
from tests.system.product import Product
from tests.system.waiting import eventually


@dataclass(frozen=True, slots=True)
class Payload:
    """A body as a vendor's template gives it. `KEY` stands for the webhook key; without it the key is in the path."""

    name: str
    text: str
    action: str = ""
    root: str = ""
    quantity: int | None = None
    price: str | None = None
    field: str = ""
    """The field that the refusal has to name; empty when the alert is valid."""

    def __str__(self) -> str:
        return self.name


VALID = (
    Payload(
        "1 strings for numbers",
        '{"ticker":"NQ1!","action":"buy","sentiment":"long","quantity":"1","price":"18250.25",'
        '"time":"2026-02-11T15:00:00Z","interval":"60"}',
        "buy", "NQ", 1, "18250.25",
    ),
    Payload(
        "2 camel case",
        '{"ticker":"MNQ","action":"buy","orderType":"market","signalPrice":18500,"takeProfit":{"amount":100}}',
        "buy", "MNQ", None, "18500",
    ),
    Payload(
        "3 a long template",
        '{"symbol":"NQM5","date":"2026-02-11T15:00:00Z","data":"buy","quantity":10,"risk_percentage":0,'
        '"price":"18500.25","tp":0,"percentage_tp":100,"dollar_tp":0,"sl":0,"dollar_sl":0,"percentage_sl":50,'
        '"order_type":"MKT","update_tp":false,"update_sl":"false","token":"KEY","duplicate_position_allow":"true",'
        '"reverse_order_close":true,'
        '"multiple_accounts":[{"token":"KEY","account_id":"X1","quantity_multiplier":1}]}',
        "buy", "NQ", 10, "18500.25",
    ),
    Payload(
        "4 smart quotes",
        '{"ticker":"NQ1!",“action”:“buy”,“prev_position”:“flat”,“quantity”:“1”}',
        "buy", "NQ", 1, None,
    ),
    Payload("7 lines", "EXCHANGE=CME_MINI\nSYMBOL=NQ1!\nSIGNAL=BUY\nTOKEN=KEY", "buy", "NQ", None, None),
    Payload("7 semicolons", "EXCHANGE=CME_MINI;SYMBOL=NQ1!;SIGNAL=BUY;TOKEN=KEY", "buy", "NQ", None, None),
    Payload(
        "8 TradingView's own sentence",
        "My Strat (14): order sell @ 2 filled on NQ1!. New strategy position is -2",
        "sell", "NQ", 2, None,
    ),
)  # fmt: skip
REFUSED = (
    Payload("5 a plot without a value", '{"ticker":"NQ1!","action":"buy","price":NaN,}', field="price"),
    Payload(
        "6 placeholders left as they are",
        '{"ticker":"{{ticker}}","action":"{{strategy.order.action}}"}',
        field="ticker",
    ),
)


async def post(client: httpx.AsyncClient, person: Person, text: str) -> httpx.Response:
    """As TradingView: it cannot set a header of its own, so the key is in the body or in the address."""
    address = WEBHOOK if "KEY" in text else f"{WEBHOOK}/{person.key}"
    body = text.replace("KEY", person.key).encode()
    return await client.post(address, content=body, headers={"Content-Type": content_type_of(body)})


def content_type_of(body: bytes) -> str:
    """What TradingView says that a body is: strict JSON, or plain text."""
    try:
        json.loads(body, parse_constant=_refuse)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("payload", VALID, ids=str)
async def test_a_valid_alert_has_one_outcome(
    product: Product, client: httpx.AsyncClient, person: Person, payload: Payload
) -> None:
    answer = await post(client, person, payload.text)
    assert answer.status_code == 202, answer.text
    signal_id = answer.json()["signal_id"]
    await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "the signal is worked off")
    trace = await person.get(client, f"signals/{signal_id}")
    assert trace["status"] in FINAL
    assert (trace["action"], trace["root"]) == (payload.action, payload.root)
    if payload.quantity is not None:
        assert Decimal(trace["quantity"]) == payload.quantity
    if payload.price is None:
        # A price that nobody named is not invented: this trader has not traded yet, so it depends on the root's last.
        assert trace["status"] == "filled" or trace["rejection"]["code"] == "NO_PRICE"
        assert trace["price"] is None
    else:
        assert Decimal(trace["price"]) == Decimal(payload.price)
        assert trace["status"] == "filled", trace["rejection"]
    assert person.key not in json.dumps(trace)
    assert list(await product.ledger.outcomes(person.id)) == [signal_id]
    assert await product.ledger.faults(person.id) == []


async def test_a_repair_is_on_record(product: Product, client: httpx.AsyncClient, person: Person) -> None:
    answer = await post(client, person, '{"ticker":"NQ1!",“action”:“buy”,"price":"18250.25",}')
    assert answer.status_code == 202, answer.text
    signal_id = answer.json()["signal_id"]
    await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "the signal is worked off")
    trace = await person.get(client, f"signals/{signal_id}")
    assert len(trace["repairs"]) >= 2
    assert all(repair.keys() >= {"field", "was", "became"} for repair in trace["repairs"])


@pytest.mark.parametrize("payload", REFUSED, ids=str)
async def test_what_must_not_be_guessed_is_refused_with_the_field_and_the_mend(
    product: Product, client: httpx.AsyncClient, person: Person, payload: Payload
) -> None:
    error = error_of(await post(client, person, payload.text), 400, 422)
    details = {detail["field"]: detail["message"] for detail in error["details"]}
    assert payload.field in details
    assert len(details[payload.field]) > len(payload.field), "no word on how to mend it"
    assert await product.ledger.outcomes(person.id) == {}
