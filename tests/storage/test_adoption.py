"""Whoever adopts gets the mail of who is gone, and of nobody who has come back meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.storage.conftest import Breakable
from tests.storage.support import WAITS, Journals, end_lease, own, until_it_says
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Entry, Journal, Settlement
from trendedge.storage import mailbox_sql as sql
from trendedge.storage import redis_scripts as scripts
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.node import LeaseTimes
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore, open_redis


class Delayed:
    """Calls that one of a journal's statements or scripts makes wait, before they are sent, until they are let go."""

    def __init__(self, call: Callable[..., Awaitable[Any]], what: object) -> None:
        self._call, self._what = call, what
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, what: object, *args: Any) -> Any:
        if what is self._what:
            self.reached.set()
            await self.go.wait()
        return await self._call(what, *args)


def delayed(heir: Journals, store: str, monkeypatch: pytest.MonkeyPatch) -> Delayed:
    """The move of the entries, for which a connection or the network may take as long as it likes."""
    if store == "postgres":
        move = Delayed(heir.postgres._database.fetchval, sql.ADOPT)
        monkeypatch.setattr(heir.postgres._database, "fetchval", move)
    else:
        move = Delayed(heir.redis._run, scripts.ADOPT)
        monkeypatch.setattr(heir.redis, "_run", move)
    return move


