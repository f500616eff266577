"""Nothing is done unrecorded, and what was tried is recorded too."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.http.conftest import Stage
from tests.http.support import OPERATOR_KEY, token_for
from tests.http.test_app import error_of
from trendedge.http.app import create_app
from trendedge.http.audit import named
from trendedge.storage.postgres import open_database

KEY = {"X-API-Key": OPERATOR_KEY}
NOBODY_THERE = "/ops/actors/trendedge/{}/suspend"


async def recorded(stage: Stage, target: str) -> list[dict[str, Any]]:
    answer = await stage.app.test_client().get("/ops/audit?limit=200", headers=KEY)
    assert answer.status_code == 200
    return [item for item in (await answer.get_json())["items"] if item["target"] == f"trendedge/{target}"]


async def test_an_act_is_recorded_with_who_what_when_from_where_and_how_it_ended(stage: Stage) -> None:
    target, request_id = uuid.uuid4().hex, str(uuid.uuid4())
    response = await stage.app.test_client().post(
        NOBODY_THERE.format(target) + "?why=test",
        headers={**KEY, "X-Request-ID": request_id},
        scope_base={"client": ("192.0.2.7", 4711)},
    )
    assert response.status_code == 404
    [act] = await recorded(stage, target)
    assert act.pop("id")
    assert act.pop("at") <= act.pop("ended_at")
    assert act == {
        "who": "operator-key",
        "action": "actors.suspend",
        "target": f"trendedge/{target}",
        "parameters": {"why": "test"},
        "address": "192.0.2.7",
        "request_id": request_id,
        "outcome": "refused",
        "status": 404,
    }


async def test_an_operator_by_role_is_recorded_by_id(stage: Stage) -> None:
    user_id, target = str(uuid.uuid4()), uuid.uuid4().hex
    token = token_for(user_id, app_metadata={"role": "operator"})
    await stage.app.test_client().post(NOBODY_THERE.format(target), headers={"Authorization": f"Bearer {token}"})
    [act] = await recorded(stage, target)
    assert act["who"] == user_id


async def test_a_user_who_tries_is_refused_and_recorded(stage: Stage) -> None:
    user_id, target = str(uuid.uuid4()), uuid.uuid4().hex
    response = await stage.app.test_client().post(
        NOBODY_THERE.format(target), headers={"Authorization": f"Bearer {token_for(user_id)}"}
    )
    assert response.status_code == 403
    [act] = await recorded(stage, target)
    assert (act["who"], act["outcome"], act["status"]) == (user_id, "refused", 403)


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}])
async def test_nobody_leaves_no_record(stage: Stage, headers: dict[str, str]) -> None:
    target = uuid.uuid4().hex
    response = await stage.app.test_client().post(NOBODY_THERE.format(target), headers=headers)
    assert response.status_code == 401
    assert await recorded(stage, target) == []


async def test_reading_leaves_no_record(stage: Stage) -> None:
    target = uuid.uuid4().hex
    assert (await stage.app.test_client().get(f"/ops/actors/trendedge/{target}", headers=KEY)).status_code == 404
    assert await recorded(stage, target) == []


async def test_what_cannot_be_audited_is_not_done(stage: Stage) -> None:
    acts: list[str] = []

    class Recorder:
        def suspend(self, path: str) -> None:
            acts.append(path)

        resume = suspend

        async def restart(self, path: str) -> None:
            acts.append(path)

        reset_breaker = suspend

    async with open_database("postgresql://nobody@127.0.0.1:1/none") as down:
        client = create_app(replace(stage.services, database=down, controls=Recorder())).test_client()
        for verb in ("suspend", "resume", "restart"):
            response = await client.post(f"/ops/actors/trendedge/front/{verb}", headers=KEY)
            assert response.status_code == 503
            assert "Nothing was done" in (await error_of(response))["message"]
            assert response.headers["Retry-After"]
        token = token_for(str(uuid.uuid4()))
        refused = await client.post("/ops/actors/a/suspend", headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == 403
    assert acts == []


async def test_the_record_is_for_operators_and_has_pages(stage: Stage) -> None:
    client = stage.app.test_client()
    assert (await client.get("/ops/audit")).status_code == 401
    user = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
    assert (await client.get("/ops/audit", headers=user)).status_code == 403
    for _ in range(3):
        await client.post("/ops/actors/nobody/suspend", headers=KEY)
    first = await (await client.get("/ops/audit?limit=2", headers=KEY)).get_json()
    second = await (await client.get(f"/ops/audit?limit=2&cursor={first['next_cursor']}", headers=KEY)).get_json()
    ids = [item["id"] for item in first["items"] + second["items"]]
    assert len(ids) == len(set(ids)) > 2
    for query in ("limit=0", "limit=201", "cursor=nonsense", "status=nonsense", "since=nonsense"):
        assert (await client.get(f"/ops/audit?{query}", headers=KEY)).status_code == 400


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/actors/trendedge/trading/executor/restart", ("actors.restart", "trendedge/trading/executor")),
        ("/dead-letters/executor:1:17-0/replay", ("dead-letters.replay", "executor:1:17-0")),
        ("/halt", ("halt", None)),
        ("/a/b", ("a.b", None)),
    ],
)
def test_acts_are_named_after_their_paths(path: str, expected: tuple[str, str | None]) -> None:
    assert named(path) == expected
