"""What a SIGKILL of the process that holds the servers leaves behind: the data, and nothing in the next start's way."""

import os
import subprocess
import sys
from pathlib import Path
from signal import Signals

import pytest
import redis.asyncio

from tests.storage.embedded.support import gone, holder, query
from trendedge.storage.embedded import embedded_postgres, embedded_valkey, find_running


async def test_after_a_sigkill_the_next_start_finds_everything(tmp_path: Path) -> None:
    for expected in range(3):
        with holder(tmp_path) as held:
            if expected == 0:
                await query(held.postgres_url, "create table counted (n int)")
            assert await query(held.postgres_url, "select count(*) from counted") == expected
            await query(held.postgres_url, "insert into counted values (1)")
            async with redis.asyncio.Redis.from_url(held.valkey_url) as client:
                assert await client.incr("counted") == expected + 1
            held.kill()
            # At once: the next start meets the servers while they shut down.


async def test_the_servers_end_with_their_killed_parent(tmp_path: Path) -> None:
    with holder(tmp_path) as held:
        held.kill()
        for pid in held.pids:
            await gone(pid)
    assert find_running(tmp_path, "postgres") is None
    assert find_running(tmp_path, "valkey") is None


async def test_another_process_finds_the_servers_and_cannot_start_them_again(tmp_path: Path) -> None:
    with holder("home", cwd=tmp_path) as held:
        assert find_running(tmp_path / "home", "postgres") == held.postgres_url
        assert find_running(tmp_path / "home", "valkey") == held.valkey_url


@pytest.mark.parametrize("servers", [0, 1])
async def test_a_server_that_was_killed_itself_comes_back_with_its_data(tmp_path: Path, servers: int) -> None:
    with holder(tmp_path) as held:
        await query(held.postgres_url, "create table kept as select 7 as n")
        async with redis.asyncio.Redis.from_url(held.valkey_url) as client:
            await client.set("kept", "7")
        os.kill(held.pids[servers], Signals.SIGKILL)
        held.kill()
    async with embedded_postgres(tmp_path) as postgres, embedded_valkey(tmp_path) as valkey:
        assert await query(postgres.url, "select n from kept") == 7
        async with redis.asyncio.Redis.from_url(valkey.url) as client:
            assert await client.get("kept") == b"7"


_PARENT = """
import os, signal, sys
from pathlib import Path
from trendedge.storage.embedded.children import spawn

with open(os.devnull, "ab") as log:
    child = spawn(["/bin/sleep", "600"], cwd=Path("/"), log=log, parent_death_signal=signal.SIGTERM, watchdog=WATCHDOG)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("watchdog", [True, sys.platform != "linux"])
async def test_a_child_ends_with_its_parent(watchdog: bool) -> None:
    """By the kernel's word and by the watchdog on a pipe, which is for systems whose kernel has none."""
    command = [sys.executable, "-c", _PARENT.replace("WATCHDOG", str(watchdog))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    pipe = subprocess.PIPE
    parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)  # noqa: ASYNC220
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    await gone(child)
