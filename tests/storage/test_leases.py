"""Those who live keep their mail: nobody could renew a lease while a store was down, and some may be unheard of."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.storage.conftest import Breakable
from tests.storage.network import network
from tests.storage.support import Journals, end_lease, own
from tests.storage.test_failover_journal import Watched, until
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Settlement
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.migrate import upgrade
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import RedisStore, open_redis


@pytest.fixture
async def redis(own_redis: Breakable) -> AsyncIterator[RedisStore]:
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as store:
        yield store


async def run_out(redis: RedisStore, *nodes: str) -> None:
    """What has happened when they could say nothing for the length of their leases."""
    for node in nodes:
        await redis.command("HSET", f"owners:{BOX}", node, "1:1")


async def test_who_lives_through_a_long_outage_of_redis_keeps_its_mail(
    own_redis: Breakable, redis: RedisStore, database: Database
) -> None:
    both = [await Watched.open(redis, database, node) for node in "ab"]
    ids = [await append(one.journal, b"in redis") for one in both]
    await own_redis.stop()
    for one in both:
        await append(one.journal, b"in postgresql")
    await own_redis.start()
    await run_out(redis, "a", "b")
    for one in both:
        async with one.running():
            await one.wait_told(False)
    # What nobody could have known: they have not seen the outage.
    for one, node in zip(both, "ab", strict=True):
        heir = await own(database, redis, BOX, f"heir of {node}")
        assert await heir.both.adopt(BOX) == await one.journal.adopt(BOX) == []
    for one, entry_id in zip(both, ids, strict=True):
        await one.journal.settle(BOX, [Settlement(entry_id)])


async def after_an_outage(own_redis: Breakable, redis: RedisStore, database: Database, times: LeaseTimes) -> Journals:
    """The journals of a process that has seen Redis go and come back, beside the mail of a silent one."""
    await append((await own(database, redis, BOX, "silent")).redis, b"x")
    journals = await own(database, redis, BOX, times=times)
    await own_redis.stop()
    with pytest.raises(JournalUnavailable):
        await journals.redis.append(BOX, b"y")
    await own_redis.start()
    await run_out(redis, "silent")
    return journals


async def test_after_an_outage_only_who_has_said_so_counts_as_gone(
    own_redis: Breakable, redis: RedisStore, database: Database
) -> None:
    journals = await after_an_outage(own_redis, redis, database, DEFAULT_TIMES)
    assert await journals.redis.adopt(BOX) == []
    await (await own(database, redis, BOX, "leaver")).redis.append(BOX, b"left")
    await redis.command("HSET", f"owners:{BOX}", "leaver", "1:0")
    assert [entry.payload for entry in await journals.redis.adopt(BOX)] == [b"left"]


async def test_who_is_still_silent_when_all_have_had_their_time_is_adopted_from(
    own_redis: Breakable, redis: RedisStore, database: Database
) -> None:
    journals = await after_an_outage(own_redis, redis, database, LeaseTimes(0.5))

    async def adopted() -> list[bytes]:
        return [entry.payload for entry in await journals.redis.adopt(BOX)]

    await until([b"x"], adopted)


async def test_who_lives_keeps_an_append_that_postgresql_has_stored_without_an_answer(
    database_url: str, database: Database, redis_store: RedisStore
) -> None:
    async with network(database_url) as between, open_database(between.url) as its:
        journal = (await own(its, redis_store, BOX, "a", times=LeaseTimes(3))).postgres
        await journal.settle(BOX, [Settlement(await append(journal, b"known"))])  # its connection knows the statement
        between.hold()
        with pytest.raises(JournalUnavailable):
            await journal.append(BOX, b"late")
        between.let_go()
        await until((1, 0), lambda: journal.count(BOX))
        await end_lease(redis_store, database, BOX, "a")
        beating = asyncio.create_task(journal.keep_lease())
        await until(True, lambda: database.fetchval("select lease_until > now() from mailbox_owners"))
        beating.cancel()
        assert await (await own(database, redis_store, BOX, "heir")).postgres.adopt(BOX) == []


async def test_who_lives_keeps_an_append_that_redis_has_stored_without_an_answer(
    own_redis: Breakable, redis: RedisStore, database: Database
) -> None:
    async with open_redis(own_redis.url) as its:
        journal = (await own(database, its, BOX, "a")).redis
        await journal.settle(BOX, [Settlement(await append(journal, b"known"))])
        own_redis.freeze()
        with pytest.raises(JournalUnavailable):
            await journal.append(BOX, b"late")
        own_redis.thaw()
        await until(1, lambda: redis.command("XLEN", f"mailbox:{BOX}:a"))
        await run_out(redis, "a")
        await journal.probe()
        assert await (await own(database, redis, BOX, "heir")).redis.adopt(BOX) == []


async def after_an_outage_of_postgresql(
    postgres: Breakable, database: Database, redis: RedisStore, lease_s: float
) -> Journals:
    """The journals of a process that has seen PostgreSQL go and come back, beside the mail of a silent one."""
    await append((await own(database, redis, BOX, "silent")).postgres, b"x")
    journals = await own(database, redis, BOX, times=LeaseTimes(lease_s))
    await postgres.stop()
    with pytest.raises(JournalUnavailable):
        await journals.postgres.adopt(BOX)
    await postgres.start()
    await database.execute("update mailbox_owners set lease_until = now() where node = 'silent'")
    return journals


@pytest.fixture
async def postgres(own_postgres: Breakable) -> AsyncIterator[Database]:
    await asyncio.to_thread(upgrade, own_postgres.url)
    async with open_database(own_postgres.url) as database:
        yield database


async def test_after_an_outage_of_postgresql_only_who_has_left_or_was_fenced_counts_as_gone(
    own_postgres: Breakable, postgres: Database, redis_store: RedisStore
) -> None:
    journals = await after_an_outage_of_postgresql(own_postgres, postgres, redis_store, lease_s=30)
    assert await journals.postgres.adopt(BOX) == []
    leaver, fenced = [await own(postgres, redis_store, BOX, node) for node in ("leaver", "fenced")]
    for one, payload in ((leaver, b"left"), (fenced, b"fenced")):
        await append(one.postgres, payload)
    await leaver.postgres.release()
    await journals.ownership.fence(fenced.ownership.of(BOX))
    assert [entry.payload for entry in await journals.postgres.adopt(BOX)] == [b"left", b"fenced"]


async def test_who_is_still_silent_when_all_have_had_their_time_in_postgresql_is_adopted_from(
    own_postgres: Breakable, postgres: Database, redis_store: RedisStore
) -> None:
    journals = await after_an_outage_of_postgresql(own_postgres, postgres, redis_store, lease_s=0.5)

    async def adopted() -> list[bytes]:
        return [entry.payload for entry in await journals.postgres.adopt(BOX)]

    await until([b"x"], adopted)


@pytest.mark.parametrize("store", ["redis", "postgres"])
async def test_a_store_that_now_and_then_gives_no_answer_keeps_nobody_from_adopting(
    store: str, own_redis: Breakable, own_postgres: Breakable, redis: RedisStore, postgres: Database
) -> None:
    """No blip is long enough for somebody who lives to lose its lease over it."""
    dead = await own(postgres, redis, BOX, "dead")
    await append(getattr(dead, store), b"x")
    heir = await own(postgres, redis, BOX)
    assert await getattr(heir, store).adopt(BOX) == []
    await end_lease(redis, postgres, BOX, "dead")
    await run_out(redis, "dead")  # it has not given it up
    server = own_redis if store == "redis" else own_postgres
    await server.stop()
    with pytest.raises(JournalUnavailable):
        await getattr(heir, store).append(BOX, b"y")
    await server.start()
    assert [entry.payload for entry in await getattr(heir, store).adopt(BOX)] == [b"x"]


async def test_who_lives_through_two_short_outages_a_heartbeat_apart_keeps_its_mail(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeats fall into both of them."""
    times, begun = LeaseTimes(3.0), time.monotonic()
    one, other = [await own(database, redis_store, BOX, node, times=times) for node in ("a", "b")]
    run = redis_store.run

    async def goes_away_twice(*args: Any) -> Any:
        if any(0 <= time.monotonic() - begun - away_at < 0.4 for away_at in (1.85, 2.85)):
            raise StoreUnavailable("Redis", "down")
        return await run(*args)

    monkeypatch.setattr(redis_store, "run", goes_away_twice)
    beating = asyncio.create_task(one.both.run())
    await append(one.redis, b"x")
    await asyncio.sleep(0.6)
    await append(one.redis, b"y")  # renews the lease until 3.6 s; the beats are at 1, which is skipped, 2, 3 and 4
    while time.monotonic() - begun < 4.5:
        with suppress(JournalUnavailable):
            await append(other.redis, b"-")
            assert "a" not in [entry.sent_by for entry in await other.both.adopt(BOX)]
        await asyncio.sleep(0.05)
    await one.redis.settle(BOX, [])
    beating.cancel()
    await asyncio.wait([beating])