@pytest.mark.parametrize("gone", ["killed", "left"])
@pytest.mark.parametrize("store", ["postgres", "redis"])
async def test_who_comes_back_between_its_fence_and_the_move_of_its_mail_keeps_it(
    store: str, gone: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await own(database, redis_store, BOX, "a")
    await append(before.postgres if store == "postgres" else before.redis, b"x")
    if gone == "left":
        assert await before.both.release()
    else:
        await end_lease(redis_store, database, BOX, "a")
    heir = await own(database, redis_store, BOX, "heir")
    move = delayed(heir, store, monkeypatch)
    adopting = asyncio.create_task(heir.both.adopt(BOX))
    await move.reached.wait()
    back = await own(database, redis_store, BOX, "a")
    assert [entry.payload for entry in await back.both.recover(BOX)] == [b"x"]
    move.go.set()
    assert await adopting == []
    assert await back.both.count(BOX) == (1, 0)


async def test_who_comes_back_while_its_mail_is_moved_in_postgresql_reads_what_is_left(
    database: Database, redis_store: RedisStore
) -> None:
    before = await own(database, redis_store, BOX, "a")
    await append(before.postgres, b"x")
    heir = await own(database, redis_store, BOX, "heir")
    us, them = heir.ownership.of(BOX), before.ownership.of(BOX)
    await heir.postgres._renew_lease(BOX)
    assert await heir.ownership.fence(them)

    async def come_back() -> list[Entry]:
        return await (await own(database, redis_store, BOX, "a")).postgres.recover(BOX)

    async with database.transaction() as adopting:
        assert len(await adopting.fetchval(sql.ADOPT, BOX, us.node, us.epoch, them.node, them.epoch)) == 1
        back = asyncio.create_task(come_back())
        await until_it_says(database, WAITS)
    assert await back == []


async def adopted(heir: Journals) -> list[bytes]:
    return [entry.payload for entry in await heir.both.adopt(BOX)]


async def dead(database: Database, redis: RedisStore, first: str) -> None:
    """A node has accepted a message in one store and then one in the other; no lease of it has run out."""
    it = await own(database, redis, BOX, "a")
    stores: list[Journal] = [it.redis, it.postgres]
    for journal, payload in zip(stores if first == "redis" else stores[::-1], (b"buy", b"close"), strict=True):
        await append(journal, payload)


async def run_out(database: Database, redis: RedisStore, where: str) -> None:
    """In one store before the other: each counts from the last renewal there."""
    if where == "postgres":
        await database.execute("update mailbox_owners set lease_until = now() where node = 'a'")
    else:
        await redis.command("HSET", f"owners:{BOX}", "a", "1:1")


STORES = ("postgres", "redis")


@pytest.mark.parametrize("first", STORES)
@pytest.mark.parametrize("where", STORES)
async def test_whose_lease_has_run_out_in_one_store_is_adopted_from_in_both_at_once(
    where: str, first: str, database: Database, redis_store: RedisStore
) -> None:
    await dead(database, redis_store, first)
    await run_out(database, redis_store, where)
    heir = await own(database, redis_store, BOX, "heir")
    assert await adopted(heir) == [b"buy", b"close"]
    assert await adopted(heir) == []
    later = await own(database, redis_store, BOX, "heir")
    assert [entry.payload for entry in await later.both.recover(BOX)] == [b"buy", b"close"]


@pytest.mark.parametrize("where", STORES)
async def test_who_starts_adopts_from_both_stores_at_once_as_well(
    where: str, database: Database, redis_store: RedisStore
) -> None:
    await dead(database, redis_store, "redis")
    await run_out(database, redis_store, where)
    heir = await own(database, redis_store, BOX, "heir")
    assert [entry.payload for entry in await heir.both.recover(BOX)] == [b"buy", b"close"]


async def test_after_an_outage_of_redis_the_mail_of_one_who_died_in_it_comes_in_order(
    own_redis: Breakable, database: Database
) -> None:
    """In Redis nobody is taken for dead for a while then; in PostgreSQL its lease has run out."""
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        heir = await own(database, redis, BOX, "heir", times=LeaseTimes(3600))
        gone = await own(database, redis, BOX, "a")
        await append(gone.both, b"buy")
        await own_redis.stop()
        await append(gone.both, b"close")
        with pytest.raises(JournalUnavailable):
            await heir.redis.append(BOX, b"-")
        await run_out(database, redis, "postgres")
        assert await adopted(heir) == [], "what lies in Redis may be older"
        await own_redis.start()
        assert await adopted(heir) == [b"buy", b"close"]


async def test_while_redis_is_away_what_is_ones_own_is_delivered_and_what_is_a_dead_nodes_waits(
    own_redis: Breakable, database: Database
) -> None:
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await dead(database, redis, "redis")
        await own_redis.stop()
        await run_out(database, redis, "postgres")
        before = await own(database, redis, BOX, "heir")
        await append(before.both, b"own")
        heir = await own(database, redis, BOX, "heir", doubt_s=0)
        assert [entry.payload for entry in await heir.both.recover(BOX)] == [b"own"]
        heir.postgres._pending.forget_all(BOX)  # as one that it was never told of
        heir.postgres._pending.doubt(BOX)
        assert await adopted(heir) == [b"own"]
        await own_redis.start()
        assert await adopted(heir) == [b"buy", b"close"]


class Failing:
    """Calls of which one fails: the first, or that of one statement or script, before it was done or after."""

    def __init__(self, call: Callable[..., Awaitable[Any]], what: object = None, *, done: bool) -> None:
        self._call, self._what, self._done = call, what, done
        self._failed = False

    async def __call__(self, what: object, *args: Any, **more: Any) -> Any:
        fails = not self._failed and self._what in (None, what)
        self._failed = self._failed or fails
        answer = None if fails and not self._done else await self._call(what, *args, **more)
        if fails:
            raise StoreUnavailable("the store", "gone")
        return answer


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("first", STORES)
@pytest.mark.parametrize("fails", STORES)
async def test_when_one_store_fails_over_the_move_what_the_other_has_given_waits_for_it(
    fails: str, first: str, done: bool, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(database, redis_store, first)
    await run_out(database, redis_store, "postgres")  # in Redis the lease holds on
    heir = await own(database, redis_store, BOX, "heir", doubt_s=0)
    if fails == "postgres":
        moves = Failing(heir.postgres._database.fetchval, sql.ADOPT, done=done)
        monkeypatch.setattr(heir.postgres._database, "fetchval", moves)
    else:
        runs = Failing(heir.redis._redis.run, scripts.ADOPT, done=done)
        monkeypatch.setattr(heir.redis._redis, "run", runs)
    assert await adopted(heir) == []
    assert await adopted(heir) == [b"buy", b"close"]
    assert await adopted(heir) == []


async def test_a_commit_that_does_not_end_keeps_whoever_would_fence_its_owner_waiting_for_no_longer_than_a_look_may(
    database: Database, redis_store: RedisStore
) -> None:
    await dead(database, redis_store, "redis")
    await run_out(database, redis_store, "postgres")
    heir = await own(database, redis_store, BOX, "heir")
    async with database.transaction() as commit:
        await commit.execute("select from mailbox_owners where node = 'a' for key share")
        async with asyncio.timeout(10):
            assert await adopted(heir) == []
    assert await adopted(heir) == [b"buy", b"close"]


@pytest.mark.parametrize("first", ["redis", "postgres"])
async def test_of_two_that_look_at_once_one_adopts_all_of_it(
    first: str, database: Database, redis_store: RedisStore
) -> None:
    """All look when somebody says that it leaves; of one key the older message may lie in either store."""
    for number in range(8):
        gone = await own(database, redis_store, BOX, f"gone-{number}")
        stores: list[Journal] = [gone.redis, gone.postgres] if first == "redis" else [gone.postgres, gone.redis]
        for store, payload in zip(stores, (b"buy", b"close"), strict=True):
            await append(store, payload)
        assert await gone.both.release()
        heirs = [await own(database, redis_store, BOX, f"{name}-{number}") for name in "bc"]
        found = await asyncio.gather(*(heir.both.adopt(BOX) for heir in heirs))
        assert sorted([entry.payload for entry in entries] for entries in found) == [[], [b"buy", b"close"]]
        for heir in heirs:
            await heir.both.settle(BOX, [Settlement(entry.entry_id) for entries in found for entry in entries])
            assert await heir.both.adopt(BOX) == []


async def test_who_was_stopped_between_its_two_moves_makes_the_second_itself(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await own(database, redis_store, BOX, "gone")
    await append(gone.redis, b"buy")
    await append(gone.postgres, b"close")
    await end_lease(redis_store, database, BOX, "gone")
    heir, other = [await own(database, redis_store, BOX, name) for name in "bc"]

    async def no_answer(*_: Any) -> list[Entry]:
        raise JournalUnavailable("PostgreSQL", "no answer")

    with monkeypatch.context() as broken:
        broken.setattr(heir.postgres, "adopt", no_answer)
        assert await heir.both.adopt(BOX) == []
    assert await other.both.adopt(BOX) == []
    assert [entry.payload for entry in await heir.both.adopt(BOX)] == [b"buy", b"close"]


async def half_adopted(database: Database, redis: RedisStore, late: str, monkeypatch: pytest.MonkeyPatch) -> Journals:
    """The heir, with the dead node's later message; the one before it lies where its move has come to nothing."""
    await dead(database, redis, late)
    await end_lease(redis, database, BOX, "a")
    heir = await own(database, redis, BOX, "heir")

    async def no_answer(*_: Any) -> list[Entry]:
        raise JournalUnavailable("a store", "no answer")

    with monkeypatch.context() as broken:
        broken.setattr(heir.redis if late == "redis" else heir.postgres, "adopt", no_answer)
        assert await adopted(heir) == []
    return heir


@pytest.mark.parametrize("gone", ["killed", "left"])
@pytest.mark.parametrize("late", STORES)
@pytest.mark.parametrize("looks", ["adopt", "recover"])
async def test_who_inherits_from_an_heir_inherits_what_that_has_begun_to_adopt(
    looks: str, late: str, gone: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heir has ended between its two moves; its claim on the rest counts for longer than its lease."""
    heir = await half_adopted(database, redis_store, late, monkeypatch)
    if gone == "left":
        assert await heir.both.release()
    else:
        await end_lease(redis_store, database, BOX, "heir")
    other = await own(database, redis_store, BOX, "other")
    found = await (other.both.adopt(BOX) if looks == "adopt" else other.both.recover(BOX))
    assert [entry.payload for entry in found] == [b"buy", b"close"]
    assert await adopted(other) == []


@pytest.mark.parametrize("lost", [False, True], ids=["", "a claim without an answer"])
async def test_what_an_heir_has_begun_to_adopt_is_known_where_nobody_is_taken_for_dead_for_a_while(
    lost: bool, own_redis: Breakable, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heir has ended in the outage that came between its two moves. Only PostgreSQL knows of whom the rest is."""
    async with open_redis(own_redis.url, timeout_s=5, connect_timeout_s=5) as redis:
        await dead(database, redis, "redis")
        await run_out(database, redis, "postgres")
        await run_out(database, redis, "redis")
        heir = await own(database, redis, BOX, "heir")
        other = await own(database, redis, BOX, "other", times=LeaseTimes(3600))

        async def stop(*_: Any) -> list[Entry]:
            await own_redis.stop()
            raise JournalUnavailable("Redis", "gone")

        monkeypatch.setattr(heir.redis, "adopt", stop)
        assert await adopted(heir) == []
        with pytest.raises(JournalUnavailable):
            await other.redis.append(BOX, b"-")
        await database.execute("update mailbox_owners set lease_until = now() where node = 'heir'")
        await own_redis.start()
        if lost:
            claims = Failing(other.ownership._claim, done=True)
            with monkeypatch.context() as broken:
                broken.setattr(other.ownership, "_claim", claims)
                assert await adopted(other) == []
        assert await adopted(other) == [b"buy", b"close"]


@pytest.mark.parametrize("late", STORES)
@pytest.mark.parametrize("done", [False, True], ids=["not made", "made"])
async def test_while_the_claim_of_an_heir_has_no_answer_nothing_of_what_it_has_begun_to_adopt_is_given(
    done: bool, late: str, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made without an answer, it brings along the claim on the first node, whose other half would come by itself."""
    await half_adopted(database, redis_store, late, monkeypatch)
    await end_lease(redis_store, database, BOX, "heir")
    other = await own(database, redis_store, BOX, "other")
    ask = other.ownership._claim

    async def unheard(*statements: tuple[object, ...]) -> Any:
        if statements[-1][2] != "heir":
            return await ask(*statements)
        if done:
            await ask(*statements)
        raise StoreUnavailable("PostgreSQL", "gone")

    for _ in range(2):
        with monkeypatch.context() as broken:
            broken.setattr(other.ownership, "_claim", unheard)
            assert await adopted(other) == []
    assert await adopted(other) == [b"buy", b"close"]


async def test_who_is_claimed_is_fenced_in_the_same_step(database: Database, redis_store: RedisStore) -> None:
    """Or a claim that came to nothing would be worth something later, when whoever was claimed lives on."""
    them, heir = [await own(database, redis_store, BOX, name) for name in ("a", "heir")]
    await append(them.postgres, b"x")
    heir.ownership._claim = Failing(heir.ownership._claim, done=True)  # type: ignore[method-assign, assignment]
    with pytest.raises(JournalUnavailable):
        await heir.ownership.claim(them.ownership.of(BOX))
    with pytest.raises(Fenced):
        await append(them.postgres, b"y")


@pytest.mark.parametrize("fails", [False, True], ids=["", "its claim has no answer"])
@pytest.mark.parametrize("late", STORES)
async def test_an_heir_that_starts_again_goes_on_with_what_it_had_begun_to_adopt(
    late: str, fails: bool, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await own(database, redis_store, BOX, "other")
    await half_adopted(database, redis_store, late, monkeypatch)
    heir = await own(database, redis_store, BOX, "heir")
    assert await adopted(other) == [], "its claim has outlived its process"
    found = list[bytes]()
    with monkeypatch.context() as broken:
        if fails:
            claims = Failing(heir.ownership._claim, done=False)
            broken.setattr(heir.ownership, "_claim", claims)
        found += [entry.payload for entry in await heir.both.recover(BOX)]
    assert found == ([] if fails else [b"buy", b"close"])
    assert await adopted(heir) == ([b"buy", b"close"] if fails else [])


async def test_whoever_has_adopted_all_of_it_leaves_nothing_to_look_for_to_its_own_heir(
    database: Database, redis_store: RedisStore
) -> None:
    await dead(database, redis_store, "redis")
    await end_lease(redis_store, database, BOX, "a")
    for name in ("heir", "next heir"):
        heir = await own(database, redis_store, BOX, name)
        assert await adopted(heir) == [b"buy", b"close"]
        assert await database.fetchval("select count(*) from mailbox_owners where heir is not null") == 0
        await end_lease(redis_store, database, BOX, name)


async def test_a_start_gives_nothing_of_the_dead_before_both_stores_have(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await own(database, redis_store, BOX, "gone")
    await append(gone.postgres, b"buy")
    await append(gone.redis, b"close")
    await end_lease(redis_store, database, BOX, "gone")
    heir = await own(database, redis_store, BOX, "heir")
    await append(heir.redis, b"its own")

    async def no_answer(*_: Any) -> list[Entry]:
        raise JournalUnavailable("PostgreSQL", "no answer")

    with monkeypatch.context() as broken:
        broken.setattr(heir.postgres, "recover", no_answer)
        assert [entry.payload for entry in await heir.both.recover(BOX)] == [b"its own"]
    assert [entry.payload for entry in await heir.both.adopt(BOX)] == [b"buy", b"close"]


async def test_what_is_ours_does_not_wait_for_the_store_that_has_more_of_the_dead(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await own(database, redis_store, BOX, "gone")
    await append(gone.postgres, b"buy")
    await append(gone.redis, b"close")
    await append((await own(database, redis_store, BOX, "heir", doubt_s=0)).postgres, b"its own")
    again = await own(database, redis_store, BOX, "heir", doubt_s=0)

    async def no_answer(*_: Any) -> list[Entry]:
        again.postgres._pending.doubt(BOX)
        raise JournalUnavailable("a store", "no answer")

    with monkeypatch.context() as broken:
        broken.setattr(again.postgres, "recover", no_answer)
        assert await again.both.recover(BOX) == []
    await end_lease(redis_store, database, BOX, "gone")
    with monkeypatch.context() as broken:
        broken.setattr(again.redis, "adopt", no_answer)
        assert [entry.payload for entry in await again.both.adopt(BOX)] == [b"its own"]
    assert [entry.payload for entry in await again.both.adopt(BOX)] == [b"buy", b"close"]


async def test_who_lives_is_not_handed_on_with_an_old_claim_on_it(database: Database, redis_store: RedisStore) -> None:
    """Of a release before this one, say, which claimed first and fenced then."""
    lives, gone = [await own(database, redis_store, BOX, name) for name in ("lives", "gone")]
    for one in (lives, gone):
        await append(one.redis, one.ownership.node.encode())
    await database.execute("update mailbox_owners set lease_until = now(), heir = 'gone:1' where node = 'lives'")
    await end_lease(redis_store, database, BOX, "gone")
    assert await adopted(await own(database, redis_store, BOX, "heir")) == [b"gone"]
    assert await database.fetchval("select epoch from mailbox_owners where node = 'lives'") == 1
