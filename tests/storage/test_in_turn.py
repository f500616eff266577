"""Statements in one transaction, each with its own time for an answer."""

import asyncio

import pytest

from tests.storage.support import WAITS, until_it_says
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import Database

SLEEP = "select pg_sleep(30)"


@pytest.fixture
async def numbers(database: Database) -> Database:
    await database.execute("create table numbers (one int primary key)")
    return database


async def count(numbers: Database) -> int:
    return int(await numbers.fetchval("select count(*) from numbers"))


async def test_they_are_committed_together_and_the_last_one_answers(numbers: Database) -> None:
    row = await numbers.in_turn(("insert into numbers values (1)",), ("select count(*) as all from numbers",))
    assert row is not None
    assert row["all"] == 1
    assert await count(numbers) == 1
    assert await numbers.in_turn(("select one from numbers where one > $1", 1)) is None


async def test_when_one_fails_none_is_done_and_its_connection_is_given_to_nobody(numbers: Database) -> None:
    said = list[str]()  # the driver says so when it has to end a transaction that somebody has left open
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
    for answer_s in (None, 5.0):
        with pytest.raises(Exception, match="duplicate key"):
            await numbers.in_turn(*[("insert into numbers values ($1)", 1)] * 2, answer_s=answer_s)
        assert await count(numbers) == 0
    assert said == []


async def test_of_each_all_rows_are_read_so_that_all_are_locked(numbers: Database) -> None:
    await numbers.execute("insert into numbers select generate_series(1, 3)")
    free = "select count(*) from (select from numbers for update skip locked) as free"
    naps = numbers.in_turn(("select one from numbers order by one for update",), ("select pg_sleep(1)",), answer_s=5.0)
    holding = asyncio.create_task(naps)
    await until_it_says(numbers, free, 0)
    await holding
    assert await numbers.fetchval(free) == 3


async def test_each_has_its_own_time_and_one_without_an_answer_is_cut_off(numbers: Database) -> None:
    naps = [("select pg_sleep(0.4)",)] * 3
    await numbers.in_turn(*naps, answer_s=1.0)
    with pytest.raises(StoreUnavailable, match=r"no answer within 0\.3 s"):
        await numbers.in_turn(("insert into numbers values (1)",), (SLEEP,), answer_s=0.3)
    assert await count(numbers) == 0


@pytest.mark.parametrize("statements", [1, 2])
async def test_who_waits_for_them_can_be_cancelled(statements: int, numbers: Database) -> None:
    waiting = asyncio.create_task(numbers.in_turn(*[(SLEEP,)] * statements, answer_s=20.0))
    await until_it_says(numbers, "select exists (select from pg_stat_activity where wait_event = 'PgSleep')")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_server_does_not_wait_for_a_lock_for_longer_than_whoever_asked_does(numbers: Database) -> None:
    await numbers.execute("insert into numbers values (1)")
    async with numbers.transaction() as holder:
        await holder.execute("select from numbers for update")
        with pytest.raises(StoreUnavailable):
            await numbers.in_turn(("select",), ("select from numbers for update",), answer_s=0.3)
        await until_it_says(numbers, WAITS, False)
