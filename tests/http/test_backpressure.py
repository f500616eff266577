"""The door over the product's own tree: a mailbox that is full is an answer for the sender, and no crash of anybody."""

from dataclasses import replace
from typing import Any

import orjson

from tests.actors.support import Desk, desk, settled
from tests.http.conftest import Stage
from tests.http.support import GOOD_KEY
from tests.http.test_app import error_of
from tests.http.test_webhooks import PATH
from trendedge.http.app import create_app
from trendedge.runtime import Controls, Inspector
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore

EXECUTOR, INTAKE = "trendedge/trading/executor", "trendedge/trading/intake"
CAPACITY = 3


def alert(number: int) -> bytes:
    """The body of the `number`-th alert; no two mean the same."""
    fields = {"ticker": "NQ1!", "action": "buy", "quantity": "1", "price": "18250.25", "id": f"alert {number}"}
    return orjson.dumps(fields | {"api_key": GOOD_KEY})


def actors(place: Desk) -> dict[str, dict[str, Any]]:
    """What an operator sees of everybody, by path."""
    return {one["path"]: one for one in Inspector(place.root).actors()}


async def test_a_full_executor_is_503_for_the_sender_and_costs_nobody_a_restart(
    stage: Stage, database: Database, redis_store: RedisStore
) -> None:
    async with desk(database, redis_store, executor_capacity=CAPACITY) as place:
        stage.keys.owners[GOOD_KEY] = place.owner
        client = create_app(replace(stage.services, intake=place.at.intake)).test_client()
        controls = Controls(place.root)
        controls.suspend(EXECUTOR)
        taken = [await client.post(PATH, data=alert(number)) for number in range(CAPACITY)]
        assert [answer.status_code for answer in taken] == [202] * CAPACITY
        for _ in range(2):
            refused = await client.post(PATH, data=alert(CAPACITY))
            assert refused.status_code == 503
            assert (await error_of(refused))["code"] == "SERVICE_UNAVAILABLE"
            assert int(refused.headers["Retry-After"]) >= 1
        assert {path: one["restarts"] for path, one in actors(place).items() if one["restarts"]} == {}
        assert actors(place)[INTAKE]["status"] == "running"
        assert (actors(place)[INTAKE]["incarnation"], actors(place)[INTAKE]["handled"]) == (1, CAPACITY + 2)
        controls.resume(EXECUTOR)
        await settled(place)
        again = await client.post(PATH, data=alert(CAPACITY))
        assert (again.status_code, (await again.get_json())["status"]) == (202, "accepted")
        await settled(place)
        assert (
            await database.fetchval("select count(*) from orders where user_id::text = $1", place.owner.user_id)
            == CAPACITY + 1
        )
