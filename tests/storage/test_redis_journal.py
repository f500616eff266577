"""The journal in Redis, where it is about Redis's own ways."""

import time

from tests.storage.support import end_lease, own
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore

BOX = "executor"


async def test_what_is_adopted_within_the_millisecond_of_its_append_is_delivered(
    database: Database, redis_store: RedisStore
) -> None:
    gone = await own(database, redis_store, BOX, "gone")
    heir = await own(database, redis_store, BOX, "heir")
    await gone.redis.append(BOX, b"x")
    ms = int(time.time() * 1000) + 3_600_000  # ids of the future, so that both streams count on from there
    await redis_store.command("DEL", f"mailbox:{BOX}:gone")
    await redis_store.command("XADD", f"mailbox:{BOX}:gone", f"{ms}-1", "p", b"x")
    before = await redis_store.command("XADD", f"mailbox:{BOX}:heir", f"{ms}-0", "p", b"")
    await redis_store.command("XDEL", f"mailbox:{BOX}:heir", before)
    await end_lease(redis_store, database, BOX, "gone")
    assert [(entry.entry_id, entry.payload) for entry in await heir.redis.adopt(BOX)] == [(f"{ms}-1", b"x")]
