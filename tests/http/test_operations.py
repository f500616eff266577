"""What operators see, and who is one."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import MakeStage, Stage
from tests.http.support import OPERATOR_KEY, token_for
from tests.http.test_app import error_of
from trendedge.http.limits import RateLimits


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(str(uuid.uuid4()), **claims)}"}


@pytest.mark.parametrize("headers", [{"X-API-Key": OPERATOR_KEY}, bearer(app_metadata={"role": "operator"})])
async def test_an_operator_sees_the_tree(stage: Stage, headers: dict[str, str]) -> None:
    client = stage.app.test_client()
    body = await (await client.get("/ops/actors", headers=headers)).get_json()
    assert [actor["path"] for actor in body["actors"]] == ["trendedge/trading/executor", "trendedge/front"]
    one = await client.get("/ops/actors/trendedge/trading/executor", headers=headers)
    assert (await one.get_json())["kind"] == "actor"
    missing = await client.get("/ops/actors/trendedge/nobody", headers=headers)
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "wrong"}, 401),
        ({"X-API-Key": "é"}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": f"Basic {OPERATOR_KEY}"}, 401),
        (bearer(), 403),
        (bearer(user_metadata={"role": "operator"}), 403),
    ],
)
async def test_nobody_else_does(stage: Stage, headers: dict[str, str], status: int) -> None:
    for path in ("/ops/actors", "/ops/actors/trendedge/front"):
        response = await stage.app.test_client().get(path, headers=headers)
        assert response.status_code == status
        await error_of(response)


async def test_without_an_operator_key_no_key_opens(make_stage: MakeStage) -> None:
    client = make_stage(operator_key=None).app.test_client()
    for key in ("", "None", OPERATOR_KEY):
        assert (await client.get("/ops/actors", headers={"X-API-Key": key})).status_code == 401


async def test_too_many_wrong_operator_keys_are_429(make_stage: MakeStage) -> None:
    client = make_stage(rate_limits=RateLimits(auth=2)).app.test_client()
    answers = [await client.get("/ops/actors", headers={"X-API-Key": f"guess {n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert (await client.get("/ops/actors", headers={"X-API-Key": OPERATOR_KEY})).status_code == 200
