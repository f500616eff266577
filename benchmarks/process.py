"""Starting a system under test, waiting until it serves, and leaving nothing of it behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.errors import DidNotStart
from benchmarks.http_client import HttpPool
from benchmarks.target import HEALTH_PATH, Target

STOP_WITHIN_S = 20.0
LOG_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A process that was started, and when (`perf_counter`)."""

    process: subprocess.Popen[bytes]
    at: float
    log: Path

    @property
    def last_words(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:])


@asynccontextmanager
async def launched(
    command: Sequence[str], *, environment: Mapping[str, str], directory: Path, log: Path
) -> AsyncIterator[Launched]:
    """Run a command in a session of its own. In the end it gets SIGTERM, and its whole group SIGKILL if need be."""
    at = perf_counter()
    process = _spawn(command, environment=environment, directory=directory, log=log)
    try:
        yield Launched(process=process, at=at, log=log)
    finally:
        await asyncio.shield(asyncio.to_thread(_stop, process))


def _spawn(
    command: Sequence[str], *, environment: Mapping[str, str], directory: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Not the loop's own way: a process of uvloop's is out of reach once the loop is closing."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_WITHIN_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whoever is left of the group, also when its leader has gone
    process.wait()


async def wait_until_healthy(target: Target, started: Launched, *, name: str, timeout_s: float) -> float:
    """Poll /health until it answers 200; the moment at which it had.

    :raises DidNotStart: the process ended, or `timeout_s` passed
    """
    while perf_counter() - started.at < timeout_s and started.process.poll() is None:
        pool = HttpPool(target.address)
        try:
            async with asyncio.timeout(5.0):
                response = await pool.submit(target.get(HEALTH_PATH))
            if response.status == 200:
                return response.at
        except OSError:
            pass
        finally:
            await pool.close()
        await asyncio.sleep(0.005)
    exit_code = started.process.poll()
    waited_s = perf_counter() - started.at
    raise DidNotStart(name, waited_s=waited_s, exit_code=exit_code, log=started.last_words)
