"""The record of what operators did."""

from typing import Any

import orjson
import pytest

from trendedge.storage.audit import Act, complete_act, insert_act, list_acts
from trendedge.storage.errors import InvalidCursor
from trendedge.storage.paging import Filters
from trendedge.storage.postgres import Database


def act(action: str = "actors.suspend", **changes: Any) -> Act:
    facts = {"who": "operator-key", "target": "a/b", "address": "192.0.2.7", "request_id": "r-1"} | changes
    return Act(action=action, **facts)


async def shown(db: Database, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((await list_acts(db, filters=Filters(**filters))).items)
    return found


async def test_an_act_is_begun_and_ends_once(database: Database) -> None:
    id = await insert_act(database, act(parameters={"dry_run": "true"}))
    [begun] = await shown(database)
    assert (begun["outcome"], begun["status"], begun["ended_at"]) == ("begun", None, None)
    await complete_act(database, id, outcome="done", status=200)
    await complete_act(database, id, outcome="failed", status=500)
    [ended] = await shown(database)
    assert ended["ended_at"] >= ended["at"] == begun["at"]
    facts = {name: ended[name] for name in ("who", "action", "target", "address", "request_id", "outcome", "status")}
    assert facts == {
        "who": "operator-key",
        "action": "actors.suspend",
        "target": "a/b",
        "address": "192.0.2.7",
        "request_id": "r-1",
        "outcome": "done",
        "status": 200,
    }
    assert ended["parameters"] == {"dry_run": "true"}


async def test_an_act_that_was_refused_has_ended_with_that(database: Database) -> None:
    await insert_act(database, act(), outcome="refused", status=403)
    [refused] = await shown(database)
    assert (refused["outcome"], refused["status"], refused["ended_at"]) == ("refused", 403, refused["at"])


async def test_pages_are_newest_first_without_gaps_and_doubles(database: Database) -> None:
    for number in range(5):
        await insert_act(database, act(f"act-{number}"))
    await database.execute("update audit_log set at = date_trunc('day', at)")  # all at once
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await list_acts(database, limit=2, cursor=cursor)
        seen += [item["action"] for item in orjson.loads(page.items)]
        cursor = page.next_cursor
    assert cursor is None
    assert sorted(seen) == [f"act-{number}" for number in range(5)]
    with pytest.raises(InvalidCursor):
        await list_acts(database, cursor="nonsense")


async def test_newest_first_and_filtered(database: Database) -> None:
    first = await insert_act(database, act("first"))
    await insert_act(database, act("second"))
    await complete_act(database, first, outcome="refused", status=409)
    assert [one["action"] for one in await shown(database)] == ["second", "first"]
    assert [one["action"] for one in await shown(database, status="refused")] == ["first"]


async def test_what_cannot_be_stored_as_it_is_is_stored_nearly_so(database: Database) -> None:
    await insert_act(database, act(target="a\x00b\ud800", parameters={"q\x00": "\ud800"}))
    [one] = await shown(database)
    assert one["target"].startswith("a\ufffdb")
