"""What the running product does by the clock: on demand, and what it missed while it was down."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx

from tests.system.listener import Listener, listening
from tests.system.person import Person
from tests.system.product import OPERATOR_KEY, Product
from tests.system.trading import trades
from tests.system.waiting import eventually
from trendedge.storage.postgres import Database, open_database

OPERATOR = {"X-API-Key": OPERATOR_KEY}
OLD = datetime.now(UTC) - timedelta(days=60)


async def schedule(product: Product) -> dict[str, Any]:
    async with product.client() as client:
        answer = await client.get("/ops/schedules", headers=OPERATOR)
    [purge] = [one for one in answer.json()["items"] if one["id"] == "purge"]
    return dict(purge)


async def event_ids(database: Database, person: Person) -> list[str]:
    rows = await database.fetch("select id from events where user_id = $1 order by seq", UUID(person.id))
    return [str(row["id"]) for row in rows]


async def grow_old(database: Database, event_id: str) -> str:
    """Let an event be two months old, and a mark that is made here as well; the mark."""
    mark = uuid4().hex
    await database.execute("update events set at = $2 where id = $1", UUID(event_id), OLD)
    await database.execute("insert into signal_marks values ($1, 'signal', $2)", mark, OLD)
    return mark


async def is_gone(database: Database, mark: str, event_id: str) -> bool:
    left = await database.fetchval(
        "select exists (select from signal_marks where mark = $1) or exists (select from events where id = $2)",
        mark,
        UUID(event_id),
    )
    return not left


async def resumed(listener: Listener, after: str) -> list[str]:
    """The frames that answer a resume, by id or else by type."""
    await listener.say({"type": "resume", "after": after})
    await listener.say({"type": "ping"})
    seen = []
    async for frame in listener.frames():
        if frame["type"] == "pong":
            break
        seen.append(frame.get("id", frame["type"]))
    return seen


async def test_an_operator_runs_the_purge_and_clients_are_told_where_they_cannot_resume(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    for _ in range(2):
        await trades(product, client, person)
    async with open_database(product.database_url, pool_size=1) as database:
        first, second = await event_ids(database, person)
        mark = await grow_old(database, first)
        before = await schedule(product)
        assert before["next_run_at"] > datetime.now(UTC).isoformat()
        answer = await client.post("/ops/schedules/purge/run", headers=OPERATOR)
        assert (answer.status_code, answer.json()["last_outcome"]) == (202, "posted")
        await eventually(lambda: is_gone(database, mark, first), "what is old is removed")
        assert await event_ids(database, person) == [second]
    after = await schedule(product)
    assert (after["runs"], after["next_run_at"]) == (before["runs"] + 1, before["next_run_at"])
    assert after["last_run_at"] > (before["last_run_at"] or "")
    async with listening(product.socket_url, token=person.token) as listener:
        assert [await resumed(listener, id) for id in (first, second, str(uuid4()))] == [["resync"], [], ["resync"]]
    acts = (await client.get("/ops/audit?limit=20", headers=OPERATOR)).json()["items"]
    assert ("schedules.run", "purge", "done") in [(act["action"], act["target"], act["outcome"]) for act in acts]


async def test_what_was_missed_while_the_process_was_down_is_made_up_for_once(own_product: Product) -> None:
    await own_product.start()
    person = await own_product.person("trader")
    async with own_product.client() as client:
        await trades(own_product, client, person)
    await eventually(lambda: remembered(own_product), "the first start is remembered")
    async with open_database(own_product.database_url, pool_size=1) as database:
        [event_id] = await event_ids(database, person)
        mark = await grow_old(database, event_id)
        await database.execute("update schedule_fires set due_at = due_at - interval '3 days'")
        own_product.kill()  # its servers go with it
        await own_product.ended()
    await own_product.start()
    async with open_database(own_product.database_url, pool_size=1) as database:
        await eventually(lambda: is_gone(database, mark, event_id), "what is old is removed")
    purge = await schedule(own_product)
    assert (purge["runs"], purge["last_outcome"]) == (1, "posted")
    assert purge["missed"] > 1


async def remembered(product: Product) -> bool:
    async with open_database(product.database_url, pool_size=1) as database:
        return bool(await database.fetchval("select exists (select from schedule_fires where schedule = 'purge')"))
