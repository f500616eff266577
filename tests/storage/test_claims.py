"""Who has begun to adopt from a dead node holds its claim for as long as it lives, and not a moment longer."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.storage.conftest import Breakable
from tests.storage.support import IN_TRANSACTION, WAITS, Journals, end_lease, own, until_it_says
from tests.storage.test_adoption import STORES, Failing, adopted, dead, half_adopted
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Entry, Settlement
from trendedge.runtime.ownership import Owner
from trendedge.storage import mailbox_sql as sql
from trendedge.storage import ownership
from trendedge.storage.node import LeaseTimes
from trendedge.storage.postgres import Connection, Database
from trendedge.storage.redis import RedisStore, open_redis

SHORT = LeaseTimes(0.9)
"""A heartbeat each 0.3 s."""


async def no_answer(*_: Any) -> list[Entry]:
    raise JournalUnavailable("a store", "no answer")


async def lapse(database: Database, node: str) -> None:
    """Its lease in PostgreSQL runs out; in Redis it holds on."""
    await database.execute("update mailbox_owners set lease_until = now() where node = $1", node)


async def epoch(database: Database, node: str) -> int:
    return int(await database.fetchval("select epoch from mailbox_owners where node = $1", node))


@asynccontextmanager
async def beating(journals: Journals) -> AsyncGenerator[None]:
    """It says that it is alive, as a process does."""
    heart = asyncio.create_task(journals.both.run())
    try:
        yield
    finally:
        heart.cancel()
        await asyncio.wait([heart])


async def begin_claim(connection: Connection, of: Owner, us: Owner) -> None:
    """The claim as `PostgresOwnership` makes it, in a transaction that somebody else ends."""
    await connection.fetch(ownership._LOCK, BOX, of.node, us.node, of.epoch)
    told = (BOX, of.node, of.epoch, us.node, us.epoch, 30.0, True)
    assert (await connection.fetch(ownership._CLAIM, *told))[0]["epoch"] is not None


@pytest.mark.parametrize("late", STORES)
async def test_an_heir_that_has_died_is_claimed_with_what_it_had_begun_to_adopt_wherever_its_part_lies(
    late: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes it for dead in Redis, where its part may lie."""
    heir = await half_adopted(database, redis_store, late, monkeypatch)
    await lapse(database, "heir")
    other = await own(database, redis_store, BOX, "other")
    assert await adopted(other) == [b"buy", b"close"]
    with pytest.raises(Fenced):
        await adopted(heir)


