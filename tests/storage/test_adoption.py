"""Whoever adopts gets the mail of who is gone, and of nobody who has come back meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.storage.support import Journals, end_lease, own
from tests.storage.test_journals import BOX, append
from trendedge.runtime.journal import Entry
from trendedge.storage import mailbox_sql as sql
from trendedge.storage import redis_scripts as scripts
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore


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
        waits = "select exists (select from pg_locks where not granted)"
        async with asyncio.timeout(10):
            while not await database.fetchval(waits):  # noqa: ASYNC110 - the state of a server, which tells nobody
                await asyncio.sleep(0.01)
    assert await back == []
