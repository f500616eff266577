"""The memory of what was due when."""

from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from tests.storage.support import NOON
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.schedule_fires import PostgresLastFires


async def test_the_latest_fire_of_each_schedule_is_remembered(database: Database) -> None:
    fires = PostgresLastFires(database)
    assert await fires.load() == {}
    due, day = NOON - timedelta(days=3650), timedelta(days=1)
    for id, at in (("a", due), ("b", due), ("a", due + day), ("b", due - day)):
        await fires.save(id, at)
    assert await PostgresLastFires(database).load() == {"a": due + day, "b": due}


async def test_one_that_lies_in_the_future_gives_way(database: Database) -> None:
    fires, now = PostgresLastFires(database), datetime.now(UTC)
    for due in (now + timedelta(days=365), now - timedelta(days=1), now - timedelta(days=2)):
        await fires.save("a", due)
    assert await fires.load() == {"a": now - timedelta(days=1)}


async def test_while_postgresql_is_down_nothing_is_known_and_nothing_raised() -> None:
    async with open_database("postgresql://nobody@127.0.0.1:1/none", connect_timeout_s=1) as nowhere:
        fires = PostgresLastFires(nowhere)
        with capture_logs() as logs:
            await fires.save("a", NOON)
            assert await fires.load() == {}
    assert [line["event"] for line in logs] == ["last fire not remembered", "last fires unknown"]
