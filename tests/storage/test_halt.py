"""The kill switch: what was decided before it does not pass after it."""

import anyio

from tests.storage.support import WAITS, Trader, signal, until_it_says
from trendedge.domain.signals import Action
from trendedge.storage.executions import Committed, StaleBook, load_book
from trendedge.storage.halt import select_halt, set_halt
from trendedge.storage.postgres import Database
from trendedge.storage.users import ensure_user


async def halt(database: Database, *, halted: bool = True) -> None:
    await set_halt(database, halted=halted, who="operator-key", reason="test")


async def test_what_was_decided_before_the_halt_is_not_committed_after_it(database: Database) -> None:
    trader = await Trader.join(database)
    before = await trader.book()
    assert not before.system_halted
    await halt(database)
    assert await trader.commit(trader.request(), book=before) == StaleBook()
    assert (await trader.book()).system_halted
    await trader.commit(trader.request(signal(quantity=2)))
    assert await database.fetchval("select rejection ->> 'code' from signals") == "HALTED"
    assert await database.fetchval("select count(*) from orders") == 0


async def test_exits_pass_and_the_end_of_the_halt_lets_entries_in(database: Database) -> None:
    trader = await Trader.join(database)
    await trader.trade(Action.BUY, quantity=3)
    await halt(database)
    await trader.trade(Action.SELL, quantity=1, after_s=1)
    await trader.trade(Action.BUY, quantity=1, after_s=2)
    await trader.trade(Action.CLOSE, quantity=None, after_s=3)
    halted = await trader.book()
    await halt(database, halted=False)
    assert await trader.commit(trader.request(after_s=4), book=halted) == StaleBook()
    await trader.trade(Action.BUY, after_s=5)
    statuses = await database.fetch("select status from signals order by received_at")
    assert [row["status"] for row in statuses] == ["filled", "filled", "rejected", "filled", "filled"]


async def test_it_is_the_same_for_all_accounts_and_the_first_reason_stands(database: Database) -> None:
    first = await Trader.join(database)
    await set_halt(database, halted=True, who="anna", reason="flash crash\x00")
    second = await Trader.join(database, "later@example.com")
    again = await set_halt(database, halted=True, who="berta", reason="me too")
    assert (again.halted, again.who, again.reason) == (True, "anna", "flash crash\ufffd")
    assert await select_halt(database) == again
    assert [(await trader.book()).system_halted for trader in (first, second)] == [True, True]


async def test_a_halt_waits_for_the_commits_under_way(database: Database) -> None:
    trader = await Trader.join(database)
    events: list[str] = []

    async def halting() -> None:
        await halt(database)
        events.append("halted")

    async with anyio.create_task_group() as tasks, database.transaction() as connection:
        await connection.execute("update accounts set version = version + 1")
        tasks.start_soon(halting)
        await until_it_says(database, WAITS)
        events.append("committed")
    assert events == ["committed", "halted"]
    assert (await trader.book()).system_halted


async def test_an_account_that_is_being_made_meanwhile_is_halted_too(database: Database) -> None:
    async with anyio.create_task_group() as tasks:
        user = await ensure_user(database, email="early@example.com")
        async with database.transaction() as connection:
            insert = "insert into accounts (user_id, name) values ($1::text::uuid, 'second') returning id"
            account_id = str(await connection.fetchval(insert, user.id))
            tasks.start_soon(halt, database)
            await until_it_says(database, WAITS)
    book = await load_book(database, account_id)
    assert (book.system_halted, book.account.version) == (True, 1)


async def test_entries_that_race_the_halt_are_in_before_it_is_answered_or_not_at_all(database: Database) -> None:
    traders = [await Trader.join(database, f"{number}@example.com") for number in range(4)]
    count = "select count(*) from orders"
    in_time = 0

    async def trade(trader: Trader) -> None:
        for number in range(25):
            request = trader.request(after_s=number)
            while await trader.commit(request) != Committed():
                pass

    async def halt_in_the_midst() -> None:
        nonlocal in_time
        with anyio.fail_after(30):
            while await database.fetchval(count) < 10:
                pass
        await halt(database)
        in_time = await database.fetchval(count)

    async with anyio.create_task_group() as tasks:
        for trader in traders:
            tasks.start_soon(trade, trader)
        tasks.start_soon(halt_in_the_midst)
    assert 10 <= in_time < 100
    assert await database.fetchval(count) == in_time
    assert await database.fetchval("select count(*) from signals where status = 'rejected'") == 100 - in_time