@pytest.mark.parametrize("late", STORES)
async def test_a_look_that_is_cut_off_between_its_claims_forgets_none_of_them(
    late: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_adopted(database, redis_store, late, monkeypatch)
    await lapse(database, "heir")
    other = await own(database, redis_store, BOX, "other")
    ask, answered = other.ownership._claim, asyncio.Event()

    async def only_once(*statements: tuple[object, ...]) -> Any:
        if answered.is_set():
            await asyncio.Event().wait()
        answered.set()
        return await ask(*statements)

    with monkeypatch.context() as broken:
        broken.setattr(other.ownership, "_claim", only_once)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await adopted(other)
    assert await adopted(other) == [b"buy", b"close"]


@pytest.mark.parametrize("late", STORES)
async def test_the_halves_of_mail_whose_heir_has_died_in_a_commit_that_does_not_end_wait_for_each_other(
    late: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_adopted(database, redis_store, late, monkeypatch)
    await lapse(database, "heir")
    other = await own(database, redis_store, BOX, "other")
    async with database.transaction() as commit:
        await commit.execute("select from mailbox_owners where node = 'heir' for key share")
        assert await adopted(other) == []
    assert await adopted(other) == [b"buy", b"close"]


async def test_the_halves_of_mail_whose_heir_has_died_in_an_outage_come_together_however_long_that_was(
    own_redis: Breakable, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await half_adopted(database, redis, "postgres", monkeypatch)
        other = await own(database, redis, BOX, "other", times=LeaseTimes(3600))
        await own_redis.stop()
        assert await adopted(other) == []
        await database.execute("update mailbox_owners set lease_until = now() - interval '1 day' where node = 'heir'")
        await own_redis.start()
        assert await adopted(other) == [b"buy", b"close"]


@pytest.mark.parametrize("answered", [True, False], ids=["", "its claim has no answer"])
async def test_a_living_heir_keeps_its_claim_though_it_has_no_mail_in_postgresql(
    answered: bool, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(database, redis_store, "redis")
    await end_lease(redis_store, database, BOX, "a")
    heir = await own(database, redis_store, BOX, "heir", times=SHORT)
    other = await own(database, redis_store, BOX, "other")
    with monkeypatch.context() as broken:
        broken.setattr(heir.postgres, "adopt", no_answer)
        if not answered:
            broken.setattr(heir.ownership, "_claim", Failing(heir.ownership._claim, done=True))
        assert await adopted(heir) == []
    async with beating(heir):
        await asyncio.sleep(SHORT.lease_s * 2)
        assert await adopted(other) == []
        assert await epoch(database, "heir") == 1, "nobody has fenced it"
        assert await adopted(heir) == [b"buy", b"close"]


async def test_who_has_adopted_all_that_it_had_claimed_renews_no_lease(
    database: Database, redis_store: RedisStore
) -> None:
    await dead(database, redis_store, "redis")
    await end_lease(redis_store, database, BOX, "a")
    heir = await own(database, redis_store, BOX, "heir", times=SHORT)
    assert await adopted(heir) == [b"buy", b"close"]
    assert heir.ownership.claiming() == []


async def test_while_nobody_had_time_to_renew_a_lease_in_postgresql_no_heir_is_taken_for_dead(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    heir = await half_adopted(database, redis_store, "redis", monkeypatch)
    await lapse(database, "heir")
    other = await own(database, redis_store, BOX, "other")
    other.ownership.outages.failed()
    assert await adopted(other) == []
    assert await epoch(database, "heir") == 1
    assert await adopted(heir) == [b"buy", b"close"]


async def test_an_heir_that_ends_in_good_order_before_it_has_got_anything_leaves_its_claim_at_once(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(database, redis_store, "redis")
    await end_lease(redis_store, database, BOX, "a")
    heir = await own(database, redis_store, BOX, "heir")
    with monkeypatch.context() as broken:
        broken.setattr(heir.postgres, "adopt", no_answer)
        broken.setattr(heir.redis, "adopt", no_answer)
        with pytest.raises(JournalUnavailable):
            await heir.both.adopt(BOX)
    other = await own(database, redis_store, BOX, "other")
    assert await adopted(other) == []
    assert await heir.both.release()
    assert await adopted(other) == [b"buy", b"close"]


async def test_a_node_starts_though_its_heir_has_died_in_a_commit_that_does_not_end(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_adopted(database, redis_store, "redis", monkeypatch)
    await lapse(database, "heir")
    async with database.transaction() as commit:
        await commit.execute("select from mailbox_owners where node = 'heir' for key share")
        async with asyncio.timeout(10):
            again = await own(database, redis_store, BOX, "a")
    assert again.ownership.of(BOX).epoch == await epoch(database, "a") == 3, "its own, the fence, and this"


async def test_a_claim_of_what_a_living_heir_has_claimed_waits_for_no_commit_of_that(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_adopted(database, redis_store, "redis", monkeypatch)
    other = await own(database, redis_store, BOX, "other")
    async with database.transaction() as commit:
        await commit.execute("select from mailbox_owners where node = 'heir' for key share")
        assert await other.ownership.claim(Owner(BOX, "a", 1)) is None


async def test_who_has_commits_under_way_claims_and_renews_its_lease_all_the_same(
    database: Database, redis_store: RedisStore
) -> None:
    """Of those who share a lock new ones may overtake whoever waits for the old ones, for as long as there are any."""
    gone, heir = [await own(database, redis_store, BOX, name) for name in ("gone", "heir")]
    async with database.transaction() as commit:
        await commit.execute("select from mailbox_owners where node = 'heir' for key share")
        assert await heir.ownership.claim(gone.ownership.of(BOX)) is not None
        await heir.postgres._renew_lease(BOX)


async def test_a_claim_without_an_answer_that_was_never_made_is_forgotten(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a lease would be renewed for ever."""
    gone, heir = [await own(database, redis_store, BOX, name) for name in ("gone", "heir")]
    with monkeypatch.context() as broken:
        broken.setattr(heir.ownership, "_claim", Failing(heir.ownership._claim, done=False))
        with pytest.raises(JournalUnavailable):
            await heir.ownership.claim(gone.ownership.of(BOX))
    await heir.ownership._renew_lease(BOX)
    assert heir.ownership.claiming() == [BOX], "it may be under way"
    monkeypatch.setattr(ownership, "_LATE_S", 0.0)
    await heir.ownership._renew_lease(BOX)
    assert heir.ownership.claiming() == []
    assert await heir.ownership.claim(gone.ownership.of(BOX)) is not None
    await heir.ownership._renew_lease(BOX)
    assert heir.ownership.claiming() == [BOX]


STOPPED = """
import asyncio, os, signal, sys
import asyncpg
from trendedge.runtime.ownership import Owner
from trendedge.storage import ownership
from trendedge.storage.postgres import open_database

fetch = asyncpg.Connection.fetch

async def fetch_and_stop(self, statement, *args, **more):
    answer = await fetch(self, statement, *args, **more)
    if statement == ownership._LOCK:
        os.kill(os.getpid(), signal.SIGSTOP)
    return answer

async def main():
    asyncpg.Connection.fetch = fetch_and_stop
    async with open_database(sys.argv[1]) as database:
        it = ownership.PostgresOwnership(database, node="stopped")
        await it.take(sys.argv[2])
        await it.claim(Owner(sys.argv[2], "gone", 1))

asyncio.run(main())
"""


async def test_who_is_stopped_in_the_middle_of_a_claim_keeps_nobody_from_anything_for_long(
    database_url: str, database: Database, redis_store: RedisStore
) -> None:
    await own(database, redis_store, BOX, "gone")
    other = await own(database, redis_store, BOX, "other")
    stopped = await asyncio.create_subprocess_exec(sys.executable, "-c", STOPPED, database_url, BOX)
    try:
        await until_it_says(database, IN_TRANSACTION)
        await until_it_says(database, IN_TRANSACTION, False)
        assert await other.ownership.claim(Owner(BOX, "gone", 1)) is not None
    finally:
        stopped.kill()
        await stopped.wait()


async def test_with_a_new_epoch_a_process_keeps_no_lease_for_what_another_has_claimed_of_it(
    database: Database, redis_store: RedisStore
) -> None:
    gone, heir, other = [await own(database, redis_store, BOX, name) for name in ("gone", "heir", "other")]
    assert await heir.ownership.claim(gone.ownership.of(BOX)) is not None
    assert await other.ownership.claim(heir.ownership.of(BOX)) is not None
    assert heir.ownership.claiming() == [BOX], "it has not heard of that"
    heir.ownership.lost(heir.ownership.of(BOX))
    assert await heir.ownership.take(BOX)
    assert heir.ownership.claiming() == []


async def test_who_is_fenced_claims_nobody(database: Database, redis_store: RedisStore) -> None:
    gone, heir, other = [await own(database, redis_store, BOX, name) for name in ("gone", "heir", "other")]
    assert await other.ownership.fence(heir.ownership.of(BOX))
    with pytest.raises(Fenced):
        await heir.ownership.claim(gone.ownership.of(BOX))
    assert await epoch(database, "gone") == 1


async def test_what_an_heir_claims_in_the_moment_in_which_it_is_claimed_goes_with_it(
    database: Database, redis_store: RedisStore
) -> None:
    gone, heir, other = [await own(database, redis_store, BOX, name) for name in ("gone", "heir", "other")]
    async with database.transaction() as connection:
        await begin_claim(connection, gone.ownership.of(BOX), heir.ownership.of(BOX))
        claiming = asyncio.create_task(other.ownership.claim(heir.ownership.of(BOX)))
        await until_it_says(database, WAITS)
    claim = await claiming
    assert claim is not None
    assert [owner.node for owner in claim.begun] == ["gone"]


async def test_who_claims_what_a_dead_heir_had_claimed_claims_all_that_it_had(
    database: Database, redis_store: RedisStore
) -> None:
    gone, too, heir, other = [await own(database, redis_store, BOX, name) for name in ("gone", "too", "heir", "other")]
    for one in (gone, too):
        assert await heir.ownership.claim(one.ownership.of(BOX)) is not None
    assert await other.ownership.claim(gone.ownership.of(BOX)) is None
    await lapse(database, "heir")
    claim = await other.ownership.claim(gone.ownership.of(BOX))
    assert claim is not None
    assert [owner.node for owner in claim.begun] == ["heir", "too"]
    heirs = await database.fetch("select node, heir from mailbox_owners where heir is not null order by node")
    assert [tuple(row) for row in heirs] == [("gone", "other:1"), ("heir", "other:1"), ("too", "other:1")]


async def test_what_a_process_claims_in_the_moment_in_which_it_is_followed_by_another_of_its_node_is_known_to_that(
    database: Database, redis_store: RedisStore
) -> None:
    gone, heir = [await own(database, redis_store, BOX, name) for name in ("gone", "heir")]
    async with database.transaction() as connection:
        await begin_claim(connection, gone.ownership.of(BOX), heir.ownership.of(BOX))
        starting = asyncio.create_task(own(database, redis_store, BOX, "heir"))
        await until_it_says(database, WAITS)
    next_heir = await starting
    assert [owner.node for owner in next_heir.ownership.begun[BOX]] == ["gone"]
    assert next_heir.ownership.claiming() == [BOX]


async def test_of_two_that_claim_each_other_one_is_fenced(database: Database, redis_store: RedisStore) -> None:
    """Each takes the other for dead, in another store, say."""
    for number in range(4):
        one, other = [await own(database, redis_store, BOX, f"{name}-{number}") for name in ("one", "other")]
        claims = [one.ownership.claim(other.ownership.of(BOX)), other.ownership.claim(one.ownership.of(BOX))]
        outcomes = await asyncio.gather(*claims, return_exceptions=True)
        assert sum(outcome is not None and not isinstance(outcome, Exception) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Fenced | JournalUnavailable) for outcome in outcomes) == 1


async def test_who_is_fenced_while_it_adopts_gets_nothing(database: Database, redis_store: RedisStore) -> None:
    """Its own mail was adopted a moment before, perhaps; then this would come later than what was sent after it."""
    gone, heir, other = [await own(database, redis_store, BOX, name) for name in ("gone", "heir", "other")]
    await append(gone.postgres, b"buy")
    claim = await heir.ownership.claim(gone.ownership.of(BOX))
    assert claim is not None
    us, them = heir.ownership.of(BOX), claim.owner
    async with database.transaction() as fencing:
        await fencing.execute(ownership._FENCE, BOX, us.node, us.epoch)
        moving: Awaitable[list[int]] = asyncio.create_task(
            database.fetchval(sql.ADOPT, BOX, us.node, us.epoch, them.node, them.epoch)
        )
        await until_it_says(database, WAITS)
    assert await moving == []
    assert await database.fetchval("select node from mailbox_entries") == "gone"
    assert other.ownership.of(BOX).epoch == 1


async def test_a_script_of_an_heir_that_was_adopted_from_moves_nothing_though_it_had_no_mail_in_redis(
    database: Database, redis_store: RedisStore
) -> None:
    """It may come late; what it moved would lie where nobody looks before its lease has run out there."""
    gone, heir, other = [await own(database, redis_store, BOX, name) for name in ("gone", "heir", "other")]
    await append(gone.redis, b"buy")
    claim = await other.ownership.claim(heir.ownership.of(BOX))
    assert claim is not None
    assert await other.redis.adopt(BOX, [claim.owner]) == []
    with pytest.raises(Fenced):
        await heir.redis.adopt(BOX, [gone.ownership.of(BOX)])
    assert [entry.payload for entry in await other.redis.adopt(BOX, [gone.ownership.of(BOX)])] == [b"buy"]


async def test_what_is_claimed_is_known_by_the_epoch_that_the_registry_has(
    database: Database, redis_store: RedisStore
) -> None:
    """A store may know of an older one alone, and mail is moved by the newest."""
    gone, heir = [await own(database, redis_store, BOX, name) for name in ("gone", "heir")]
    await append(gone.postgres, b"buy")
    await database.execute("update mailbox_owners set epoch = 7, lease_until = null where node = 'gone'")
    claim = await heir.ownership.claim(Owner(BOX, "gone", 1))
    assert claim is not None
    assert claim.owner == Owner(BOX, "gone", 6)
    assert [entry.payload for entry in await heir.postgres.adopt(BOX, [claim.owner])] == [b"buy"]


@pytest.mark.parametrize("late", STORES)
async def test_who_has_come_back_and_lives_in_redis_alone_is_fenced_by_no_heir_that_has_not_finished_with_it(
    late: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease in PostgreSQL has run out, for want of mail there."""
    await dead(database, redis_store, "redis")
    await end_lease(redis_store, database, BOX, "a")
    heir = await own(database, redis_store, BOX, "heir", times=SHORT)
    with monkeypatch.context() as broken:
        broken.setattr(heir.redis if late == "redis" else heir.postgres, "adopt", no_answer)
        assert await adopted(heir) == []
    back = await own(database, redis_store, BOX, "a", times=SHORT)
    left = [Settlement(one.entry_id) for one in await back.both.recover(BOX)]
    async with beating(back), beating(heir):
        await back.both.settle(BOX, left)
        await append(back.redis, b"its own")
        known = await epoch(database, "a")
        await asyncio.sleep(SHORT.lease_s * 2)
        assert b"its own" not in await adopted(heir)
        assert await epoch(database, "a") == known
        await append(back.redis, b"and more")


async def test_of_all_that_claim_one_of_whom_the_registry_does_not_know_one_gets_it(
    database: Database, redis_store: RedisStore
) -> None:
    """It was restored from a backup."""
    heirs = [await own(database, redis_store, BOX, name) for name in "abcde"]
    for number in range(60):
        ghost = Owner(BOX, f"ghost {number}", 3)
        claims = await asyncio.gather(*(heir.ownership.claim(ghost) for heir in heirs))
        assert [claim.owner for claim in claims if claim is not None] == [ghost]


CLAIM_OF_THE_RELEASE_BEFORE = """
    update mailbox_owners set heir = $1, heir_until = now() + interval '90 s', epoch = epoch + 1, lease_until = null
    where node = 'gone'
"""


async def test_a_claim_of_the_release_before_holds_for_its_own_time(
    database: Database, redis_store: RedisStore
) -> None:
    """It keeps no lease for it, and takes what has no time for held."""
    gone, _, heir = [await own(database, redis_store, BOX, name) for name in ("gone", "old", "heir")]
    await database.execute(CLAIM_OF_THE_RELEASE_BEFORE, "old:1")
    await database.execute("update mailbox_owners set lease_until = null where node = 'old'")
    assert await heir.ownership.claim(gone.ownership.of(BOX)) is None
    assert await epoch(database, "old") == 1
    await database.execute("update mailbox_owners set heir_until = now() where node = 'gone'")
    claim = await heir.ownership.claim(gone.ownership.of(BOX))
    assert claim is not None
    assert [owner.node for owner in claim.begun] == ["old"]
    assert await database.fetchval("select count(*) from mailbox_owners where heir_until is not null") == 0


async def test_what_the_release_before_had_claimed_is_held_without_a_time_when_its_node_goes_on_with_it(
    database: Database, redis_store: RedisStore
) -> None:
    for name in ("gone", "heir"):
        await own(database, redis_store, BOX, name)
    await database.execute(CLAIM_OF_THE_RELEASE_BEFORE, "heir:1")
    await own(database, redis_store, BOX, "heir")
    row = await database.fetchrow("select heir, heir_until from mailbox_owners where node = 'gone'")
    assert row is not None
    assert tuple(row) == ("heir:2", None)


async def test_an_outage_that_the_heart_alone_has_noticed_is_one(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    heir = await own(database, redis_store, BOX, "heir", times=SHORT)
    await heir.ownership._renew_lease(BOX)
    assert not heir.ownership.outages.just_back
    await asyncio.sleep(SHORT.heartbeat_s * 1.5)
    with monkeypatch.context() as broken:
        broken.setattr(heir.ownership._cutting_off, "in_turn", Failing(heir.ownership._cutting_off.in_turn, done=False))
        with pytest.raises(JournalUnavailable):
            await heir.ownership._renew_lease(BOX)
    await heir.ownership._renew_lease(BOX)
    assert heir.ownership.outages.just_back
