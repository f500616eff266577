"""Schedules over HTTP."""

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from tests.http.conftest import Stage
from tests.http.support import OPERATOR_KEY, token_for
from trendedge.http.app import create_app
from trendedge.runtime import UnknownSchedule

KEY = {"X-API-Key": OPERATOR_KEY}


@dataclass
class Planned:
    """One schedule, and how often it was run by hand."""

    ran: list[str] = field(default_factory=list)

    def snapshot(self) -> list[dict[str, Any]]:
        return [{"id": "purge", "trigger": "cron: 04:00", "runs": len(self.ran)}]

    async def run_now(self, id: str) -> None:
        if id != "purge":
            raise UnknownSchedule(id, ["purge"])
        self.ran.append(id)


async def test_schedules_are_listed_and_run(stage: Stage) -> None:
    planned = Planned()
    client = create_app(replace(stage.services, schedules=planned)).test_client()
    listed = await (await client.get("/ops/schedules", headers=KEY)).get_json()
    assert listed == {"items": planned.snapshot(), "next_cursor": None}
    run = await client.post("/ops/schedules/purge/run", headers=KEY)
    assert (run.status_code, (await run.get_json())["runs"]) == (202, 1)
    assert (await client.post("/ops/schedules/nothing/run", headers=KEY)).status_code == 404
    assert planned.ran == ["purge"]
    recorded = (await (await client.get("/ops/audit?limit=2", headers=KEY)).get_json())["items"]
    assert [(one["action"], one["target"], one["status"]) for one in recorded] == [
        ("schedules.run", "nothing", 404),
        ("schedules.run", "purge", 202),
    ]


async def test_schedules_are_for_operators_alone_and_may_be_none(stage: Stage) -> None:
    client = stage.app.test_client()
    user = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
    for headers, status in (({}, 401), (user, 403)):
        assert (await client.get("/ops/schedules", headers=headers)).status_code == status
        assert (await client.post("/ops/schedules/purge/run", headers=headers)).status_code == status
    assert (await (await client.get("/ops/schedules", headers=KEY)).get_json())["items"] == []
    assert (await client.post("/ops/schedules/purge/run", headers=KEY)).status_code == 404
