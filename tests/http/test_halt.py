"""The kill switch over HTTP."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import Stage
from tests.http.support import OPERATOR_KEY, token_for
from trendedge.storage.halt import select_halt

KEY = {"X-API-Key": OPERATOR_KEY}


async def test_an_operator_halts_and_resumes_all_trading(stage: Stage) -> None:
    client = stage.app.test_client()

    async def call(method: str, path: str, **more: Any) -> Any:
        response = await client.open(path, method=method, headers=KEY, **more)
        assert response.status_code == 200, await response.get_data(as_text=True)
        return await response.get_json()

    await call("POST", "/ops/resume")
    halted = await call("POST", "/ops/halt", json={"reason": "flash crash"})
    assert (halted["halted"], halted["reason"], halted["who"]) == (True, "flash crash", "operator-key")
    assert await call("POST", "/ops/halt") == halted
    assert await call("GET", "/ops/halt") == halted
    assert (await select_halt(stage.services.database)).halted
    resumed = await call("POST", "/ops/resume")
    assert (resumed["halted"], resumed["reason"]) == (False, None)
    assert resumed["since"] > halted["since"]
    recorded = (await call("GET", "/ops/audit?limit=4"))["items"]
    assert [one["action"] for one in recorded] == ["resume", "halt", "halt", "resume"]


@pytest.mark.parametrize("path", ["/ops/halt", "/ops/resume"])
async def test_nobody_else_does(stage: Stage, path: str) -> None:
    client = stage.app.test_client()
    before = await select_halt(stage.services.database)
    assert (await client.post(path)).status_code == 401
    user = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
    assert (await client.post(path, headers=user)).status_code == 403
    assert (await client.post(path, headers=KEY, json={"until": "noon"})).status_code == 400
    assert (await client.post(path, headers=KEY, json={"reason": "x" * 501})).status_code == 400
    assert await select_halt(stage.services.database) == before
