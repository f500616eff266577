"""A Redis that answers, and cannot work, is one that is down: PostgreSQL takes the mail until Redis can write again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.storage.conftest import Breakable
from tests.storage.support import own
from tests.storage.test_failover_journal import Watched, until
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Settlement, Unique
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore, open_redis

type Words = tuple[str, ...]

UNABLE: dict[str, tuple[list[Words], list[Words]]] = {
    "OOM": ([("CONFIG", "SET", "maxmemory", "1")], [("CONFIG", "SET", "maxmemory", "0")]),
    "READONLY": ([("REPLICAOF", "127.0.0.1", "1")], [("REPLICAOF", "NO", "ONE")]),
    "MASTERDOWN": (
        [("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1")],
        [("REPLICAOF", "NO", "ONE")],
    ),
    "NOREPLICAS": (
        [("CONFIG", "SET", "min-replicas-to-write", "1")],
        [("CONFIG", "SET", "min-replicas-to-write", "0")],
    ),
    "ACL failure in script": ([("ACL", "SETUSER", "default", "-xadd")], [("ACL", "SETUSER", "default", "+xadd")]),
    "NOPERM": ([("ACL", "SETUSER", "default", "-evalsha")], [("ACL", "SETUSER", "default", "+evalsha")]),
}
"""By how it says so: what makes it unable, and able again."""


async def say(server: Breakable, commands: list[Words]) -> None:
    async with open_redis(server.url) as operator:
        for words in commands:
            await operator.command(*words)


async def errors(server: Breakable) -> int:
    """How often the server has refused something."""
    async with open_redis(server.url) as operator:
        info = bytes(await operator.command("INFO", "errorstats")).decode()
    return sum(int(line.partition("count=")[2]) for line in info.splitlines() if "count=" in line)


async def more_errors(server: Breakable, *, than: int) -> bool:
    return await errors(server) > than


@pytest.mark.parametrize("says", UNABLE)
async def test_a_redis_that_answers_and_cannot_write_is_down_until_it_can(
    own_redis: Breakable, database: Database, says: str
) -> None:
    broken, mended = UNABLE[says]
    async with open_redis(own_redis.url) as redis:
        watched = await Watched.open(redis, database)
        async with watched.running():
            await append(watched.journal, b"before")
            await say(own_redis, broken)
            with pytest.raises(JournalUnavailable, match=says):
                await watched.redis.append(BOX, b"refused", unique=Unique("m", "1", 60))
            await anyio.sleep(0.2)  # the order of what lies in two stores is known but for the time of an answer
            await append(watched.journal, b"during", Unique("m", "2", 60))
            seen = await errors(own_redis)
            await until(True, lambda: more_errors(own_redis, than=seen + 2))
            assert watched.told == [True], "it was taken for mended because it answers"
            await say(own_redis, mended)
            await watched.wait_told(False)
            await append(watched.journal, b"after")
        assert watched.told == [True, False]
        assert (await watched.redis.count(BOX))[0] == 2
        assert [one.payload for one in await watched.journal.recover(BOX)] == [b"before", b"during", b"after"]


async def test_a_probe_is_one_command_and_leaves_nothing(redis_store: RedisStore, database: Database) -> None:
    journal = (await own(database, redis_store, BOX)).redis
    await journal.probe()
    await redis_store.command("CONFIG", "RESETSTAT")
    await journal.probe()
    said = bytes(await redis_store.command("INFO", "commandstats")).decode()
    assert "cmdstat_evalsha:calls=1," in said
    assert await redis_store.command("DBSIZE") == 0


@asynccontextmanager
async def refusing(error: str) -> AsyncIterator[str]:
    """A server that answers whatever it is asked with this error; its url."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(f"-{error}\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "error",
    [
        "ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
        "ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
        "ERR max concurrent connections exceeded",
        "ERR DB capacity quota exceeded",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
        "NOPERM User default has no permissions to run the 'evalsha' command",
        "OOM command not allowed when used memory > 'maxmemory'.",
    ],
)
async def test_what_a_server_says_that_may_not_or_cannot_work_is_an_outage_to_all(
    database: Database, error: str
) -> None:
    async with refusing(error) as url, open_redis(url) as redis:
        both = (await own(database, redis, BOX)).both
        await both.settle(BOX, [Settlement(await append(both, b"x"))])
        assert both.degraded
        with pytest.raises(StoreUnavailable):
            await redis.ping()
        with pytest.raises(StoreUnavailable):
            async with redis.listen("ws:*") as published:
                await anext(published)
