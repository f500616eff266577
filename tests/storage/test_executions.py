"""What is stored of a signal, and that it is stored once, whoever else is at it."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import orjson
import pytest

from tests.storage.support import NOON, Trader, signal
from trendedge.domain.execution import Book, ExecutionRequest, decide, given_up
from trendedge.domain.performance import DailyResult, ResultKey, roll_up
from trendedge.domain.signals import Action, Repair
from trendedge.runtime.errors import Fenced
from trendedge.storage.errors import UnknownAccount
from trendedge.storage.executions import (
    AlreadyCommitted,
    Committed,
    DuplicateMark,
    Outcome,
    StaleBook,
    Trace,
    commit_execution,
    load_book,
    reopen_signal,
)
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database
from trendedge.storage.trades import list_trades

TABLES = ("signals", "orders", "fills", "trades", "positions", "journal_entries", "analytics_daily", "events")


@pytest.fixture
async def trader(database: Database) -> Trader:
    return await Trader.join(database)


async def counts(db: Database) -> dict[str, int]:
    return {table: await db.fetchval(f"select count(*) from {table}") for table in TABLES}


async def test_an_entry_is_stored_in_every_table(trader: Trader) -> None:
    assert await trader.commit(trader.request(signal(Action.BUY, quantity=2))) == Committed()
    assert await counts(trader.db) == dict.fromkeys(TABLES, 1)


async def test_the_loaded_book_is_the_book_that_was_decided_on(trader: Trader) -> None:
    await trader.db.execute("update accounts set commission = 0.62, slippage_ticks = 1")
    book = await trader.book()
    steps = [
        (Action.BUY, 3, "18500"),
        (Action.BUY, 2, "18501.25"),
        (Action.CLOSE, 1, "18510"),
        (Action.REVERSE, 4, "1"),
    ]
    for number, (action, quantity, price) in enumerate(steps):
        request = trader.request(signal(action, quantity=quantity, price=price), after_s=number)
        execution = decide(request, book=book, last_price=None, now=request.received_at)
        outcome = await commit_execution(
            trader.db,
            request,
            execution,
            before=book,
            mark=None,
            trace=Trace(raw="{}", timings_ms={"decide": 0.1}),
            owner=trader.owner,
        )
        assert outcome == Committed()
        book = execution.book
        assert await trader.book() == book


async def test_a_reverse_closes_one_trade_and_opens_another(trader: Trader) -> None:
    await trader.trade(Action.BUY, quantity=1)
    await trader.trade(Action.SELL, quantity=3, price="18510", after_s=1)
    page = orjson.loads((await list_trades(trader.db, trader.user_id)).items)
    shown = [(t["direction"], t["status"], t["quantity"], t["pnl"], len(t["fills"])) for t in page]
    assert shown == [("short", "open", "2", "0", 1), ("long", "closed", "1", "20", 2)]


async def test_the_document_of_a_trade_says_what_its_rows_say(trader: Trader) -> None:
    await trader.db.execute("update accounts set commission = 0.62, slippage_ticks = 1")
    for number, (action, quantity) in enumerate([(Action.BUY, 2), (Action.ADD, 1), (Action.CLOSE, 1)]):
        await trader.trade(action, quantity=quantity, price=f"{18500 + number}.25", after_s=number)
    (shown,) = orjson.loads((await list_trades(trader.db, trader.user_id)).items)
    row = await trader.db.fetchrow("select * from trades")
    assert row is not None
    for name in ("quantity", "entry_price", "exit_price", "gross_pnl", "commission", "pnl", "mae", "mfe"):
        assert Decimal(shown[name]) == row[name], name
    for name in ("id", "signal_id", "account_id", "symbol", "root", "direction", "status", "playbook_id"):
        assert shown[name] == (None if row[name] is None else str(row[name])), name
    fills = await trader.db.fetch("select id, order_id, side, price, quantity, commission from fills order by at, id")
    assert [(f["id"], f["order_id"], f["side"]) for f in shown["fills"]] == [
        (str(f["id"]), str(f["order_id"]), f["side"]) for f in fills
    ]
    assert [tuple(Decimal(f[name]) for name in ("price", "quantity", "commission")) for f in shown["fills"]] == [
        (f["price"], f["quantity"], f["commission"]) for f in fills
    ]


async def test_the_rollup_adds_up(trader: Trader) -> None:
    results: list[DailyResult] = []
    book = await trader.book()
    for number, (action, price) in enumerate([(Action.BUY, "100"), (Action.CLOSE, "110"), (Action.BUY, "100")]):
        request = trader.request(signal(action, price=price), after_s=number)
        execution = decide(request, book=book, last_price=None, now=request.received_at)
        await commit_execution(
            trader.db, request, execution, before=book, mark=None, trace=Trace(raw=""), owner=trader.owner
        )
        results += execution.rollup
        book = execution.book
    ((key, total),) = roll_up(results).items()
    row = await trader.db.fetchrow("select * from analytics_daily")
    assert row is not None
    assert ResultKey(str(row["account_id"]), row["day"], row["root"]) == key
    names = ("trades", "wins", "losses", "contracts", "gross_pnl", "commission")
    assert {name: row[name] for name in names} == {name: getattr(total, name) for name in names}


async def test_a_rejected_signal_is_stored_without_an_order_and_leaves_the_book_alone(trader: Trader) -> None:
    assert await trader.commit(trader.request(signal(price=None))) == Committed()
    assert await counts(trader.db) == {**dict.fromkeys(TABLES, 0), "signals": 1}
    row = await trader.db.fetchrow("select status, rejection ->> 'code' as code from signals")
    assert row is not None
    assert tuple(row) == ("rejected", "NO_PRICE")
    assert (await trader.book()).account.version == 0


async def test_a_redelivered_signal_changes_nothing(trader: Trader) -> None:
    request = trader.request()
    assert await trader.commit(request, mark="m") == Committed()
    before = await counts(trader.db)
    assert await trader.commit(request, mark="m") == AlreadyCommitted()
    assert await counts(trader.db) == before
    assert (await trader.book()).account.version == 1


async def test_a_redelivered_rejection_changes_nothing(trader: Trader) -> None:
    request = trader.request(signal(price=None))
    assert await trader.commit(request, mark="m") == Committed()
    assert await trader.commit(request, mark="m") == AlreadyCommitted()


async def test_a_decision_on_an_old_book_is_refused_and_leaves_no_trace(trader: Trader) -> None:
    old = await trader.book()
    await trader.trade(Action.BUY)
    before = await counts(trader.db)
    late = trader.request(after_s=1)
    assert await trader.commit(late, book=old, mark="m") == StaleBook()
    assert await counts(trader.db) == before
    assert await trader.db.fetchval("select count(*) from signal_marks") == 0
    assert await trader.commit(late, mark="m") == Committed()


async def test_a_rejection_decided_on_an_old_book_is_refused_too(trader: Trader) -> None:
    old = await trader.book()
    await trader.trade(Action.BUY)
    closing = trader.request(signal(Action.CLOSE, quantity=None), after_s=1)
    assert await trader.commit(closing, book=old) == StaleBook()
    assert await trader.commit(closing) == Committed()
    assert (await trader.book()).open_trades == {}


async def test_of_many_commits_on_one_version_exactly_one_wins(trader: Trader) -> None:
    book = await trader.book()
    outcomes = await asyncio.gather(
        *(trader.commit(trader.request(), book=book, mark=str(number)) for number in range(8))
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Committed"] + ["StaleBook"] * 7
    assert await counts(trader.db) == dict.fromkeys(TABLES, 1)
    assert await trader.db.fetchval("select count(*) from signal_marks") == 1


async def test_one_signal_committed_by_many_at_once_is_stored_once(trader: Trader) -> None:
    book, request = await trader.book(), trader.request()
    outcomes = await asyncio.gather(*(trader.commit(request, book=book, mark="m") for _ in range(8)))
    assert [type(outcome) for outcome in outcomes].count(Committed) == 1
    assert {type(outcome) for outcome in outcomes} <= {Committed, AlreadyCommitted, StaleBook}
    assert await counts(trader.db) == dict.fromkeys(TABLES, 1)


@pytest.mark.parametrize(("after_s", "duplicate"), [(0, True), (59.999, True), (60, False), (-59, True), (-60, False)])
async def test_a_mark_holds_for_a_minute_in_both_directions(trader: Trader, after_s: float, duplicate: bool) -> None:
    first = trader.request()
    await trader.commit(first, mark="m")
    second = trader.request(after_s=after_s)
    outcome = await trader.commit(second, mark="m")
    assert outcome == (DuplicateMark(first.signal_id) if duplicate else Committed())
    assert (await counts(trader.db))["signals"] == (1 if duplicate else 2)


async def test_a_duplicate_can_be_recorded_without_a_mark(trader: Trader) -> None:
    await trader.commit(trader.request(), mark="m")
    assert await trader.commit(trader.request(after_s=1), mark=None) == Committed()


async def test_one_mark_in_two_accounts_at_once_trades_once(trader: Trader, database: Database) -> None:
    account_id = await database.fetchval(
        "insert into accounts (user_id, name) values ($1::text::uuid, 'Second') returning id", trader.user_id
    )
    other = replace(trader, account_id=str(account_id))
    for number in range(10):
        requests = [who.request(at=NOON, after_s=number * 100) for who in (trader, other)]
        outcomes = await asyncio.gather(trader.commit(requests[0], mark="m"), other.commit(requests[1], mark="m"))
        winner = requests[[type(outcome) for outcome in outcomes].index(Committed)]
        assert DuplicateMark(winner.signal_id) in outcomes
    assert (await counts(database))["signals"] == 10


async def test_a_users_events_are_numbered_without_gaps_over_accounts(trader: Trader, database: Database) -> None:
    others = [
        replace(trader, account_id=str(await database.fetchval(_NEW_ACCOUNT, trader.user_id, f"n{number}")))
        for number in range(4)
    ]
    await asyncio.gather(*(who.trade(Action.BUY) for who in (trader, *others)))
    numbers = [row["seq"] for row in await database.fetch("select seq from events order by seq")]
    assert numbers == [1, 2, 3, 4, 5]


_NEW_ACCOUNT = "insert into accounts (user_id, name) values ($1::text::uuid, $2) returning id"


async def test_settings_changed_meanwhile_are_not_lost(trader: Trader) -> None:
    book, request = await trader.book(), trader.request()
    async with trader.db.transaction() as connection:
        await connection.execute("update accounts set name = 'Renamed'")
        commit = asyncio.ensure_future(trader.commit(request, book=book))
        await _until_waiting(trader.db)
    assert await commit == Committed()
    account = (await trader.book()).account
    assert (account.name, account.version) == ("Renamed", 1)


async def _until_waiting(db: Database, *, at_least: int = 1) -> None:
    """So many statements on this database wait for a lock."""
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while await db.fetchval(waiting) < at_least:  # noqa: ASYNC110 - the server tells nobody when it begins to wait
            await asyncio.sleep(0)


@pytest.mark.parametrize("missing", ["account", "user"])
async def test_a_signal_for_an_account_that_is_gone_is_a_clear_error(trader: Trader, missing: str) -> None:
    book = await trader.book()
    table, id = ("accounts", trader.account_id) if missing == "account" else ("users", trader.user_id)
    await trader.db.execute(f"delete from {table} where id = $1::text::uuid", id)
    with pytest.raises(UnknownAccount, match=trader.account_id):
        await trader.commit(trader.request(), book=book)
    with pytest.raises(UnknownAccount):
        await load_book(trader.db, trader.account_id)


async def test_an_account_of_somebody_else_is_no_account(trader: Trader, database: Database) -> None:
    stranger = await Trader.join(database, "stranger@example.com")
    request = replace(trader.request(), account_id=stranger.account_id)
    with pytest.raises(UnknownAccount):
        await trader.commit(request, book=await stranger.book())


async def test_text_that_postgresql_cannot_hold_does_not_poison(trader: Trader) -> None:
    dirty = "a\x00b\ud800c"
    what = signal(playbook=dirty, sender_id=dirty, repairs=(Repair("price", dirty, dirty),))
    request = trader.request(what)
    assert await trader.commit(request, raw=dirty) == Committed()
    row = await trader.db.fetchrow("select raw, playbook_id from signals")
    assert row is not None
    assert row["raw"].startswith("a\ufffdb")
    assert "\x00" not in row["playbook_id"]


async def test_ids_that_are_no_uuid_are_unknown(trader: Trader) -> None:
    with pytest.raises(UnknownAccount):
        await load_book(trader.db, "paper")
    with pytest.raises(UnknownAccount):
        await load_book(trader.db, str(uuid4()))


async def all_at_once(trader: Trader, request: ExecutionRequest, book: Book) -> list[Outcome]:
    """Five commits of one signal, all of which have seen it as it was before the first of them."""
    async with asyncio.TaskGroup() as tasks, trader.db.transaction() as holder:
        await holder.execute("select from accounts for update")
        commits = [tasks.create_task(trader.commit(request, book=book)) for _ in range(5)]
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        async with asyncio.timeout(20):
            while await trader.db.fetchval(waits) < len(commits):  # noqa: ASYNC110 - a lock has no event
                await asyncio.sleep(0.01)
    return [commit.result() for commit in commits]


async def test_a_signal_whose_death_was_taken_back_gets_one_outcome_of_many_commits(trader: Trader) -> None:
    request, book = trader.request(), await trader.book()
    dead = given_up(request, cause="test", book=book)
    await commit_execution(trader.db, request, dead, before=book, mark=None, trace=Trace(raw="{}"), owner=trader.owner)
    assert await trader.commit(request) == AlreadyCommitted()
    assert await reopen_signal(trader.db, request.signal_id, owner=trader.owner)
    assert not await reopen_signal(trader.db, request.signal_id, owner=trader.owner)
    outcomes = await all_at_once(trader, request, book)
    assert outcomes.count(Committed()) == 1
    assert outcomes.count(AlreadyCommitted()) + outcomes.count(StaleBook()) == 4
    assert not await reopen_signal(trader.db, request.signal_id, owner=trader.owner)
    assert await trader.db.fetchval("select count(*) from orders") == 1


async def test_of_commits_that_leave_the_account_as_it_is_one_gives_the_outcome_too(trader: Trader) -> None:
    request, book = trader.request(signal(Action.CLOSE)), await trader.book()
    dead = given_up(request, cause="test", book=book)
    await commit_execution(trader.db, request, dead, before=book, mark=None, trace=Trace(raw="{}"), owner=trader.owner)
    await reopen_signal(trader.db, request.signal_id, owner=trader.owner)
    outcomes = await all_at_once(trader, request, book)
    assert (outcomes.count(Committed()), outcomes.count(AlreadyCommitted())) == (1, 4)
    assert await trader.db.fetchval("select rejection ->> 'code' from signals") == "NO_POSITION"


async def test_whoever_was_fenced_commits_nothing(trader: Trader) -> None:
    request = trader.request()
    heir = PostgresOwnership(trader.db, node="heir")
    assert await heir.fence(trader.owner)
    with pytest.raises(Fenced):
        await trader.commit(request, mark="m")
    assert await counts(trader.db) == dict.fromkeys(TABLES, 0)
    assert await trader.db.fetchval("select count(*) from signal_marks") == 0
    await heir.take(trader.owner.mailbox)
    assert await replace(trader, owner=heir.of(trader.owner.mailbox)).commit(request, mark="m") == Committed()


async def test_a_fenced_process_is_not_even_told_what_was_committed(trader: Trader) -> None:
    request = trader.request()
    assert await trader.commit(request) == Committed()
    assert await PostgresOwnership(trader.db, node="heir").fence(trader.owner)
    with pytest.raises(Fenced):
        await trader.commit(request)


async def test_a_process_that_took_the_node_over_fences_the_one_before(trader: Trader) -> None:
    successor = PostgresOwnership(trader.db, node=trader.owner.node)
    await successor.take(trader.owner.mailbox)
    with pytest.raises(Fenced):
        await trader.commit(trader.request())
    assert not await successor.fence(trader.owner)  # it was so already, and the successor is not touched
    assert await replace(trader, owner=successor.of(trader.owner.mailbox)).commit(trader.request()) == Committed()


async def test_a_fence_waits_for_a_commit_under_way(trader: Trader) -> None:
    owner = trader.owner
    async with trader.db.transaction() as connection:
        held = await connection.fetchrow(
            "select id from accounts where id = $1::text::uuid for update", trader.account_id
        )
        assert held is not None
        commit = asyncio.ensure_future(trader.commit(trader.request(), book=await trader.book()))
        await _until_waiting(trader.db)
        fence = asyncio.ensure_future(PostgresOwnership(trader.db, node="heir").fence(owner))
        await _until_waiting(trader.db, at_least=2)
        assert not fence.done()
    assert await commit == Committed()
    assert await fence
    assert (await counts(trader.db))["orders"] == 1


async def test_a_commit_that_waits_for_a_fence_is_refused(trader: Trader) -> None:
    async with trader.db.transaction() as connection:
        await connection.execute("update mailbox_owners set epoch = epoch + 1")
        commit = asyncio.ensure_future(trader.commit(trader.request(), book=await trader.book()))
        await _until_waiting(trader.db)
    with pytest.raises(Fenced):
        await commit
    assert await counts(trader.db) == dict.fromkeys(TABLES, 0)
