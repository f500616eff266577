"""Starting, finding and stopping the embedded servers, the real ones."""

import os
import re
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from tests.storage.embedded.support import query
from trendedge.storage.embedded import (
    EmbeddedServer,
    HomeInUse,
    HomeUnusable,
    ServerFailed,
    embedded_postgres,
    embedded_valkey,
    find_running,
)
from trendedge.storage.embedded.place import free_port
from trendedge.storage.embedded.postgres import Postgres
from trendedge.storage.embedded.server import start
from trendedge.storage.embedded.valkey import Valkey

type Run = Callable[..., AbstractAsyncContextManager[EmbeddedServer]]

BOTH = pytest.mark.parametrize(("run", "name"), [(embedded_postgres, "postgres"), (embedded_valkey, "valkey")])


@pytest.fixture(scope="module")
def postgres_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose cluster is made once; the tests here leave no server on it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with embedded_valkey(tmp_path) as server:
        yield server


async def test_postgres_keeps_its_data_and_its_port_across_runs(postgres_home: Path) -> None:
    async with embedded_postgres(postgres_home) as first:
        await query(first.url, "create table kept as select 42 as answer")
    async with embedded_postgres(postgres_home) as second:
        assert await query(second.url, "select answer from kept") == 42
        await query(second.url, "drop table kept")
        assert second.port == first.port


async def test_valkey_keeps_its_data_across_runs(tmp_path: Path) -> None:
    for expected in (None, b"kept"):
        async with embedded_valkey(tmp_path) as server, redis.asyncio.Redis.from_url(server.url) as client:
            assert await client.get("key") == expected
            await client.set("key", "kept")


@BOTH
async def test_a_server_is_found_while_it_runs_and_only_then(postgres_home: Path, run: Run, name: str) -> None:
    relative = os.path.relpath(postgres_home)  # noqa: ASYNC240  # no loop is kept waiting in a test
    assert find_running(postgres_home, name) is None
    async with run(postgres_home) as server:
        assert find_running(postgres_home, name) == server.url
        assert find_running(relative, name) == server.url
    assert find_running(postgres_home, name) is None


@BOTH
async def test_a_stopped_server_has_ended_and_stopping_twice_is_fine(postgres_home: Path, run: Run, name: str) -> None:
    async with run(postgres_home) as server:
        await server.stop()
        assert not server.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port)).close()


@pytest.mark.parametrize("name", ["with a space", "quo\"te'd \\ and ünicode", "deep/" + "x" * 100 + "/" + "y" * 100])
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    async with embedded_valkey(tmp_path / name) as valkey, embedded_postgres(tmp_path / name) as postgres:
        assert (tmp_path / name / "valkey/data/appendonlydir").is_dir()
        async with redis.asyncio.Redis.from_url(valkey.url) as client:
            assert await client.ping()
        assert await query(postgres.url, "select current_database()") == "trendedge"


async def test_a_second_process_is_told_who_is_there(tmp_path: Path, valkey: EmbeddedServer) -> None:
    reports: list[str] = []
    with pytest.raises(HomeInUse, match=f"in use by process {os.getpid()}: stop it, or set TRENDEDGE_HOME"):
        await start(Valkey(), tmp_path, report=reports.append, patience_s=0.1)
    assert reports == [f"waiting for the process that still uses {tmp_path / 'valkey'} to end"]
    assert find_running(tmp_path, "valkey") == valkey.url


async def test_strangers_on_this_machine_need_the_password(
    postgres_home: Path, tmp_path: Path, valkey: EmbeddedServer
) -> None:
    async with embedded_postgres(postgres_home) as postgres:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host="127.0.0.1", port=postgres.port, user="trendedge", password="guess")
    async with redis.asyncio.Redis(port=valkey.port) as client:
        with pytest.raises(redis.AuthenticationError):
            await client.ping()
    for place in (postgres_home / "postgres", tmp_path / "valkey"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        for secret in ("password", "server.json", "server.log"):
            assert stat.S_IMODE((place / secret).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "valkey/valkey.conf").stat().st_mode) == 0o600


@BOTH
async def test_a_port_that_was_taken_meanwhile_is_no_obstacle(postgres_home: Path, run: Run, name: str) -> None:
    async with run(postgres_home) as first:
        pass
    with socket.create_server(("127.0.0.1", first.port)):
        async with run(postgres_home) as second:
            assert second.port != first.port


@BOTH
async def test_a_wanted_port_that_is_taken_is_an_error_with_its_reason(
    postgres_home: Path, run: Run, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServerFailed) as caught:
        async with run(postgres_home, port=taken.getsockname()[1]):
            raise AssertionError("it started on a port that is taken")
    assert re.fullmatch(rf"{name} did not start: .+ \(see .+server\.log\)", str(caught.value))
    async with run(postgres_home, port=free_port()) as server:  # and it holds nothing back
        assert server.running


async def test_a_broken_setting_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"valkey did not start: .*Bad directive"):
        await start(Valkey({"no-such-setting": "1"}), tmp_path)


async def test_a_stale_pid_file_with_a_strangers_id_is_no_obstacle(postgres_home: Path) -> None:
    async with embedded_postgres(postgres_home):
        pass
    # In a container the ids begin anew, so that the id in the file is soon somebody's: here it is the test's parent.
    (postgres_home / "postgres/data/postmaster.pid").write_text(f"{os.getppid()}\n/gone\n0\n5432\n\n\n0 0\nready\n")
    async with embedded_postgres(postgres_home) as server:
        assert await query(server.url, "select 1") == 1


async def test_a_cluster_that_was_half_made_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "postgres/data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with embedded_postgres(tmp_path) as server:
        assert await query(server.url, "select current_user::text") == "trendedge"
    assert not half.exists()


async def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeUnusable, match="cannot be used: Not a directory; set TRENDEDGE_HOME"):
        await start(Valkey(), tmp_path / "home")


async def test_no_setting_of_postgres_leaks_in_from_the_environment(
    postgres_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    async with embedded_postgres(postgres_home) as server:
        assert await query(server.url, "show timezone") == "UTC"
        assert await query(server.url, "select current_setting('port')") == str(server.port)


async def test_durability_is_on_unless_somebody_turns_it_off(postgres_home: Path, valkey: EmbeddedServer) -> None:
    async with embedded_postgres(postgres_home) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await query(server.url, f"show {setting}") == "on"
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        assert await client.config_get("append*") | {"appendonly": "yes", "appendfsync": "everysec"} == (
            await client.config_get("append*")
        )
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    server = await start(Postgres({"fsync": "off"}), postgres_home)
    assert await query(server.url, "show fsync") == "off"
    await server.stop()
