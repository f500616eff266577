"""What clients read: pages without gaps or doubles, filters, and nothing of anybody else."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.storage.support import NOON, Trader, signal
from trendedge.domain.signals import Action, Repair
from trendedge.storage.accounts import list_accounts, select_account
from trendedge.storage.errors import InvalidCursor
from trendedge.storage.events import select_events_after
from trendedge.storage.journal_entries import list_journal_entries
from trendedge.storage.orders import list_orders, select_order
from trendedge.storage.paging import Filters, Page, encode_cursor
from trendedge.storage.positions import list_positions
from trendedge.storage.postgres import Database
from trendedge.storage.prices import select_last_price
from trendedge.storage.signals import list_signals, select_signal_trace
from trendedge.storage.trades import list_trades, select_trade

type List = Callable[..., Awaitable[Page]]

LISTS: list[List] = [list_signals, list_trades, list_orders, list_positions, list_accounts, list_journal_entries]
BY_TIME: list[List] = [list_signals, list_trades, list_orders, list_journal_entries]


@pytest.fixture
async def trader(database: Database) -> Trader:
    return await Trader.join(database)


async def items(page: Awaitable[Page]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((await page).items)
    return found


async def walk(read: List, trader: Trader, limit: int) -> list[str]:
    """The ids of all pages, one after the other."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await read(trader.db, trader.user_id, limit=limit, cursor=cursor)
        shown = orjson.loads(page.items)
        assert len(shown) <= limit
        ids += [item["id"] for item in shown]
        if (cursor := page.next_cursor) is None:
            return ids


@pytest.mark.parametrize("read", BY_TIME)
async def test_pages_have_no_gaps_and_no_doubles_when_times_are_equal(trader: Trader, read: List) -> None:
    for number in range(10):  # five trades, in groups of equal times
        action = Action.CLOSE if number % 2 else Action.BUY
        await trader.trade(action, after_s=number // 4)
    everything = await walk(read, trader, 200)
    assert len(set(everything)) == len(everything) == (5 if read is list_trades else 10)
    for limit in range(1, len(everything) + 2):
        assert await walk(read, trader, limit) == everything


async def test_what_is_added_in_between_does_not_shift_the_pages(trader: Trader) -> None:
    first, second = [await trader.trade(Action.BUY, after_s=number) for number in range(2)]
    page = await list_signals(trader.db, trader.user_id, limit=1)
    await trader.trade(Action.BUY, after_s=5)
    following = await items(list_signals(trader.db, trader.user_id, limit=1, cursor=page.next_cursor))
    assert [orjson.loads(page.items)[0]["id"], following[0]["id"]] == [second, first]


@pytest.mark.parametrize("read", LISTS)
@pytest.mark.parametrize(
    "cursor", ["", "x", "%%%", "AAAA", "é", "A" * 32 + "=", "gICAgICAgICAgICAgICAgICAgICAgICA" * 3]
)
async def test_a_cursor_of_another_making_is_refused(trader: Trader, read: List, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await read(trader.db, trader.user_id, cursor=cursor)


async def test_a_cursor_is_good_for_its_own_list_alone_and_only_as_it_was_given(trader: Trader) -> None:
    for number in range(2):
        await trader.trade(Action.BUY, after_s=number)
    cursor = (await list_signals(trader.db, trader.user_id, limit=1)).next_cursor
    assert cursor is not None
    assert len(await items(list_signals(trader.db, trader.user_id, cursor=cursor))) == 1
    for read, seen in ((list_orders, cursor), (list_signals, cursor + "="), (list_signals, "!" + cursor)):
        with pytest.raises(InvalidCursor):
            await read(trader.db, trader.user_id, cursor=seen)


async def test_a_cursor_beyond_all_time_is_refused(trader: Trader) -> None:
    made = urlsafe_b64decode(encode_cursor(NOON, uuid4(), of="trades.opened_at"))
    beyond = urlsafe_b64encode(made[:3] + b"\x7f" + b"\xff" * 23).decode()
    with pytest.raises(InvalidCursor):
        await list_trades(trader.db, trader.user_id, cursor=beyond)


@pytest.mark.parametrize("read", LISTS)
async def test_a_user_sees_only_what_is_theirs(trader: Trader, database: Database, read: List) -> None:
    await trader.trade(Action.BUY)
    stranger = await Trader.join(database, "stranger@example.com")
    assert await items(read(database, trader.user_id)) != []
    foreign = [item for item in await items(read(database, stranger.user_id)) if item["id"] != stranger.account_id]
    assert foreign == []
    if read is not list_accounts:
        narrowed = read(database, stranger.user_id, filters=Filters(account_id=trader.account_id))
        assert await items(narrowed) == []


async def test_single_items_are_hidden_from_strangers_and_for_junk_ids(trader: Trader, database: Database) -> None:
    signal_id = await trader.trade(Action.BUY)
    stranger = await Trader.join(database, "stranger@example.com")
    (trade,), (order,) = (
        await items(list_trades(database, trader.user_id)),
        await items(list_orders(database, trader.user_id)),
    )
    reads: list[tuple[Callable[..., Awaitable[bytes | None]], str]] = [
        (select_signal_trace, signal_id),
        (select_trade, trade["id"]),
        (select_order, order["id"]),
        (select_account, trader.account_id),
    ]
    for read, id in reads:
        assert orjson.loads(await read(database, trader.user_id, id) or b"null")["id"] == id
        for user_id, wanted in (
            (stranger.user_id, id),
            (trader.user_id, str(uuid4())),
            (trader.user_id, "../junk\x00"),
        ):
            assert await read(database, user_id, wanted) is None


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(), 4),
        (Filters(root="MNQ"), 4),
        (Filters(root="ES"), 0),
        (Filters(status="rejected"), 1),
        (Filters(status="filled", root="MNQ"), 3),
        (Filters(since=NOON + timedelta(seconds=1)), 3),
        (Filters(until=NOON + timedelta(seconds=1)), 1),
        (Filters(since=NOON + timedelta(seconds=1), until=NOON + timedelta(seconds=3)), 2),
        (Filters(account_id=str(uuid4())), 0),
        (Filters(account_id="no id at all"), 0),
    ],
)
async def test_signals_are_filtered(trader: Trader, filters: Filters, count: int) -> None:
    for number in range(3):
        await trader.trade(Action.BUY, after_s=number)
    await trader.commit(trader.request(signal(price=None), after_s=3))
    assert len(await items(list_signals(trader.db, trader.user_id, filters=filters))) == count


