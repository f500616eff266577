"""Changing an account's settings: what its owner may change, and what comes back."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import Stage
from tests.http.support import token_for
from tests.http.test_app import error_of
from tests.storage.support import Trader


@pytest.fixture
async def trader(stage: Stage) -> Trader:
    return await Trader.join(stage.services.database, email=f"{uuid.uuid4()}@example.com")


async def patch(stage: Stage, trader: Trader, account_id: str, body: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {token_for(trader.user_id)}"}
    return await stage.app.test_client().patch(f"/api/v1/accounts/{account_id}", json=body, headers=headers)


async def test_what_is_given_changes_and_the_rest_stays(stage: Stage, trader: Trader) -> None:
    answer = await patch(stage, trader, trader.account_id, {"slippage_ticks": 2, "commission": "1.25"})
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    account = await answer.get_json()
    assert (account["slippage_ticks"], account["commission"], account["default_quantity"]) == (2, "1.25", "1")
    again = await (await patch(stage, trader, trader.account_id, {"default_quantity": 3})).get_json()
    assert (again["slippage_ticks"], again["commission"], again["default_quantity"]) == (2, "1.25", "3")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"slippage_ticks": -1}, "slippage_ticks"),
        ({"slippage_ticks": "two"}, "slippage_ticks"),
        ({"commission": "-0.01"}, "commission"),
        ({"commission": "NaN"}, "commission"),
        ({"default_quantity": 0}, "default_quantity"),
        ({"default_quantity": 1.5}, "default_quantity"),
        ({"equity": "1000000"}, "equity"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_field(
    stage: Stage, trader: Trader, body: dict[str, Any], field: str
) -> None:
    answer = await patch(stage, trader, trader.account_id, body)
    assert answer.status_code == 400
    assert (await error_of(answer))["details"][0]["field"] == field


async def test_nobody_changes_what_is_somebody_elses(stage: Stage, trader: Trader) -> None:
    stranger = await Trader.join(stage.services.database, email=f"{uuid.uuid4()}@example.com")
    assert (await patch(stage, stranger, trader.account_id, {"slippage_ticks": 9})).status_code == 404
    assert (await patch(stage, trader, str(uuid.uuid4()), {"slippage_ticks": 9})).status_code == 404
    assert (await patch(stage, trader, "no-id", {"slippage_ticks": 9})).status_code == 404
