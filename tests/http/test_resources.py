"""Reading: shapes, pages, filters, and that nobody sees what is somebody else's."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import Stage
from tests.http.support import Waiting, token_for
from tests.http.test_app import error_of
from tests.storage.support import Trader
from trendedge.domain.signals import Action

LISTS = ("signals", "orders", "trades", "positions", "accounts", "journal")
TRADES_OF_STORY = 3


def bearer(user_id: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(user_id)}"}


@pytest.fixture
async def trader(stage: Stage) -> Trader:
    """Who bought and closed twice, and holds two contracts."""
    trader = await Trader.join(stage.services.database, email=f"{uuid.uuid4()}@example.com")
    for turn in range(TRADES_OF_STORY):
        await trader.trade(Action.BUY, quantity=2, price="18500", after_s=turn * 200)
        if turn < TRADES_OF_STORY - 1:
            await trader.trade(Action.CLOSE, quantity=None, price="18510", after_s=turn * 200 + 100)
    return trader


async def get(stage: Stage, trader: Trader, path: str, status: int = 200) -> Any:
    response = await stage.app.test_client().get(f"/api/v1/{path}", headers=bearer(trader.user_id))
    assert response.status_code == status, await response.get_data(as_text=True)
    assert response.headers["X-RateLimit-Limit"]
    return await response.get_json() if status == 200 else await error_of(response)


async def test_every_list_has_items_and_a_cursor(stage: Stage, trader: Trader) -> None:
    for name in LISTS:
        page = await get(stage, trader, name)
        assert set(page) == {"items", "next_cursor"}
        assert page["next_cursor"] is None
        assert page["items"], name


async def test_pages_follow_each_other_without_gaps_or_doubles(stage: Stage, trader: Trader) -> None:
    whole = [item["id"] for item in (await get(stage, trader, "signals"))["items"]]
    assert len(whole) == 2 * TRADES_OF_STORY - 1
    seen: list[str] = []
    path = "signals?limit=2"
    while True:
        page = await get(stage, trader, path)
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"signals?limit=2&cursor={page['next_cursor']}"
    assert seen == whole


async def test_filters(stage: Stage, trader: Trader) -> None:
    assert len((await get(stage, trader, "trades?status=open"))["items"]) == 1
    assert len((await get(stage, trader, "trades?status=closed"))["items"]) == TRADES_OF_STORY - 1
    assert len((await get(stage, trader, "trades?root=mnq"))["items"]) == TRADES_OF_STORY
    assert (await get(stage, trader, "trades?root=ES"))["items"] == []
    assert len((await get(stage, trader, f"orders?account_id={trader.account_id}"))["items"]) == len(
        (await get(stage, trader, "orders"))["items"]
    )
    assert (await get(stage, trader, f"orders?account_id={uuid.uuid4()}"))["items"] == []
    assert (await get(stage, trader, "orders?account_id=nobody"))["items"] == []
    assert (await get(stage, trader, "signals?since=2100-01-01"))["items"] == []
    assert (await get(stage, trader, "signals?until=2000-01-01T00:00:00Z"))["items"] == []


async def test_one_item(stage: Stage, trader: Trader) -> None:
    for name in ("signals", "orders", "trades", "accounts"):
        listed = (await get(stage, trader, name))["items"][0]
        shown = await get(stage, trader, f"{name}/{listed['id']}")
        assert shown["id"] == listed["id"]


async def test_the_trace_of_a_signal_tells_the_whole_story(stage: Stage, trader: Trader) -> None:
    first = (await get(stage, trader, "signals"))["items"][0]
    trace = await get(stage, trader, f"signals/{first['id']}")
    assert {"raw", "repairs", "contract", "checks", "rejection", "orders", "trade", "timings_ms"} <= set(trace)
    assert trace["orders"][0]["fills"][0]["price"]


async def test_money_and_quantities_are_decimal_strings(stage: Stage, trader: Trader) -> None:
    trade = (await get(stage, trader, "trades?status=closed"))["items"][0]
    for name in ("quantity", "entry_price", "exit_price", "gross_pnl", "commission", "pnl"):
        assert isinstance(trade[name], str)
    assert trade["opened_at"].endswith("Z")


async def test_nobody_sees_what_is_somebody_elses(stage: Stage, trader: Trader) -> None:
    stranger = await Trader.join(stage.services.database, email=f"{uuid.uuid4()}@example.com")
    for name in LISTS:
        others = {item.get("id") for item in (await get(stage, trader, name))["items"]}
        seen = {item.get("id") for item in (await get(stage, stranger, name))["items"]} - {None}
        assert not seen & others
    for name in ("signals", "orders", "trades", "accounts"):
        theirs = (await get(stage, trader, name))["items"][0]["id"]
        assert (await get(stage, stranger, f"{name}/{theirs}", status=404))["code"] == "NOT_FOUND"


@pytest.mark.parametrize("item_id", ["1", "null", "%00", "%ff", "a" * 5000, "550e8400-e29b-41d4-a716-446655440000"])
async def test_an_id_of_nothing_is_404(stage: Stage, trader: Trader, item_id: str) -> None:
    for name in ("signals", "orders", "trades", "accounts"):
        assert (await get(stage, trader, f"{name}/{item_id}", status=404))["code"] == "NOT_FOUND"


@pytest.mark.parametrize("query", ["cursor=x", "cursor=AAAA", "cursor=%00", "limit=0", "limit=201", "since=x"])
async def test_a_parameter_that_cannot_be_is_400_by_name(stage: Stage, trader: Trader, query: str) -> None:
    for name in LISTS:
        error = await get(stage, trader, f"{name}?{query}", status=400)
        assert error["code"] == "VALIDATION_ERROR"
        assert [detail["field"] for detail in error["details"]] == [query.partition("=")[0]]


async def test_a_cursor_of_another_list_is_refused_or_harmless(stage: Stage, trader: Trader) -> None:
    cursor = (await get(stage, trader, "signals?limit=1"))["next_cursor"]
    assert (await get(stage, trader, f"positions?cursor={cursor}", status=400))["code"] == "VALIDATION_ERROR"


async def test_without_a_token_there_is_nothing_to_read(stage: Stage) -> None:
    client = stage.app.test_client()
    for path in (*LISTS, "users/me", "users/me/api-keys", f"trades/{uuid.uuid4()}"):
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x.y.z"}, {"X-API-Key": "k"}):
            response = await client.get(f"/api/v1/{path}", headers=headers)
            assert response.status_code == 401
            assert (await error_of(response))["code"] == "AUTHENTICATION_REQUIRED"
            assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_user_of_the_identity_provider_is_made_known_at_the_first_visit(stage: Stage) -> None:
    user_id, client = str(uuid.uuid4()), stage.app.test_client()
    me = await (await client.get("/api/v1/users/me", headers=bearer(user_id))).get_json()
    assert (me["id"], me["email"]) == (user_id, f"{user_id[:8]}@example.com")
    accounts = await (await client.get("/api/v1/accounts", headers=bearer(user_id))).get_json()
    assert [account["mode"] for account in accounts["items"]] == ["paper"]


async def test_a_signal_without_an_outcome_is_shown_as_accepted_to_its_owner_alone(
    stage: Stage, trader: Trader
) -> None:
    signal_id = str(uuid.uuid4())
    waiting = stage.services.pending
    assert isinstance(waiting, Waiting)
    waiting.signals[trader.user_id, signal_id] = {"id": signal_id, "status": "accepted"}
    found = await get(stage, trader, f"signals/{signal_id}")
    assert found == {"id": signal_id, "status": "accepted"}
    stranger = await Trader.join(stage.services.database, email=f"{uuid.uuid4()}@example.com")
    assert (await get(stage, stranger, f"signals/{signal_id}", 404))["code"] == "NOT_FOUND"
