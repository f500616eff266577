"""What a purge removes, what it leaves, and whom it keeps waiting."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import anyio
import pytest

from tests.storage.support import NOON, WAITS, Trader, until_it_says
from trendedge.storage.events import select_events_after
from trendedge.storage.postgres import Database
from trendedge.storage.purge import purge_events, purge_marks

BATCH = 3
HOUR = timedelta(hours=1)


async def tell(trader: Trader, *ages_h: int) -> list[str]:
    """Store an event for each age (hours before noon), in this order; their ids."""
    ids = [uuid4() for _ in ages_h]
    before = await trader.db.fetchval("select count(*) from events where user_id = $1", UUID(trader.user_id))
    for number, (id, age_h) in enumerate(zip(ids, ages_h, strict=True), start=before + 1):
        await trader.db.execute(
            "insert into events values ($1, $2, $3, 'trades', 'trade.updated', '{}', $4)",
            UUID(trader.user_id), number, id, NOON - age_h * HOUR,
        )  # fmt: skip
    return [str(id) for id in ids]


async def left(trader: Trader) -> list[str]:
    rows = await trader.db.fetch("select id from events where user_id = $1 order by seq", UUID(trader.user_id))
    return [str(row["id"]) for row in rows]


async def mark(database: Database, *names: str, at: datetime = NOON) -> None:
    for name in names:
        await database.execute("insert into signal_marks values ($1, 'signal', $2)", name, at)


async def marks(database: Database) -> list[str]:
    return [row["mark"] for row in await database.fetch("select mark from signal_marks order by mark")]


@pytest.fixture
async def trader(database: Database) -> Trader:
    return await Trader.join(database)


@pytest.mark.parametrize("old", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
async def test_old_events_go_and_young_ones_stay(trader: Trader, database: Database, old: int) -> None:
    ids = await tell(trader, *[2] * old, 1, 0)
    assert await purge_events(database, before=NOON - HOUR, batch=BATCH) == old
    assert await left(trader) == ids[old:]


async def test_each_users_events_go_by_their_own_age(trader: Trader, database: Database) -> None:
    others = [await Trader.join(database, f"other-{number}@example.com") for number in range(4)]
    await Trader.join(database, "silent@example.com")
    for number, other in enumerate([trader, *others]):
        await tell(other, *[2] * number, 0)
    assert await purge_events(database, before=NOON - HOUR, batch=BATCH) == 10
    assert [len(await left(other)) for other in (trader, *others)] == [1] * 5


async def test_an_old_event_behind_a_young_one_stays_so_that_there_is_never_a_gap(
    trader: Trader, database: Database
) -> None:
    ids = await tell(trader, 5, 4, 0, 5, 0)
    assert await purge_events(database, before=NOON - HOUR, batch=BATCH) == 2
    assert await left(trader) == ids[2:]


async def test_a_client_resumes_from_what_is_left_and_from_nothing_else(trader: Trader, database: Database) -> None:
    ids = await tell(trader, 3, 2, 0, 0)

    async def missed_since(id: str) -> Sequence[str] | None:
        events = await select_events_after(database, trader.user_id, id)
        return None if events is None else [event.id for event in events]

    await purge_events(database, before=NOON - HOUR)
    assert [await missed_since(id) for id in ids] == [None, None, [ids[3]], []]
    await purge_events(database, before=NOON + HOUR)
    assert await left(trader) == []
    assert [await missed_since(id) for id in (*ids, str(uuid4()))] == [None] * 5


async def test_two_purges_at_once_remove_each_row_once(trader: Trader, database: Database) -> None:
    await tell(trader, *[2] * 40, 0)
    await mark(database, *(f"m{number}" for number in range(40)), at=NOON - 2 * HOUR)
    removed: list[int] = []

    async def purge() -> None:
        removed.append(await purge_events(database, before=NOON - HOUR, batch=BATCH))
        removed.append(await purge_marks(database, before=NOON - HOUR, batch=BATCH))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(purge)
    assert sum(removed) == 80
    assert (len(await left(trader)), await marks(database)) == (1, [])


async def test_of_two_purges_the_second_does_not_go_on_behind_what_the_first_has_in_hand(
    trader: Trader, database: Database
) -> None:
    ids = await tell(trader, *[2] * (2 * BATCH), 0)
    async with database.connection() as connection, anyio.create_task_group() as tasks:
        first = connection.transaction()
        await first.start()
        await connection.execute("delete from events where seq <= $1", BATCH)
        tasks.start_soon(lambda: purge_events(database, before=NOON - HOUR, batch=BATCH))
        await until_it_says(database, WAITS)
        assert await left(trader) == ids
        await first.rollback()  # the process dies
    assert await left(trader) == ids[-1:]


@pytest.mark.parametrize("old", [0, 1, BATCH, BATCH + 1])
async def test_old_marks_go_and_young_ones_stay(database: Database, old: int) -> None:
    await mark(database, *(f"old-{number}" for number in range(old)), at=NOON - 2 * HOUR)
    await mark(database, "young-1", "young-2", at=NOON - HOUR)
    assert await purge_marks(database, before=NOON - HOUR, batch=BATCH) == old
    assert await marks(database) == ["young-1", "young-2"]


async def test_a_mark_that_a_commit_takes_just_now_is_not_waited_for_and_stays(database: Database) -> None:
    await mark(database, "a", "b", "c", at=NOON - 2 * HOUR)
    async with database.transaction() as commit:
        await commit.execute("update signal_marks set marked_at = $1 where mark = 'b'", NOON)
        with anyio.fail_after(20):
            assert await purge_marks(database, before=NOON - HOUR) == 2
    assert await marks(database) == ["b"]
