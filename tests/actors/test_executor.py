"""From an alert to a committed, announced trade, on the real runtime, domain and stores."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import anyio
import orjson
import pytest

from tests.actors.support import Desk, desk, make_owner, now, settled
from tests.storage.support import end_lease
from trendedge.actors.codec import encode_execute
from trendedge.actors.intake import UnknownAccountName
from trendedge.actors.keyring import KeyOwner
from trendedge.actors.messages import ExecuteSignal
from trendedge.actors.pending import PendingSignals
from trendedge.actors.tree import EXECUTOR_MAILBOX
from trendedge.domain.alerts import parse_alert
from trendedge.http.sockets.resume import frames_after
from trendedge.runtime import Supervisor
from trendedge.storage.accounts import update_account_settings
from trendedge.storage.executions import load_book
from trendedge.storage.halt import set_halt
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_journal import RedisJournal


@pytest.fixture
async def at_the_desk(database: Database, redis_store: RedisStore) -> AsyncIterator[Desk]:
    async with desk(database, redis_store) as opened:
        yield opened


async def executed(place: Desk, signal_id: str) -> None:
    """Wait until the signal has an outcome."""
    with anyio.fail_after(20):
        while await place.status_of(signal_id) is None:  # noqa: ASYNC110 - a row has no event
            await anyio.sleep(0.01)


def command_for(owner: KeyOwner) -> ExecuteSignal:
    """What intake would have journalled for `BUY`."""
    alert = parse_alert(orjson.dumps(BUY), today=now().date())
    return ExecuteSignal(
        signal_id="3f0e7c4e-1f6c-4d55-9c53-0d6e8a3c1a11",
        user_id=owner.user_id,
        account_id=owner.accounts[0].id,
        received_at=now(),
        request_id="r",
        signal=alert.signal,
        raw=alert.raw,
    )


BUY = {"symbol": "NQ1!", "action": "buy", "quantity": 1, "price": "18250.25"}


async def test_an_alert_becomes_a_trade_and_an_event_and_nothing_stays_behind(
    at_the_desk: Desk, redis_store: RedisStore
) -> None:
    subscriber = at_the_desk.sockets.attach(at_the_desk.owner.user_id)
    receipt = await at_the_desk.post(**BUY)
    [frame] = await subscriber.next_frames()
    event = orjson.loads(frame)
    assert (event["type"], event["data"]["signal_id"]) == ("trade.created", receipt.signal_id)
    assert set(event) == {"type", "id", "at", "data"}
    await settled(at_the_desk)
    assert await at_the_desk.status_of(receipt.signal_id) == "filled"
    assert await redis_store.command("XLEN", f"mailbox:{EXECUTOR_MAILBOX}:test-node") == 0


async def test_two_alerts_of_one_meaning_trade_once(at_the_desk: Desk) -> None:
    first = await at_the_desk.post(**BUY)
    second = await at_the_desk.post(ticker="CME_MINI:NQ1!", side="long", contracts="1", price=18250.25)
    assert (second.signal_id, second.status) == (first.signal_id, "duplicate")
    third = await at_the_desk.post(**BUY, id="wanted-twice")
    assert third.status == "accepted"
    await settled(at_the_desk)
    assert await at_the_desk.database.fetchval("select count(*) from orders") == 2


async def test_postgresql_has_the_last_word_when_the_mark_in_redis_was_lost(
    at_the_desk: Desk, redis_store: RedisStore
) -> None:
    first = await at_the_desk.post(**BUY)
    await settled(at_the_desk)
    await redis_store.command("FLUSHALL")
    second = await at_the_desk.post(**BUY)
    assert second.status == "accepted"
    await settled(at_the_desk)
    assert await at_the_desk.status_of(second.signal_id) == "rejected"
    rejection = await at_the_desk.database.fetchval(
        "select rejection from signals where id::text = $1", second.signal_id
    )
    assert rejection["code"] == "DUPLICATE"
    assert first.signal_id in rejection["message"]
    assert await at_the_desk.database.fetchval("select count(*) from orders") == 1


async def test_a_message_that_a_dead_process_left_is_executed_once_and_told(
    database: Database, redis_store: RedisStore
) -> None:
    owner = await make_owner(database)
    command = command_for(owner)
    before = RedisJournal(redis_store, ownership=PostgresOwnership(database, node="test-node"))
    for _ in range(2):
        await before.append(EXECUTOR_MAILBOX, encode_execute(command))
    async with desk(database, redis_store) as place:
        await settled(place)
        assert await place.status_of(command.signal_id) == "filled"
    assert await database.fetchval("select count(*) from orders") == 1
    assert await database.fetchval("select count(*) from fills") == 1


async def test_a_book_that_somebody_else_changed_is_loaded_again(at_the_desk: Desk) -> None:
    await at_the_desk.post(**BUY)
    await settled(at_the_desk)
    account_id = at_the_desk.owner.accounts[0].id
    await at_the_desk.database.execute(
        "update accounts set version = version + 7, default_quantity = 5 where id::text = $1", account_id
    )
    await at_the_desk.post(symbol="NQ1!", action="sell", price="18250.25", id="after")
    await settled(at_the_desk)
    book = await load_book(at_the_desk.database, account_id)
    assert book.positions["NQ"].quantity == 1 - 5


async def test_alerts_of_one_account_are_executed_in_the_order_of_their_receipts(at_the_desk: Desk) -> None:
    receipts = [await at_the_desk.post(**BUY, id=str(number)) for number in range(20)]
    await settled(at_the_desk)
    rows = await at_the_desk.database.fetch("select signal_id::text from orders order by created_at")
    assert [row["signal_id"] for row in rows] == [receipt.signal_id for receipt in receipts]
    book = await load_book(at_the_desk.database, at_the_desk.owner.accounts[0].id)
    assert book.positions["NQ"].quantity == 20


async def test_an_alert_without_a_price_takes_the_last_known_one_or_is_rejected(at_the_desk: Desk) -> None:
    without = {"symbol": "ES1!", "action": "buy", "quantity": 1}
    refused = await at_the_desk.post(**without, id="1")
    await settled(at_the_desk)
    await at_the_desk.post(symbol="ES1!", action="buy", quantity=1, price="5000.25", id="2")
    filled = await at_the_desk.post(**without, id="3")
    await settled(at_the_desk)
    assert await at_the_desk.status_of(refused.signal_id) == "rejected"
    assert await at_the_desk.status_of(filled.signal_id) == "filled"
    prices = await at_the_desk.database.fetch("select price from fills")
    assert [str(row["price"]) for row in prices] == ["5000.25", "5000.25"]


async def test_an_account_that_the_user_does_not_have_is_refused_at_the_door(at_the_desk: Desk) -> None:
    with pytest.raises(UnknownAccountName, match=r"there is no account 'Live'; this user has Paper"):
        await at_the_desk.post(**BUY, account="Live")
    accepted = await at_the_desk.post(**BUY, account="paper")
    assert accepted.status == "accepted"


async def test_what_is_published_from_outside_reaches_the_sockets_and_our_own_only_once(
    at_the_desk: Desk, redis_store: RedisStore
) -> None:
    user_id = at_the_desk.owner.user_id
    subscriber = at_the_desk.sockets.attach(user_id)
    receipt = await at_the_desk.post(**BUY)
    await settled(at_the_desk)
    for payload in (b"not json", b"[]", b'{"type":5}', b'{"type":"scan.complete","data":{"found":3}}'):
        await redis_store.publish(f"ws:system:{user_id}", payload)
    await redis_store.publish(f"ws:nowhere:{user_id}", b'{"type":"hidden","data":{}}')
    await redis_store.publish(f"ws:trades:{user_id}", b'{"type":"trade.updated","data":{"last":true}}')
    frames: list[dict[str, object]] = []
    with anyio.fail_after(10):
        while not frames or frames[-1]["data"] != {"last": True}:
            frames += [orjson.loads(frame) for frame in await subscriber.next_frames()]
    assert [frame["type"] for frame in frames] == ["trade.created", "scan.complete", "trade.updated"]
    assert isinstance(frames[0]["data"], dict)
    assert frames[0]["data"]["signal_id"] == receipt.signal_id


async def test_a_hub_that_takes_nothing_costs_neither_an_attempt_nor_an_event(
    at_the_desk: Desk, redis_store: RedisStore
) -> None:
    user_id = at_the_desk.owner.user_id
    subscriber = at_the_desk.sockets.attach(user_id)
    await at_the_desk.post(**BUY, id="before")
    [last] = await subscriber.next_frames()
    events = next(child.process for child in at_the_desk.root.children if child.spec.id == "events")
    assert isinstance(events, Supervisor)
    await events.stop_child("hub")  # as in the middle of an ordered restart
    async with redis_store.listen("ws:*") as published:
        receipt = await at_the_desk.post(**BUY, id="meanwhile")
        await settled(at_the_desk)
        assert (await anext(published)).channel == f"ws:trades:{user_id}"
    assert at_the_desk.at.executor.cell.stats.failed == 0
    assert await at_the_desk.status_of(receipt.signal_id) == "filled"
    missed = await frames_after(at_the_desk.database, subscriber, orjson.loads(last)["id"])
    assert missed is not None
    assert [orjson.loads(frame)["data"]["signal_id"] for frame in missed] == [receipt.signal_id]


async def test_a_signal_that_waits_shows_its_trace_so_far_to_its_owner(at_the_desk: Desk) -> None:
    pending = PendingSignals(at_the_desk.at.executor)
    at_the_desk.at.executor.cell.suspend()
    receipt = await at_the_desk.post(**BUY, id="42")
    trace = pending.find(at_the_desk.owner.user_id, receipt.signal_id)
    assert trace is not None
    assert (trace["status"], trace["symbol"], trace["price"], trace["quantity"]) == ("accepted", "NQ", "18250.25", "1")
    assert pending.find("somebody else", receipt.signal_id) is None
    at_the_desk.at.executor.cell.resume()
    await settled(at_the_desk)
    assert pending.find(at_the_desk.owner.user_id, receipt.signal_id) is None
    assert await at_the_desk.status_of(receipt.signal_id) == "filled"


async def test_a_signal_that_killed_three_processes_is_dead_and_its_owner_can_read_that(
    database: Database, redis_store: RedisStore
) -> None:
    owner = await make_owner(database)
    command = command_for(owner)
    journal = RedisJournal(redis_store, ownership=PostgresOwnership(database, node="test-node"))
    await journal.append(EXECUTOR_MAILBOX, encode_execute(command))
    for _ in range(2):  # the first attempt of the three was made by the process that took the message
        process = RedisJournal(redis_store, ownership=PostgresOwnership(database, node="test-node"))
        (entry,) = await process.recover(EXECUTOR_MAILBOX)
        await process.settle(EXECUTOR_MAILBOX, [], begin=[entry.entry_id])
    async with desk(database, redis_store) as place:
        await settled(place)
        assert await place.status_of(command.signal_id) == "dead"
    assert await database.fetchval("select count(*) from orders") == 0
    assert await journal.count(EXECUTOR_MAILBOX) == (0, 1)


async def test_an_account_that_vanished_holds_nobody_up(database: Database, redis_store: RedisStore) -> None:
    owner = await make_owner(database)
    lost = replace(command_for(owner), account_id="00000000-0000-4000-8000-000000000000")
    journal = RedisJournal(redis_store, ownership=PostgresOwnership(database, node="test-node"))
    await journal.append(EXECUTOR_MAILBOX, encode_execute(lost))
    async with desk(database, redis_store) as place:
        receipt = await place.post(**BUY)
        await executed(place, receipt.signal_id)
        assert await place.status_of(receipt.signal_id) == "filled"
        await settled(place)
    assert await journal.count(EXECUTOR_MAILBOX) == (0, 1)


async def test_mail_of_a_dead_node_is_delivered_when_the_bell_rings(at_the_desk: Desk, redis_store: RedisStore) -> None:
    command = command_for(at_the_desk.owner)
    database = at_the_desk.database
    dead = RedisJournal(redis_store, ownership=PostgresOwnership(database, node="dead-node"))
    await dead.append(EXECUTOR_MAILBOX, encode_execute(command))
    await end_lease(redis_store, database, EXECUTOR_MAILBOX, "dead-node")
    at_the_desk.bell.ring()
    await executed(at_the_desk, command.signal_id)
    assert await at_the_desk.status_of(command.signal_id) == "filled"


async def test_settings_that_their_owner_changes_count_from_the_next_signal_on(at_the_desk: Desk) -> None:
    await at_the_desk.post(**BUY, id="1")
    await settled(at_the_desk)
    changed = await update_account_settings(
        at_the_desk.database,
        at_the_desk.owner.user_id,
        at_the_desk.owner.accounts[0].id,
        slippage_ticks=2,
        commission=Decimal("1.25"),
    )
    assert changed
    await at_the_desk.post(**BUY, id="2")
    await settled(at_the_desk)
    rows = await at_the_desk.database.fetch("select price, commission from fills order by at")
    assert [(row["price"], row["commission"]) for row in rows] == [
        (Decimal("18250.25"), Decimal(0)),
        (Decimal("18250.75"), Decimal("1.25")),
    ]


async def test_a_halt_refuses_entries_also_of_executors_that_have_the_book_in_memory_and_lets_exits_pass(
    at_the_desk: Desk,
) -> None:
    await at_the_desk.post(**BUY | {"quantity": 3})
    await settled(at_the_desk)
    await set_halt(at_the_desk.database, halted=True, who="test")
    alerts: tuple[dict[str, object], ...] = (
        {"action": "buy"},
        {"action": "sell", "quantity": 1},
        {"action": "sell", "quantity": 9},
        {"action": "close"},
    )
    entry, part, reverse, rest = [
        await at_the_desk.post(**{**BUY, "quantity": None} | alert, id=str(n)) for n, alert in enumerate(alerts)
    ]
    await settled(at_the_desk)
    assert [await at_the_desk.status_of(one.signal_id) for one in (entry, part, reverse, rest)] == [
        "rejected", "filled", "rejected", "filled",
    ]  # fmt: skip
    await set_halt(at_the_desk.database, halted=False, who="test")
    again = await at_the_desk.post(**BUY, id="again")
    await settled(at_the_desk)
    assert await at_the_desk.status_of(again.signal_id) == "filled"


async def test_a_halt_holds_in_every_process_and_after_every_restart(
    database: Database, redis_store: RedisStore
) -> None:
    async def traded(place: Desk, id: str) -> str | None:
        receipt = await place.post(**BUY, id=id)
        await settled(place)
        return await place.status_of(receipt.signal_id)

    async with desk(database, redis_store, node="one") as one, desk(database, redis_store, node="two") as two:
        assert [await traded(place, id) for place, id in ((one, "a"), (two, "b"))] == ["filled", "filled"]
        await set_halt(database, halted=True, who="test")
        assert [await traded(place, id) for place, id in ((one, "c"), (two, "d"))] == ["rejected", "rejected"]
    async with desk(database, redis_store, node="three") as later:
        assert await traded(later, "e") == "rejected"
        await set_halt(database, halted=False, who="test")
        assert await traded(later, "f") == "filled"
