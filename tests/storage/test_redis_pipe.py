"""Many commands at once over one connection: each is sent once, answered to whoever asked, and fails soon."""

import asyncio
import contextlib
import time

import pytest
from redis.exceptions import ResponseError

from tests.storage.conftest import Breakable
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.redis import RedisStore, Script, open_redis

ECHO = Script("return ARGV[1]")


async def test_a_thousand_at_once_are_each_answered_with_their_own_answer(redis_store: RedisStore) -> None:
    answers = await asyncio.gather(*(redis_store.command("ECHO", str(number)) for number in range(1000)))
    assert answers == [str(number).encode() for number in range(1000)]


async def test_they_go_over_one_connection(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as store:
        await asyncio.gather(*(store.command("ECHO", str(number)) for number in range(1000)))
        clients = bytes(await store.command("CLIENT", "LIST")).decode().splitlines()
        assert len(clients) == 1


async def test_each_command_is_sent_once(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as store:
        await asyncio.gather(*(store.command("INCR", "count") for _ in range(500)))
        assert await store.command("GET", "count") == b"500"


async def test_an_error_goes_to_the_one_whose_command_it_was(redis_store: RedisStore) -> None:
    await redis_store.command("SET", "text", "x")
    many = [redis_store.command(*(("INCR", "text") if number % 10 == 0 else ("ECHO", "y"))) for number in range(100)]
    answers = await asyncio.gather(*many, return_exceptions=True)
    assert [isinstance(answer, ResponseError) for answer in answers] == [number % 10 == 0 for number in range(100)]


async def test_a_forgotten_script_is_sent_again_by_each_who_needs_it(redis_store: RedisStore) -> None:
    await redis_store.command("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*(redis_store.run(ECHO, [], [str(number)]) for number in range(100)))
    assert answers == [str(number).encode() for number in range(100)]


async def test_who_gives_up_disturbs_nobody(redis_store: RedisStore) -> None:
    tasks = [asyncio.create_task(redis_store.command("ECHO", str(number))) for number in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(answers[number] == str(number).encode() for number in range(200) if number % 3)
    assert await redis_store.command("ECHO", "still there") == b"still there"


@pytest.mark.parametrize("away", ["stopped", "frozen"])
async def test_all_who_wait_learn_soon_that_the_server_is_away(own_redis: Breakable, away: str) -> None:
    async with open_redis(own_redis.url) as store:
        await asyncio.gather(*(store.command("ECHO", str(number)) for number in range(100)))
        if away == "stopped":
            await own_redis.stop()
        else:
            own_redis.freeze()
        begun = time.monotonic()
        answers = await asyncio.gather(*(store.command("PING") for _ in range(2000)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert time.monotonic() - begun < 5  # and not 2,000 time-outs, one after the other
        if away == "stopped":
            await own_redis.start()
        else:
            own_redis.thaw()
        async with asyncio.timeout(30):
            while True:
                answers = await asyncio.gather(*(store.command("PING") for _ in range(50)), return_exceptions=True)
                if answers == [b"PONG"] * 50:
                    break
                await asyncio.sleep(0.1)


async def test_who_still_waits_at_the_end_is_told(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as store:
        await store.command("PING")
        own_redis.freeze()
        waiting = [asyncio.create_task(store.command("PING")) for _ in range(50)]
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}


async def test_a_connection_that_the_server_has_closed_meanwhile_is_opened_again(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as store, open_redis(own_redis.url) as other:
        await store.command("PING")
        await other.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        async with asyncio.timeout(30):
            while len(bytes(await other.command("CLIENT", "LIST")).splitlines()) > 1:
                pass
        assert await store.command("ECHO", "here") == b"here"


async def test_an_answer_that_comes_too_late_is_given_to_nobody(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as store:
        await store.command("PING")
        own_redis.freeze()
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.5 s"):
            await store.command("ECHO", "late")
        own_redis.thaw()
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    assert await store.command("ECHO", "next") == b"next"
                    break
