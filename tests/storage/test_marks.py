"""Who may have died of an entry, on the real stores: lost answers, and what an earlier release has counted."""

import asyncio
from typing import Any

from tests.storage.support import Journals, own
from tests.storage.test_journals import BOX, append
from trendedge.runtime import Durability
from trendedge.runtime.durable import DurableLog
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_scripts import SETTLE, UNCOUNT


class LosesAnswers:
    """Redis does what it is told of marks, and none of its answers to that comes back."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def run(self, script: Any, *args: Any) -> Any:
        answer = await self._redis.run(script, *args)
        if script in (SETTLE, UNCOUNT):
            raise StoreUnavailable("Redis", "no answer within 0.5 s")
        return answer


def log_of(journals: Journals) -> DurableLog:
    return DurableLog(Durability(journals.both, BOX, str.encode, bytes.decode), lambda message: None)


async def test_what_fails_first_and_then_kills_is_buried_after_three_deaths_without_an_answer(
    database: Database, redis_store: RedisStore
) -> None:
    """Each of them makes Redis seem down when the next mark is to be made."""
    deaths = 0
    await append((await own(database, redis_store, BOX)).both, b"poison")
    while True:
        journals = await own(database, redis_store, BOX)
        log = log_of(journals)
        journals.redis._redis = LosesAnswers(redis_store)  # type: ignore[assignment]  # as far as it is asked
        mail = await log.recover(3, now=0.0)
        if not mail:
            break
        writing = asyncio.create_task(log.run_settlements())
        for attempt in range(2):
            await log.begin(mail[0])
            if attempt == 0:
                log.survived(mail[0])
                taking_back = asyncio.create_task(log.take_back())
                await asyncio.sleep(0.05)
                taking_back.cancel()
        deaths += 1
        assert deaths < 9
        writing.cancel()
    await log.bury_doomed()
    [letter] = await journals.both.dead_letters(BOX)
    assert (deaths + 1, letter.letter.attempts) == (3, 3), "whoever has appended it died, too"


async def test_a_lost_answer_and_an_orderly_stop_in_hand_are_no_death(
    database: Database, redis_store: RedisStore
) -> None:
    before = log_of(await own(database, redis_store, BOX))
    await before.recover(3, now=0.0)
    await before.append("innocent", None)
    await before.leave()
    for _ in range(4):
        journals = await own(database, redis_store, BOX)
        log = log_of(journals)
        [envelope] = await log.recover(3, now=0.0)
        writing = asyncio.create_task(log.run_settlements())
        journals.redis._redis = LosesAnswers(redis_store)  # type: ignore[assignment]  # as far as it is asked
        await log.begin(envelope)
        await log.leave()
        writing.cancel()
    [entry] = await (await own(database, redis_store, BOX)).both.recover(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)


async def test_what_an_earlier_release_has_counted_are_deaths_of_others(
    database: Database, redis_store: RedisStore
) -> None:
    journals = await own(database, redis_store, BOX, "old")
    stream = f"mailbox:{BOX}:old"
    await journals.redis.append(BOX, b"in redis")  # so that it has a lease
    old = (await redis_store.command("XADD", stream, "*", "p", b"old", "s", 0)).decode()
    await redis_store.command("HSET", f"mailbox:attempts:{BOX}:old", old, 2)
    insert = "insert into mailbox_entries (mailbox, node, payload, attempts) values ($1, 'old', $2, 2)"
    await database.execute(insert, BOX, b"old too")
    for _ in range(2):
        journals = await own(database, redis_store, BOX, "old")
        found = {one.payload: one for one in await journals.both.recover(BOX)}
        for payload in (b"old", b"old too"):
            assert (found[payload].attempts, found[payload].first_open) == (2, True)
        ids = [found[payload].entry_id for payload in (b"old", b"old too")]
        await journals.both.settle(BOX, [], begin=ids)
        await journals.both.uncount(BOX, ids)
