"""The memory of what was due when."""

from datetime import timedelta

from structlog.testing import capture_logs

from tests.storage.support import NOON
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.schedule_fires import PostgresLastFires


async def test_the_latest_fire_of_each_schedule_is_remembered(database: Database) -> None:
    fires = PostgresLastFires(database)
    assert await fires.load() == {}
    for id, due in (("a", NOON), ("b", NOON), ("a", NOON + timedelta(days=1)), ("b", NOON - timedelta(days=1))):
        await fires.save(id, due)
    assert await PostgresLastFires(database).load() == {"a": NOON + timedelta(days=1), "b": NOON}


async def test_while_postgresql_is_down_nothing_is_known_and_nothing_raised() -> None:
    async with open_database("postgresql://nobody@127.0.0.1:1/none", connect_timeout_s=1) as nowhere:
        fires = PostgresLastFires(nowhere)
        with capture_logs() as logs:
            await fires.save("a", NOON)
            assert await fires.load() == {}
    assert [line["event"] for line in logs] == ["last fire not remembered", "last fires unknown"]
