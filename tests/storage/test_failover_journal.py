"""Nothing acknowledged is lost, and nothing is done twice, while Redis comes and goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from tests.storage.conftest import Breakable
from tests.storage.network import network
from tests.storage.support import end_lease, own
from tests.storage.test_journals import BOX, LETTER, append
from trendedge.runtime import Durability
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Announcement, Appended, Duplicate, Journal, Settlement, Unique
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.stamps import Stamps
from trendedge.storage.failover_journal import LEFT, MARK_S, FailoverJournal
from trendedge.storage.migrate import upgrade
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore, open_redis
from trendedge.storage.redis_journal import RedisJournal

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class Watched:
    """A journal over both stores, and what it said about itself."""

    redis: RedisJournal
    journal: FailoverJournal

    def __init__(self) -> None:
        self.told: list[bool] = []
        self._changed = asyncio.Event()

    @classmethod
    async def open(
        cls, redis: RedisStore, database: Database, node: str = "a", *, down: Database | None = None
    ) -> "Watched":
        """:param down: a PostgreSQL that the journal cannot reach, while the node was given its epoch by `database`"""
        watched = cls()
        own_ = await own(database, redis, BOX, node, doubt_s=0, on_change=watched._on_change)
        watched.redis, watched.journal = own_.redis, own_.both
        if down is not None:
            watched.journal = FailoverJournal(
                own_.redis,
                PostgresJournal(down, ownership=own_.ownership, doubt_s=0),
                speaker=redis,
                ownership=own_.ownership,
                on_change=watched._on_change,
            )
        return watched

    def _on_change(self, degraded: bool) -> None:
        self.told.append(degraded)
        self._changed.set()

    async def wait_told(self, degraded: bool) -> None:
        async with asyncio.timeout(30):
            while not self.told or self.told[-1] is not degraded:
                self._changed.clear()
                await self._changed.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.journal.run())
        yield
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def watched(own_redis: Breakable, database: Database) -> AsyncIterator[Watched]:
    async with open_redis(own_redis.url) as redis:
        yield await Watched.open(redis, database)


async def until[T](wanted: T, look: Callable[[], Awaitable[T]]) -> None:
    """Background work has come so far."""
    async with asyncio.timeout(30):
        while await look() != wanted:  # noqa: ASYNC110 - the state of a server, which tells nobody
            await asyncio.sleep(0.01)


async def test_appends_go_on_while_redis_is_down_and_come_back_to_it(watched: Watched, own_redis: Breakable) -> None:
    journal = watched.journal
    async with watched.running():
        await append(journal, b"before")
        await own_redis.stop()
        await append(journal, b"during")
        assert (journal.degraded, watched.told) == (True, [True])
        await own_redis.start()
        await watched.wait_told(False)
        await append(journal, b"after")
    assert (await watched.redis.count(BOX))[0] == 2
    assert [entry.payload for entry in await journal.recover(BOX)] == [b"before", b"during", b"after"]
    assert await journal.count(BOX) == (3, 0)


async def test_each_entry_is_settled_where_it_is(watched: Watched, own_redis: Breakable) -> None:
    journal = watched.journal
    first = await append(journal, b"1")
    await own_redis.stop()
    second = await append(journal, b"2")
    await own_redis.start()
    for entry_id in (first, second):
        await journal.settle(BOX, [Settlement(entry_id)])
    async with watched.running():
        await until((0, 0), lambda: journal.count(BOX))
    assert await journal.recover(BOX) == []


async def test_attempts_are_counted_where_their_entries_are_and_those_of_a_store_that_is_down_are_not(
    watched: Watched, own_redis: Breakable, database: Database
) -> None:
    journal = watched.journal
    ids = [await append(journal, b"1"), await append(journal, b"2")]
    await own_redis.stop()
    ids += [await append(journal, b"3"), await append(journal, b"4")]
    await journal.settle(BOX, [Settlement(ids[0]), Settlement(ids[2])], begin=[ids[1], ids[3]])
    await own_redis.start()
    async with watched.running():
        await watched.wait_told(False)
        await until((2, 0), lambda: journal.count(BOX))  # the settlement was owed to Redis, the attempt was not
    found = await (await Watched.open(watched.redis._redis, database)).journal.recover(BOX)
    assert [(entry.payload, entry.attempts) for entry in found] == [(b"2", 0), (b"4", 1)]


async def test_who_leaves_mail_in_either_store_says_so_and_who_leaves_none_says_nothing(
    watched: Watched, own_redis: Breakable
) -> None:
    journal = watched.journal
    async with open_redis(own_redis.url) as redis, redis.listen(LEFT, "end") as published:
        await journal.settle(BOX, [Settlement(await append(journal, b"done"))])
        assert await journal.release() is False
        await append(journal, b"left")
        assert await journal.release() is True
        await redis.publish("end", b"")
        heard = [await anext(published), await anext(published)]
    assert [(one.channel, one.payload) for one in heard] == [(LEFT, b"a"), ("end", b"")]


async def test_who_leaves_while_redis_is_down_leaves_its_mail_in_postgresql(
    watched: Watched, own_redis: Breakable, database: Database
) -> None:
    await own_redis.stop()
    await append(watched.journal, b"left")
    assert await watched.journal.release() is True
    await own_redis.start()
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        heir = (await own(database, redis, BOX, "b")).both
        assert [entry.payload for entry in await heir.adopt(BOX)] == [b"left"]


async def test_adopted_mail_of_both_stores_comes_in_the_order_in_which_it_was_appended(
    watched: Watched, own_redis: Breakable, database: Database
) -> None:
    await append(watched.journal, b"in redis")
    await own_redis.stop()
    await append(watched.journal, b"in postgresql")
    await own_redis.start()
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await end_lease(redis, database, BOX, "a")
        heir = (await own(database, redis, BOX, "b")).both
        assert [entry.payload for entry in await heir.recover(BOX)] == [b"in redis", b"in postgresql"]


@pytest.mark.parametrize("first", ["redis", "postgresql"])
async def test_mail_of_both_stores_keeps_its_order_however_long_an_answer_takes(
    first: str, database: Database, database_url: str, redis_url: str, redis_store: RedisStore
) -> None:
    before = await own(database, redis_store, BOX)
    stores: list[Journal] = [before.redis, before.postgres]
    for number, journal in enumerate(stores if first == "redis" else reversed(stores)):
        await append(journal, b"%d" % number)
        for _ in range(100):
            await append(journal, b"-" * 4000)
    async with (
        network(database_url, bytes_a_second=1_000_000) as far,
        network(redis_url, bytes_a_second=1_000_000) as far_too,
        open_database(far.url) as slow_database,
        open_redis(far_too.url, timeout_s=5) as slow_redis,
    ):
        found = await (await own(slow_database, slow_redis, BOX)).both.recover(BOX)
    assert [entry.payload for entry in found if len(entry.payload) == 1] == [b"0", b"1"]


async def test_mail_of_both_stores_keeps_its_order_when_the_clock_is_set_back_over_a_restart(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append((await own(database, redis_store, BOX)).redis, b"0")
    monkeypatch.setattr("time.time_ns", lambda real=time.time_ns: real() - 3_600_000_000_000)
    again = await own(database, redis_store, BOX)
    again.ownership.stamps = Stamps(time.time_ns)
    assert [entry.payload for entry in await again.both.recover(BOX)] == [b"0"]
    await append(again.postgres, b"1")
    last = await own(database, redis_store, BOX)
    assert [entry.payload for entry in await last.both.recover(BOX)] == [b"0", b"1"]


@pytest.mark.parametrize("ahead_s", [-60, 60])
async def test_a_clock_of_another_process_turns_nobodys_mail_around(
    ahead_s: int, database: Database, redis_store: RedisStore
) -> None:
    """What it has sent lies before the mail of one whose clock is right, in one store or the other."""
    wrong = await own(database, redis_store, BOX, "wrong")
    wrong.ownership.stamps = Stamps(lambda: time.time_ns() + ahead_s * 1_000_000_000)
    right = await own(database, redis_store, BOX, "right")
    in_turn = ((wrong.postgres, right.postgres, right.redis), (wrong.redis, right.redis, right.postgres))
    for before, first, second in in_turn:
        await append(before, b"theirs")
        await append(first, b"buy")
        await append(second, b"close")
    for node in ("wrong", "right"):
        await end_lease(redis_store, database, BOX, node)
    heir = await own(database, redis_store, BOX, "heir")
    found = [entry.payload for entry in await heir.both.recover(BOX)]
    assert [payload for payload in found if payload != b"theirs"] == [b"buy", b"close"] * 2


@pytest.mark.parametrize("behind_s", [0, 60])
@pytest.mark.parametrize("last", ["redis", "postgres"])
async def test_a_clock_of_another_process_that_is_behind_turns_nobodys_mail_around(
    last: str, behind_s: int, database: Database, redis_store: RedisStore
) -> None:
    """What it has sent lies behind the younger message of one whose clock is right; it goes through several hands."""
    right, wrong = [await own(database, redis_store, BOX, node) for node in ("right", "wrong")]
    wrong.ownership.stamps = Stamps(lambda: time.time_ns() - behind_s * 1_000_000_000)
    stores: list[Journal] = [right.postgres, right.redis]
    for journal, payload in zip(stores if last == "redis" else stores[::-1], (b"buy", b"close"), strict=True):
        await append(journal, payload)
    await asyncio.sleep(0.005)  # another millisecond of the server: within one of them it goes by the stamps
    await append(wrong.redis if last == "redis" else wrong.postgres, b"theirs")
    await end_lease(redis_store, database, BOX, "wrong")
    owners = [await own(database, redis_store, BOX, "right")]
    found = [[entry.payload for entry in await owners[0].both.recover(BOX)]]
    for heir, before in (("heir", "right"), ("next heir", "heir")):
        await end_lease(redis_store, database, BOX, before)
        owners.append(await own(database, redis_store, BOX, heir))
        found.append([entry.payload for entry in await owners[-1].both.adopt(BOX)])
    assert [one.index(b"buy") < one.index(b"close") for one in found] == [True] * 3


async def test_mail_of_an_earlier_release_is_put_in_order_by_its_age(
    database: Database, redis_store: RedisStore
) -> None:
    before = await own(database, redis_store, BOX)
    await append(before.postgres, b"0")
    await database.execute("update mailbox_entries set sent_us = 0, created_at = created_at - interval '6 s'")
    await redis_store.command("XADD", f"mailbox:{BOX}:a", f"{time.time_ns() // 1_000_000 - 3000}-0", "p", b"1")
    await redis_store.command("HSET", f"owners:{BOX}", "a", "1:0")
    await append(before.postgres, b"2")
    again = await own(database, redis_store, BOX)
    assert [entry.payload for entry in await again.both.recover(BOX)] == [b"0", b"1", b"2"]


async def test_what_is_settled_together_is_announced_in_order_whichever_stores_have_it(
    watched: Watched, own_redis: Breakable
) -> None:
    journal = watched.journal
    old = [await append(journal, b"in redis") for _ in range(3)]
    await own_redis.stop()
    new = [await append(journal, b"in postgresql") for _ in range(3)]
    await own_redis.start()
    both = [one for pair in zip(old, new, strict=True) for one in pair]
    async with open_redis(own_redis.url) as redis, watched.running(), redis.listen("ws:*") as published:
        await watched.wait_told(False)
        said = [Announcement("ws:trades:u", b"%d" % number) for number in range(6)]
        await journal.settle(BOX, [Settlement(one, [said[number]]) for number, one in enumerate(both)])
        async with asyncio.timeout(10):
            assert [(await anext(published)).payload for _ in said] == [one.payload for one in said]
    assert await journal.recover(BOX) == []


async def test_a_settlement_made_while_redis_is_down_is_made_up_for(watched: Watched, own_redis: Breakable) -> None:
    journal = watched.journal
    entry_id = await append(journal, b"x")
    await own_redis.stop()
    await journal.settle(BOX, [Settlement(entry_id)])
    await own_redis.start()
    assert (await watched.redis.count(BOX))[0] == 1
    async with watched.running():
        await watched.wait_told(False)
        await until((0, 0), lambda: watched.redis.count(BOX))


async def test_a_dead_letter_stays_in_the_store_of_its_entry(watched: Watched, own_redis: Breakable) -> None:
    await own_redis.stop()
    entry_id = await append(watched.journal, b"x")
    await watched.journal.bury(BOX, entry_id, b"x", LETTER)
    [letter] = await watched.journal.dead_letters(BOX)
    assert (letter.dead_id[:2], letter.payload) == ("2:", b"x")
    await own_redis.start()
    assert await watched.journal.count(BOX) == (0, 1)


async def test_a_duplicate_is_seen_while_redis_is_down(watched: Watched, own_redis: Breakable) -> None:
    await own_redis.stop()
    await append(watched.journal, b"1", Unique("m", "1", 60))
    assert await watched.journal.append(BOX, b"2", unique=Unique("m", "2", 60)) == Duplicate("1")


async def test_with_both_down_the_append_says_so_and_names_both(own_redis: Breakable, database: Database) -> None:
    await own_redis.stop()
    async with open_redis(own_redis.url) as redis, open_database(NOWHERE) as down:
        journal = (await Watched.open(redis, database, down=down)).journal
        for _ in range(2):
            with pytest.raises(JournalUnavailable, match=r"Redis|PostgreSQL") as caught:
                await journal.append(BOX, b"x")
            assert set(caught.value.store.split(" and ")) == {"Redis", "PostgreSQL"}
        with pytest.raises(JournalUnavailable):
            await journal.recover(BOX)


async def test_redis_is_tried_again_at_once_when_postgresql_fails_too(own_redis: Breakable, database: Database) -> None:
    async with open_redis(own_redis.url) as redis, open_database(NOWHERE) as down:
        watched = await Watched.open(redis, database, down=down)
        await own_redis.stop()
        with pytest.raises(JournalUnavailable):
            await watched.journal.append(BOX, b"x")
        await own_redis.start()
        await append(watched.journal, b"y")
        assert watched.told == [True, False]


async def test_recovery_reads_the_store_that_is_up_and_adoption_brings_the_rest(
    watched: Watched, own_redis: Breakable, database: Database
) -> None:
    await append(watched.journal, b"in redis")
    await own_redis.stop()
    await append(watched.journal, b"in postgres")
    async with open_redis(own_redis.url) as redis:
        successor = await Watched.open(redis, database)
        assert [entry.payload for entry in await successor.journal.recover(BOX)] == [b"in postgres"]
        await own_redis.start()
        async with successor.running():
            await successor.wait_told(False)
        assert [entry.payload for entry in await successor.journal.adopt(BOX)] == [b"in redis"]
        assert await successor.journal.adopt(BOX) == []


async def test_an_append_without_an_answer_is_no_duplicate_of_itself(watched: Watched, own_redis: Breakable) -> None:
    unique = Unique("m", "signal", 60)
    await append(watched.redis, b"warm")
    own_redis.freeze()
    with pytest.raises(JournalUnavailable):
        await watched.redis.append(BOX, b"x", unique=unique)
    own_redis.thaw()
    await until(2, lambda: pending(watched))
    again = await watched.redis.append(BOX, b"x", unique=unique)
    assert isinstance(again, Appended)
    assert await pending(watched) == 2


async def pending(watched: Watched) -> int:
    return (await watched.redis.count(BOX))[0]


async def test_an_append_without_an_answer_is_found_and_delivered(watched: Watched, own_redis: Breakable) -> None:
    await append(watched.redis, b"known")
    own_redis.freeze()
    with pytest.raises(JournalUnavailable):
        await watched.redis.append(BOX, b"in doubt")
    own_redis.thaw()
    await until(2, lambda: pending(watched))
    assert [entry.payload for entry in await watched.redis.adopt(BOX)] == [b"in doubt"]
    assert await watched.redis.adopt(BOX) == []


async def test_a_message_costs_two_commands_and_looking_for_orphans_one(
    redis_store: RedisStore, database: Database
) -> None:
    journal = (await own(database, redis_store, BOX)).redis
    await journal.settle(BOX, [Settlement(await append(journal, b"the server learns the scripts"))])
    await journal.adopt(BOX)
    await redis_store.command("CONFIG", "RESETSTAT")
    entry_id = await append(journal, b"x", Unique("m", "1", 60))
    await journal.settle(BOX, [Settlement(entry_id, [Announcement("ws:trades:u", b"{}")])])
    assert await sent(redis_store) == {"evalsha": 2}
    await redis_store.command("CONFIG", "RESETSTAT")
    assert await journal.adopt(BOX) == []
    assert await sent(redis_store) == {"evalsha": 1}


async def sent(redis: RedisStore) -> dict[str, int]:
    """Commands that clients have sent since the last reset; those inside of scripts are not sent."""
    info = bytes(await redis.command("INFO", "commandstats")).decode()
    rows = [line.removeprefix("cmdstat_").split(":calls=") for line in info.splitlines() if ":calls=" in line]
    calls = {name: int(rest.partition(",")[0]) for name, rest in rows}
    return {name: calls[name] for name in calls if name in {"evalsha", "eval", "smembers", "exists", "script|load"}}


async def test_the_server_may_forget_the_scripts(redis_store: RedisStore, database: Database) -> None:
    journal = (await own(database, redis_store, BOX)).redis
    entry_id = await append(journal, b"x")
    await redis_store.command("SCRIPT", "FLUSH")
    await journal.settle(BOX, [Settlement(entry_id)])
    assert await journal.count(BOX) == (0, 0)


async def test_announcements_are_published_with_the_settlement(redis_store: RedisStore, database: Database) -> None:
    journal = (await Watched.open(redis_store, database)).journal
    async with redis_store.listen("ws:*") as published:
        await journal.settle(BOX, [Settlement(await append(journal, b"x"), [Announcement("ws:trades:u", b"\x00{}")])])
        async with asyncio.timeout(10):
            message = await anext(published)
    assert (message.channel, message.payload) == ("ws:trades:u", b"\x00{}")


async def test_appending_leaves_a_lease_and_a_mark_with_their_times(
    redis_store: RedisStore, database: Database
) -> None:
    await append((await own(database, redis_store, BOX)).redis, b"x", Unique("digest", "signal", 60))
    now_s, _ = await redis_store.command("TIME")
    epoch, _, ends_ms = (await redis_store.command("HGET", f"owners:{BOX}", "a")).partition(b":")
    assert epoch == b"1"
    assert 0 < int(ends_ms) / 1000 - int(now_s) <= 31
    assert 0 < await redis_store.command("TTL", "dedup:webhook:digest") <= 60


async def test_who_has_started_while_redis_was_down_says_so_before_it_looks_for_its_mail(
    own_redis: Breakable, database: Database
) -> None:
    """Else another process would adopt what it has in hand, and neither would be refused anything."""
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await append((await own(database, redis, BOX, "a")).both, b"x")  # and is killed
        await own_redis.stop()
        again = await own(database, redis, BOX, "a", doubt_s=0)
        assert await again.both.recover(BOX) == []
        await own_redis.start()
        await end_lease(redis, database, BOX, "a")
        [entry] = await again.both.adopt(BOX)
        other = (await own(database, redis, BOX, "b")).both
        assert await other.adopt(BOX) == []
        await again.redis.settle(BOX, [Settlement(entry.entry_id.partition(":")[2])])
        assert await again.redis.count(BOX) == (0, 0)


async def test_who_has_started_while_redis_was_down_keeps_the_mail_of_its_node_as_long_as_it_lives(
    own_redis: Breakable, database: Database
) -> None:
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await append((await own(database, redis, BOX, "a")).both, b"x")  # and is killed
        await own_redis.stop()
        again = (await own(database, redis, BOX, "a", doubt_s=0)).both
        assert await again.recover(BOX) == []
        await own_redis.start()
        await redis.command("HSET", f"owners:{BOX}", "a", "1:0")
        other = (await own(database, redis, BOX, "b")).both
        assert await other.adopt(BOX) == []
        await end_lease(redis, database, BOX, "a")
        assert [entry.payload for entry in await other.adopt(BOX)] == [b"x"]
        assert await again.adopt(BOX) == []


async def test_who_was_fenced_before_redis_has_heard_of_it_is_refused(own_redis: Breakable, database: Database) -> None:
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await own_redis.stop()
        again = (await own(database, redis, BOX, "a")).both
        assert await again.recover(BOX) == []
        await own_redis.start()
        await append(again, b"x")
        await end_lease(redis, database, BOX, "a")
        assert len(await (await own(database, redis, BOX, "b")).both.adopt(BOX)) == 1
        with pytest.raises(Fenced):
            await again.adopt(BOX)


async def test_a_backlog_that_takes_longer_than_an_answer_may_is_read_in_pages(
    own_redis: Breakable, database: Database
) -> None:
    """Behind 8 Mbit/s: one and a half seconds for all of it, of half a second for an answer."""
    async with open_redis(own_redis.url, timeout_s=5) as direct:
        before = (await own(database, direct, BOX)).redis
        for number in range(360):
            await append(before, b"%d " % number + b"x" * 4096)
        await append(before, b"360 " + b"x" * 200_000)
    async with network(own_redis.url, bytes_a_second=1_000_000) as slow, open_redis(slow.url) as redis:
        watched = await Watched.open(redis, database)
        found = await watched.journal.recover(BOX)
        assert [int(one.payload.partition(b" ")[0]) for one in found] == list(range(361))
        assert watched.told == []


async def test_a_redis_that_hangs_costs_its_time_out_once_and_hears_what_it_was_sent_when_it_goes_on(
    own_redis: Breakable, database: Database
) -> None:
    """What was recovered from it and is tried meanwhile, one after the other, as a line of mail is."""
    async with open_redis(own_redis.url) as redis:
        left = (await own(database, redis, BOX)).both
        await left.settle(BOX, [Settlement(await append(left, b"done"))])  # the server knows the script from then on
        for number in range(30):
            await append(left, b"%d" % number)
    async with open_redis(own_redis.url) as redis:
        watched = await Watched.open(redis, database)
        found = await watched.journal.recover(BOX)
        own_redis.freeze()
        begun = asyncio.get_running_loop().time()
        for entry in found:
            await watched.journal.settle(BOX, [], begin=[entry.entry_id])
        took_s = asyncio.get_running_loop().time() - begun
        own_redis.thaw()
    assert (len(found), watched.told) == (30, [True])
    assert took_s < 30 * 0.5 / 2
    async with open_redis(own_redis.url) as redis:
        again = await (await own(database, redis, BOX)).both.recover(BOX)
    assert [entry.attempts for entry in again] == [1] + [0] * 29  # no other connection was there to send one


async def test_what_is_announced_is_announced_once_by_a_redis_that_is_taken_for_down_and_only_slow(
    redis_store: RedisStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks are sent to it all the same, and their answers come later than anybody waits for them."""
    watched = await Watched.open(redis_store, database)
    ids = [await append(watched.journal, payload) for payload in (b"1", b"2", b"3")]
    run, slow, heard = redis_store.run, False, list[bytes]()

    async def answers_late(*args: Any) -> Any:
        async def call() -> Any:
            answer = await run(*args)
            await asyncio.sleep(4 * MARK_S if slow else 0)
            return answer

        return await asyncio.shield(asyncio.create_task(call()))

    async def hear() -> None:
        async for one in events:
            heard.append(one.payload)

    monkeypatch.setattr(redis_store, "run", answers_late)
    async with redis_store.listen("trades") as events, watched.running():
        hearing, slow = asyncio.create_task(hear()), True
        watched.journal._sides.learn(watched.journal._sides.first, down=True)
        for entry_id, begun, payload in zip(ids, ids[1:], (b"first", b"second"), strict=False):
            await watched.journal.settle(BOX, [Settlement(entry_id, (Announcement("trades", payload),))], begin=[begun])
        slow = False
        await watched.wait_told(False)
        await until(2, lambda: asyncio.sleep(0, len(heard)))
        await until((1, 0), lambda: watched.journal.count(BOX))
        hearing.cancel()
    assert heard == [b"first", b"second"]


