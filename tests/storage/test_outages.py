"""A server that is away, silent or wrong is one clear error, soon, and without the password."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest

from tests.storage.conftest import Breakable
from trendedge.storage.errors import InvalidStoreUrl, StoreUnavailable
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import RedisStore, open_redis

BOUND_S = 8.0


async def unavailable(call: Callable[[], Awaitable[object]]) -> StoreUnavailable:
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(StoreUnavailable) as caught:
            await call()
    return caught.value


async def test_postgresql_goes_and_comes_back(own_postgres: Breakable) -> None:
    async with open_database(own_postgres.url) as database:
        await database.ping()
        await own_postgres.stop()
        error = await unavailable(database.ping)
        assert error.store == "PostgreSQL"
        await unavailable(lambda: database.fetch("select 1"))
        await own_postgres.start()
        await _works_again(database.ping)


async def test_postgresql_is_silent(own_postgres: Breakable) -> None:
    async with open_database(own_postgres.url, connect_timeout_s=0.5, statement_timeout_s=0.5) as database:
        own_postgres.freeze()
        await unavailable(database.ping)
        own_postgres.thaw()
        await _works_again(database.ping)


async def _works_again(ping: Callable[[], Awaitable[object]]) -> None:
    """Connections that died may each fail once more; then it works without anybody's help."""
    async with asyncio.timeout(30):
        while True:
            try:
                await ping()
            except StoreUnavailable:
                continue
            return


async def test_a_statement_that_takes_too_long_is_ended(database_url: str) -> None:
    async with open_database(database_url, statement_timeout_s=0.1) as database:
        error = await unavailable(lambda: database.execute("select pg_sleep(60)"))
        assert "statement timeout" in error.reason
        assert await database.fetchval("select 1") == 1


async def test_no_free_connection_is_unavailable(database_url: str) -> None:
    async with open_database(database_url, pool_size=1, connect_timeout_s=0.1) as database, database.connection():
        await unavailable(database.ping)


async def test_our_own_mistakes_are_not_outages(database: Database, redis_store: RedisStore) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await database.execute("selec 1")
    with pytest.raises(asyncpg.DataError, match="invalid input"):
        await database.fetchval("select $1::int", "x")
    with pytest.raises(Exception, match="wrong number of arguments") as caught:
        await redis_store.command("GET")
    assert not isinstance(caught.value, StoreUnavailable)


async def test_an_error_does_not_quote_the_row_that_it_is_about(database: Database) -> None:
    await database.execute("create table alerts (raw text, constraint well_formed check (raw = ''))")
    secret = uuid4().hex
    with pytest.raises(asyncpg.CheckViolationError, match="well_formed") as caught:
        await database.execute("insert into alerts values ($1)", secret)
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert caught.value.constraint_name == "well_formed"


async def test_a_transaction_is_undone_by_an_error(database: Database) -> None:
    async def change_ones_mind() -> None:
        async with database.transaction() as connection:
            await connection.execute("insert into users (email) values ('a@example.com')")
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await change_ones_mind()
    assert await database.fetchval("select count(*) from users") == 0


async def test_a_failed_transaction_is_not_carried_to_the_next_user_of_a_connection(database_url: str) -> None:
    async with open_database(database_url, pool_size=1) as database:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await _divide(database)
        assert await database.fetchval("select 1") == 1


async def _divide(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("begin")
        await connection.execute("select 1 / 0")


async def test_numbers_and_json_come_back_as_they_were(database: Database) -> None:
    number = Decimal("100000.10")
    assert str(await database.fetchval("select $1::numeric", number)) == "100000.10"
    assert str(await database.fetchval("select 100000::numeric")) == "100000"
    value = {"a": [1, None, "ü"], "b": {}}
    assert await database.fetchval("select $1::jsonb", value) == value


@pytest.mark.parametrize("missing", ["database", "server"])
async def test_a_wrong_postgresql_is_named_without_its_password(database_url: str, missing: str) -> None:
    base = database_url.rpartition("/")[0]
    url = f"{base}/no_such_database" if missing == "database" else "postgresql://app:geheim@127.0.0.1:1/x"
    async with open_database(url) as database:
        error = await unavailable(database.ping)
        assert "geheim" not in f"{error}{database.address}"
        assert database.address == url.rpartition("@")[2]


async def test_redis_goes_and_comes_back(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as redis:
        await redis.ping()
        await own_redis.stop()
        error = await unavailable(redis.ping)
        assert error.store == "Redis"
        await own_redis.start()
        await _works_again(redis.ping)


async def test_redis_is_silent(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as redis:
        await redis.ping()
        own_redis.freeze()
        await unavailable(redis.ping)
        own_redis.thaw()
        await _works_again(redis.ping)


async def test_a_listener_learns_that_it_missed_something(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as redis, redis.listen("ws:*") as published:
        await own_redis.stop()
        await unavailable(lambda: anext(published))


async def test_a_wrong_redis_is_named_without_its_password(own_redis: Breakable) -> None:
    wrong = f"redis://:geheim@127.0.0.1:{own_redis.server.port}/0"
    async with open_redis(wrong) as redis:
        error = await unavailable(redis.ping)
        assert "geheim" not in f"{error}{redis.address}"
        assert redis.address == f"127.0.0.1:{own_redis.server.port}/0"


@pytest.mark.parametrize("url", ["", "http://x", "postgresql://host:port/x", "mysql://u:geheim@h/x", "unix:///geheim"])
async def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    for opening in (open_database(url), open_redis(url)):
        with pytest.raises(InvalidStoreUrl) as caught:
            async with opening:
                raise AssertionError("opened")
        assert "geheim" not in str(caught.value)
