"""The main job: an alert becomes a trade that its trader sees live and finds again afterwards."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.system.listener import listening
from tests.system.person import Person
from tests.system.product import Product

ENTRY = {"ticker": "CME_MINI:NQ1!", "action": "buy", "quantity": "2", "price": "18250.25", "order_type": "limit"}
EXIT = {"ticker": "NQ1!", "action": "sell", "quantity": 2, "price": "18260.50", "order_type": "limit"}
POINTS, CONTRACTS, POINT_VALUE = Decimal("10.25"), 2, 20
COMMISSION = Decimal("1.25")
"""Dollars for one contract and one side."""


async def test_an_alert_becomes_a_trade_that_is_seen_live(product: Product, client: httpx.AsyncClient) -> None:
    person = await product.person_by_hand("first")
    async with listening(product.socket_url, token=person.token) as socket:
        signal_id = await person.accepted(client, **ENTRY)
        event = await socket.event("trade.created", signal_id=signal_id)
    assert event["id"]
    assert event["at"].endswith("Z")

    (trade,) = await person.items(client, "trades")
    assert trade["id"] == event["data"]["trade_id"]
    assert (trade["signal_id"], trade["status"], trade["direction"]) == (signal_id, "open", "long")
    assert (trade["symbol"], trade["root"]) == ("NQ", "NQ")
    assert Decimal(trade["quantity"]) == 2
    assert Decimal(trade["entry_price"]) == Decimal("18250.25")
    assert trade["exit_price"] is None
    assert trade["closed_at"] is None
    (position,) = await person.items(client, "positions")
    assert (position["account_id"], position["root"]) == (trade["account_id"], "NQ")
    assert Decimal(position["quantity"]) == 2
    assert Decimal(position["average_price"]) == Decimal("18250.25")


async def test_the_trace_of_a_signal_says_all_that_was_decided(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    async with listening(product.socket_url, token=person.token) as socket:
        signal_id = await person.accepted(client, **ENTRY, comment="breakout")
        await socket.event("trade.created", signal_id=signal_id)
    trace = await person.get(client, f"signals/{signal_id}")
    assert (trace["id"], trace["status"], trace["action"], trace["root"]) == (signal_id, "filled", "buy", "NQ")
    assert "breakout" in trace["raw"]
    assert person.key not in trace["raw"]
    assert "***" in trace["raw"]
    assert trace["source"]["dialect"] == "json"
    assert trace["rejection"] is None
    assert trace["checks"], "no check is no decision"
    assert all(check["passed"] and check["check"] and check["detail"] for check in trace["checks"])
    (order,) = trace["orders"]
    assert (order["signal_id"], order["side"], order["type"]) == (signal_id, "buy", "limit")
    assert Decimal(order["quantity"]) == 2
    assert Decimal(order["limit_price"]) == Decimal("18250.25")
    assert sum(Decimal(fill["quantity"]) for fill in order["fills"]) == 2
    assert trace["trade"]["signal_id"] == signal_id
    assert trace["timings_ms"]
    (listed,) = await person.items(client, "signals")
    assert (listed["id"], listed["status"]) == (signal_id, "filled")


async def test_an_exit_closes_the_trade_with_its_profit(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    await product.ledger.change_account(person.id, commission=COMMISSION)
    async with listening(product.socket_url, token=person.token) as socket:
        entry = await person.accepted(client, **ENTRY)
        await socket.event("trade.created", signal_id=entry)
        leaving = await person.accepted(client, **EXIT)
        closed = await socket.event("trade.closed", signal_id=leaving)
    (trade,) = await person.items(client, "trades")
    assert (trade["id"], trade["status"], trade["signal_id"]) == (closed["data"]["trade_id"], "closed", entry)
    assert Decimal(trade["exit_price"]) == Decimal("18260.50")
    gross = POINTS * CONTRACTS * POINT_VALUE
    commission = 2 * CONTRACTS * COMMISSION  # each contract pays on both sides
    assert sum(Decimal(fill["commission"]) for fill in trade["fills"]) == commission
    assert Decimal(trade["gross_pnl"]) == gross
    assert Decimal(trade["commission"]) == commission
    assert Decimal(trade["pnl"]) == gross - commission
    money = ("entry_price", "exit_price", "gross_pnl", "commission", "pnl", "quantity")
    assert all(isinstance(trade[name], str) and "E" not in trade[name] for name in money)
    assert await person.items(client, "positions") == []


async def test_a_market_order_pays_the_slippage_on_both_sides(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    await product.ledger.change_account(person.id, slippage_ticks=2)
    async with listening(product.socket_url, token=person.token) as socket:
        entry = await person.accepted(client, ticker="NQ1!", action="buy", price="18250.25")
        await socket.event("trade.created", signal_id=entry)
        await socket.event(
            "trade.closed", signal_id=await person.accepted(client, ticker="NQ1!", action="flat", price="18250.25")
        )
    (trade,) = await person.items(client, "trades")
    assert Decimal(trade["entry_price"]) == Decimal("18250.75")
    assert Decimal(trade["exit_price"]) == Decimal("18249.75")
    assert Decimal(trade["gross_pnl"]) == -POINT_VALUE


async def test_close_without_a_quantity_closes_what_is_held(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    async with listening(product.socket_url, token=person.token) as socket:
        await socket.event("trade.created", signal_id=await person.accepted(client, **ENTRY))
        leaving = await person.accepted(client, symbol="NQ1!", side="close", price="18240.00")
        closed = await socket.event("trade.closed", signal_id=leaving)
    trace = await person.get(client, f"signals/{leaving}")
    (order,) = trace["orders"]
    assert order["side"] == "sell"
    assert Decimal(order["quantity"]) == 2
    (trade,) = await person.items(client, "trades", status="closed")
    assert trade["id"] == closed["data"]["trade_id"]
    assert Decimal(trade["pnl"]) < 0
    assert await person.items(client, "positions") == []


async def test_another_trader_sees_nothing_of_it(product: Product, client: httpx.AsyncClient, person: Person) -> None:
    other = await product.person(f"other-of-{person.id}")
    async with (
        listening(product.socket_url, token=person.token) as mine,
        listening(product.socket_url, token=other.token) as theirs,
    ):
        signal_id = await person.accepted(client, **ENTRY)
        await mine.event("trade.created", signal_id=signal_id)
        own = await other.accepted(client, **EXIT)
        first = await anext(theirs.frames())
    assert first["data"]["signal_id"] == own
    hidden = await client.get(f"/api/v1/signals/{signal_id}", headers=other.bearer)
    assert hidden.status_code == 404
    assert [trade["signal_id"] for trade in await other.items(client, "trades")] == [own]


@pytest.mark.parametrize("place", ["query", "header", "first message"])
async def test_a_socket_takes_the_token_in_three_places(
    product: Product, client: httpx.AsyncClient, person: Person, place: str
) -> None:
    options: dict[str, Any] = {}
    url = product.socket_url
    match place:
        case "query":
            url = f"{url}?token={person.token}"
        case "header":
            options["additional_headers"] = person.bearer
        case _:
            options["token"] = person.token
    async with listening(url, **options) as socket:
        await socket.heard()
        signal_id = await person.accepted(client, **ENTRY)
        event = await socket.event("trade.created", signal_id=signal_id)
    assert event["data"]["signal_id"] == signal_id


@pytest.mark.parametrize("place", ["query", "first message"])
async def test_a_socket_with_a_wrong_token_is_closed_with_4401(product: Product, place: str) -> None:
    url = f"{product.socket_url}?token=not.a.token" if place == "query" else product.socket_url
    async with listening(url) as socket:
        if place == "first message":
            await socket.say({"type": "auth", "token": "not.a.token"})
        assert await socket.close_code() == 4401