async def test_a_store_that_the_other_stands_in_for_is_in_the_log_once_a_change(
    own_postgres: Breakable, redis_store: RedisStore
) -> None:
    await asyncio.to_thread(upgrade, own_postgres.url)
    async with open_database(own_postgres.url) as database:
        journal = (await own(database, redis_store, BOX)).both
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                await own_postgres.stop()
                for _ in range(3):
                    assert await journal.adopt(BOX) == []
                await own_postgres.start()
                for _ in range(3):
                    assert await journal.adopt(BOX) == []
    said = [(log["event"], log["store"], log["asked"]) for log in logs]
    assert said == 2 * [(event, "PostgreSQL", "adopt") for event in ("store gives no answer", "store answers again")]
    assert logs[0]["reason"]


async def test_a_redis_that_is_known_to_be_down_is_not_said_to_answer_nothing(
    watched: Watched, own_redis: Breakable
) -> None:
    await own_redis.stop()
    with structlog.testing.capture_logs() as logs:
        await append(watched.journal, b"in postgresql")
        await watched.journal.adopt(BOX)
        with pytest.raises(JournalUnavailable):
            await watched.journal.count(BOX)
    assert logs == []
    assert watched.told == [True]


async def test_a_page_of_dead_letters_that_takes_longer_than_an_answer_may_is_no_outage(
    own_redis: Breakable, database: Database
) -> None:
    """Behind 12 Mbit/s: 0.8 s for all of it, of half a second for an answer."""
    async with open_redis(own_redis.url, timeout_s=5) as direct:
        before = (await own(database, direct, BOX)).redis
        for number in range(25):
            await before.bury(BOX, await append(before, b"x"), b"%d " % number + b"x" * 60_000, LETTER)
    async with network(own_redis.url, bytes_a_second=1_500_000) as slow, open_redis(slow.url) as redis:
        watched = await Watched.open(redis, database)
        found = await watched.journal.dead_letters(BOX, limit=20)
        assert [int(one.payload.partition(b" ")[0]) for one in found] == list(reversed(range(5, 25)))
        rest = await watched.journal.dead_letters(BOX, after=found[-1].dead_id)
        assert [int(one.payload.partition(b" ")[0]) for one in rest] == list(reversed(range(5)))
        assert watched.told == []


async def test_dead_letters_of_a_store_that_was_away_are_counted_when_it_is_back(
    own_redis: Breakable, database: Database
) -> None:
    async with open_redis(own_redis.url) as redis:
        before = (await own(database, redis, BOX)).both
        for _ in range(3):
            await before.bury(BOX, await append(before, b"x"), b"x", LETTER)
        await own_redis.stop()
        watched = await Watched.open(redis, database)
        log = DurableLog(Durability(watched.journal, BOX, bytes, bytes), len)
        await log.recover(3, now=0.0)
        await give_up(log)
        assert log.dead == 1
        await own_redis.start()
        async with watched.running():
            await watched.wait_told(False)
        await log.adopt(3, now=0.0)
        assert log.dead == 4
        await own_redis.stop()
        await give_up(log)
        assert log.dead == 5
        with pytest.raises(JournalUnavailable):
            await watched.journal.count(BOX)
        assert watched.told == [True, False, True]


async def give_up(log: DurableLog) -> None:
    appended = await log.append(b"x", None)
    assert isinstance(appended, Appended)
    envelope = Envelope(b"x", enqueued_at=0.0)
    envelope.entry_id = appended.entry_id
    await log.bury(envelope, ValueError("no"))