async def test_trades_are_filtered_by_status_and_account(trader: Trader) -> None:
    await trader.trade(Action.BUY)
    await trader.trade(Action.REVERSE, after_s=1)
    for status in ("open", "closed"):
        filters = Filters(status=status, account_id=trader.account_id, root="MNQ")
        assert [t["status"] for t in await items(list_trades(trader.db, trader.user_id, filters=filters))] == [status]


async def test_the_trace_of_a_filled_signal_has_all_that_it_led_to(trader: Trader) -> None:
    what = signal(quantity=2, repairs=(Repair("body", "{,}", "{}"),), sender_id="abc")
    request = trader.request(what)
    await trader.commit(request, raw='{"secret": "***"}')
    trace = orjson.loads(await select_signal_trace(trader.db, trader.user_id, request.signal_id) or b"")
    assert trace["status"] == "filled"
    assert trace["raw"] == '{"secret": "***"}'
    assert trace["repairs"] == [{"field": "body", "was": "{,}", "became": "{}"}]
    assert trace["rejection"] is None
    assert trace["source"] == {"dialect": "json", "sent_at": None}
    assert (trace["quantity"], trace["price"], trace["received_at"]) == ("2", "18500", "2026-11-18T18:00:00.000000Z")
    assert all(check["passed"] and check["detail"] for check in trace["checks"])
    (order,) = trace["orders"]
    assert (order["side"], order["quantity"], order["client_order_id"]) == ("buy", "2", f"te-{request.signal_id}")
    assert [fill["id"] for fill in order["fills"]] == [fill["id"] for fill in trace["trade"]["fills"]]
    assert trace["trade"]["signal_id"] == request.signal_id


async def test_the_trace_of_a_reverse_shows_the_trade_that_it_opened(trader: Trader) -> None:
    await trader.trade(Action.BUY)
    reverse = await trader.trade(Action.REVERSE, after_s=1)
    trace = orjson.loads(await select_signal_trace(trader.db, trader.user_id, reverse) or b"")
    assert trace["trade"]["signal_id"] == reverse
    assert [trade["status"] for trade in trace["trades"]] == ["open", "closed"]


