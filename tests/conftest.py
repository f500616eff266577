"""Real servers for the tests: a PostgreSQL and a Valkey of this process's own, started when first asked for.

Each process of pytest-xdist has its own pair, so nothing is shared and nothing needs a lock. They live below pytest's
temporary directory and end with the process. Durability is off: a test that kills a server starts one of its own.

`database_url`  a migrated database of the test's own (a clone of a template)
`postgres_url`  an empty database of the test's own
`database`      the same, as the product's pool
`redis_url`     a server that was flushed before the test
`redis_store`   the same, as the product's client
"""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg
import pytest
import redis

from trendedge.storage.embedded.postgres import Postgres
from trendedge.storage.embedded.server import EmbeddedServer, Kind, start
from trendedge.storage.embedded.valkey import Valkey
from trendedge.storage.migrate import upgrade
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import RedisStore, open_redis

pytest_plugins = ["trendedge.runtime.simulation.pytest_plugin"]

_UVLOOP = {"use_uvloop": True}
_TEMPLATE = "template_migrated"
_numbers = itertools.count(1)

_POSTGRES = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "autovacuum": "off",
}


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Tests run on the event loop that the product runs on."""
    return "asyncio", _UVLOOP


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has exported must not decide whether a test passes, nor be what a test writes to."""
    for name in set(os.environ) & {
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "UPSTASH_REDIS_URL",
        "APP_ENV",
        "PORT",
        "TRENDEDGE_HOME",
    }:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def servers_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres_server(servers_home: Path) -> Iterator[EmbeddedServer]:
    """The PostgreSQL of this process."""
    yield from _running(Postgres(_POSTGRES), servers_home)


@pytest.fixture(scope="session")
def redis_server(servers_home: Path) -> Iterator[EmbeddedServer]:
    """The Valkey of this process."""
    yield from _running(Valkey({"appendonly": "no"}), servers_home)


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedServer) -> str:
    """The name of a migrated database, to be cloned."""
    _statements(postgres_server, f"create database {_TEMPLATE}")
    upgrade(_named(postgres_server, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedServer, template_database: str) -> Iterator[str]:
    """A migrated database for one test."""
    yield from _database(postgres_server, template_database)


@pytest.fixture
def postgres_url(postgres_server: EmbeddedServer) -> Iterator[str]:
    """An empty database for one test."""
    yield from _database(postgres_server, "template0")


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """A Redis server without a key in it."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the test's own migrated database."""
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
async def redis_store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A client of the flushed server. Patient: a busy machine is not what the tests are about."""
    async with open_redis(redis_url, timeout_s=5, connect_timeout_s=5) as opened:
        yield opened


def _running(kind: Kind, home: Path) -> Iterator[EmbeddedServer]:
    # In a loop of its own, which ends before the tests' begins: the server belongs to this thread, not to a loop.
    server = _in_a_loop(lambda: start(kind, home))
    yield server
    _in_a_loop(server.stop)


def _database(server: EmbeddedServer, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _statements(server, f"create database {name} template {template} strategy file_copy")
    yield _named(server, name)
    _statements(server, f"drop database {name} with (force)")


def _named(server: EmbeddedServer, database: str) -> str:
    return urlunsplit(urlsplit(server.url)._replace(path=f"/{database}"))


def _statements(server: EmbeddedServer, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(_named(server, "postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    _in_a_loop(run)


def _in_a_loop[T](function: Callable[[], Awaitable[T]]) -> T:
    return anyio.run(function, backend_options=_UVLOOP)
