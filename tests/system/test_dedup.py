"""Two alerts of one meaning within a minute trade once; whoever wants two trades sends two ids."""

from collections import Counter
from typing import Any

import anyio
import httpx
import orjson
import pytest

from tests.system.person import WEBHOOK, Person
from tests.system.product import Product
from tests.system.waiting import eventually

ALERT = {"ticker": "NQ1!", "action": "buy", "quantity": 1, "price": "18250.25"}


async def outcome(product: Product, client: httpx.AsyncClient, person: Person, *signals: str) -> list[dict[str, Any]]:
    """The trader's orders, once these signals are worked off."""
    await eventually(lambda: product.ledger.have_outcomes(person.id, signals), "the signals are worked off")
    assert set(await product.ledger.outcomes(person.id)) == set(signals)
    assert await product.ledger.faults(person.id) == []
    return [order for signal in signals for order in (await person.get(client, f"signals/{signal}"))["orders"]]


SAME = {
    "letter for letter": b'{"ticker":"NQ1!","action":"buy","quantity":1,"price":"18250.25","api_key":"KEY"}',
    "another spelling": b'{"symbol":"CME_MINI:nq1!","side":"LONG","qty":"1","price":18250.25,"token":"KEY"}',
    "another order of keys": b'{"api_key":"KEY","price":"18250.25","quantity":1,"action":"buy","ticker":"NQ1!"}',
    "more zeros": b'{"ticker":"NQ1!","action":"buy","quantity":"1.0","price":"18250.2500","api_key":"KEY"}',
    "the sender's clock": b'{"ticker":"NQ1!","action":"buy","quantity":1,"price":"18250.25","api_key":"KEY",'
    b'"time":"2026-02-11T15:00:07Z"}',
    "fields that mean nothing": b'{"ticker":"NQ1!","action":"buy","quantity":1,"price":"18250.25","api_key":"KEY",'
    b'"comment":"again","volume":123}',
    "key and value": b"SYMBOL=NQ1!\nSIGNAL=BUY\nQUANTITY=1\nPRICE=18250.25\nTOKEN=KEY",
}


@pytest.mark.parametrize("body", SAME.values(), ids=SAME.keys())
async def test_the_same_meaning_again_is_the_first_one(
    product: Product, client: httpx.AsyncClient, person: Person, body: bytes
) -> None:
    signal_id = await person.accepted(client, **ALERT, time="2026-02-11T15:00:00Z")
    again = await client.post(WEBHOOK, content=body.replace(b"KEY", person.key.encode()))
    assert again.status_code == 202, again.text
    assert (again.json()["status"], again.json()["signal_id"]) == ("duplicate", signal_id)
    assert len(await outcome(product, client, person, signal_id)) == 1


async def test_the_place_of_the_key_means_nothing(product: Product, client: httpx.AsyncClient, person: Person) -> None:
    signal_id = await person.accepted(client, **ALERT)
    in_header = await client.post(WEBHOOK, json=ALERT, headers={"X-API-Key": person.key})
    in_path = await client.post(f"{WEBHOOK}/{person.key}", json=ALERT)
    for again in (in_header, in_path):
        assert again.status_code == 202, again.text
        assert (again.json()["status"], again.json()["signal_id"]) == ("duplicate", signal_id)
    assert len(await outcome(product, client, person, signal_id)) == 1


OTHER: dict[str, dict[str, Any]] = {
    "side": {"action": "sell"},
    "quantity": {"quantity": 2},
    "price": {"price": "18250.50"},
    "root": {"ticker": "MNQ1!"},
    "contract": {"ticker": "NQZ2026"},
    "type": {"order_type": "limit"},
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER.keys())
async def test_another_meaning_is_another_signal(
    product: Product, client: httpx.AsyncClient, person: Person, change: dict[str, Any]
) -> None:
    first = await person.accepted(client, **ALERT)
    second = await person.accepted(client, **ALERT | change)
    assert first != second
    assert len(await outcome(product, client, person, first, second)) == 2


@pytest.mark.parametrize("name", ["id", "alert_id", "order_id"])
async def test_the_senders_id_decides_alone(
    product: Product, client: httpx.AsyncClient, person: Person, name: str
) -> None:
    first = await person.accepted(client, **ALERT, **{name: "a"})
    second = await person.accepted(client, **ALERT, **{name: "b"})
    changed = await person.alert(client, **ALERT | {"price": "18300.00"}, **{name: "a"})
    assert (changed.json()["status"], changed.json()["signal_id"]) == ("duplicate", first)
    assert len(await outcome(product, client, person, first, second)) == 2


async def test_another_traders_alert_is_no_duplicate(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    other = await product.person(f"twin-of-{person.id}")
    mine = await person.accepted(client, **ALERT, id="one")
    theirs = await other.accepted(client, **ALERT, id="one")
    assert len(await outcome(product, client, person, mine)) == 1
    assert len(await outcome(product, client, other, theirs)) == 1


async def test_of_twenty_at_once_one_is_accepted(product: Product, person: Person) -> None:
    answers: list[dict[str, Any]] = []
    body = orjson.dumps(ALERT | {"api_key": person.key})

    async def post() -> None:
        async with product.client() as client:
            answer = await client.post(WEBHOOK, content=body)
            assert answer.status_code == 202, answer.text
            answers.append(answer.json())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(post)
    assert Counter(answer["status"] for answer in answers) == {"accepted": 1, "duplicate": 19}
    (signal_id,) = {answer["signal_id"] for answer in answers}
    async with product.client() as client:
        assert len(await outcome(product, client, person, signal_id)) == 1