async def test_the_trace_of_an_exit_shows_the_trade_that_it_closed(trader: Trader) -> None:
    entry = await trader.trade(Action.BUY)
    leaving = await trader.trade(Action.CLOSE, after_s=1)
    trace = orjson.loads(await select_signal_trace(trader.db, trader.user_id, leaving) or b"")
    assert (trace["trade"]["signal_id"], trace["trade"]["status"]) == (entry, "closed")


async def test_the_trace_of_a_rejected_signal_says_why(trader: Trader) -> None:
    request = trader.request(signal(price=None))
    await trader.commit(request)
    trace = orjson.loads(await select_signal_trace(trader.db, trader.user_id, request.signal_id) or b"")
    assert trace["rejection"]["code"] == "NO_PRICE"
    assert (trace["orders"], trace["trade"]) == ([], None)


async def test_positions_are_valued_at_the_last_price_and_flat_ones_are_not_shown(trader: Trader) -> None:
    await trader.trade(Action.BUY, quantity=2, price="18500")
    await trader.commit(trader.request(signal(Action.CANCEL, price="18510.25"), after_s=1))
    (held,) = await items(list_positions(trader.db, trader.user_id))
    assert (held["quantity"], held["average_price"], held["unrealized_pnl"]) == ("2", "18500", "41")
    (account,) = await items(list_accounts(trader.db, trader.user_id))
    assert account["equity"] == "100041"
    await trader.trade(Action.CLOSE, quantity=2, price="18510", after_s=2)
    assert await items(list_positions(trader.db, trader.user_id)) == []
    (account,) = await items(list_accounts(trader.db, trader.user_id))
    assert (account["equity"], account["realized_pnl"]) == ("100040", "40")


async def test_positions_are_paged(trader: Trader) -> None:
    await trader.trade(Action.BUY)
    await trader.db.execute(
        "insert into positions select account_id, 'MNQZ6', user_id, root, 1, 1, 1, 1 from positions"
    )
    page = await list_positions(trader.db, trader.user_id, limit=1)
    rest = await list_positions(trader.db, trader.user_id, limit=1, cursor=page.next_cursor)
    assert [orjson.loads(p.items)[0]["symbol"] for p in (page, rest)] == ["MNQ", "MNQZ6"]
    assert rest.next_cursor is None


async def test_the_last_price_is_the_newest_that_is_young_enough_and_ones_own(
    trader: Trader, database: Database
) -> None:
    await trader.trade(Action.BUY, price="18500")
    await trader.trade(Action.BUY, price="18501", after_s=10)
    await trader.commit(trader.request(signal(price=None), after_s=20))
    stranger = await Trader.join(database, "stranger@example.com")
    await stranger.trade(Action.BUY, price="1", after_s=30)
    last = await select_last_price(database, user_id=trader.user_id, root="MNQ", since=NOON)
    assert last is not None
    assert (str(last.price), last.at) == ("18501", NOON + timedelta(seconds=10))
    late = NOON + timedelta(seconds=11)
    assert await select_last_price(database, user_id=trader.user_id, root="MNQ", since=late) is None
    assert await select_last_price(database, user_id=trader.user_id, root="ES", since=NOON) is None


async def test_a_client_gets_the_events_that_it_has_missed(trader: Trader, database: Database) -> None:
    for number, action in enumerate([Action.BUY, Action.ADD, Action.REVERSE]):
        await trader.trade(action, after_s=number)
    ids = [str(row["id"]) for row in await database.fetch("select id from events order by seq")]
    missed = await select_events_after(database, trader.user_id, ids[0])
    assert missed is not None
    assert [event.id for event in missed] == ids[1:]
    assert [event.type for event in missed] == ["trade.updated", "trade.closed", "trade.created"]
    assert await select_events_after(database, trader.user_id, ids[-1]) == []


async def test_a_resume_that_cannot_be_honoured_is_none(trader: Trader, database: Database) -> None:
    await trader.trade(Action.BUY)
    await trader.trade(Action.REVERSE, after_s=1)
    first = str(await database.fetchval("select id from events where seq = 1"))
    stranger = await Trader.join(database, "stranger@example.com")
    assert await select_events_after(database, trader.user_id, str(uuid4())) is None
    assert await select_events_after(database, trader.user_id, "junk") is None
    assert await select_events_after(database, stranger.user_id, first) is None
    assert await select_events_after(database, trader.user_id, first, limit=1) is None
