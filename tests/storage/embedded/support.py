"""What the tests of the embedded servers share: a process that runs them and can be killed, and ways to look inside."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg

_HOLDER = """
import json, sys
import anyio
from trendedge.storage.embedded import embedded_postgres, embedded_valkey

async def main():
    async with embedded_postgres(sys.argv[1]) as postgres, embedded_valkey(sys.argv[1]) as valkey:
        print(json.dumps([postgres.url, valkey.url, postgres.pid, valkey.pid]), flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@dataclass
class Holder:
    """Another process, and the servers that it holds."""

    process: subprocess.Popen[str]
    postgres_url: str
    valkey_url: str
    pids: tuple[int, int]

    def kill(self) -> None:
        """SIGKILL: nothing in it gets to run."""
        self.process.kill()
        self.process.wait()


@contextmanager
def holder(home: Path | str, *, cwd: Path | None = None) -> Iterator[Holder]:
    """Run both servers on `home` in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", _HOLDER, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the holder did not start"
            postgres_url, valkey_url, *pids = json.loads(line)
            yield Holder(process, postgres_url, valkey_url, (pids[0], pids[1]))
        finally:
            process.send_signal(signal.SIGKILL)


async def query(url: str, sql: str) -> object:
    """One value from a database."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def gone(pid: int) -> None:
    """Wait until no process has that id. A zombie counts as gone: it runs no more."""
    with anyio.fail_after(30):
        while _runs(pid):  # noqa: ASYNC110  # only a parent is told of an end
            await anyio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
