"""Other libraries, each in processes of a Python that has it. What is not installed there is left out of the table."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.distribution import Distribution
from benchmarks.errors import BenchmarkError
from benchmarks.runtime.durable import Durables
from trendedge.storage.redis import open_redis

DRIVERS = Path(__file__).parent / "drivers"
ACTOR_LIBRARIES = ("pykka", "xoscar")
JOB_LIBRARIES = ("celery", "dramatiq", "taskiq", "faststream", "arq")
_RECORD = struct.Struct("dd")


class PeerFailed(BenchmarkError):
    """A driver ended with an error, or did nothing in time."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Which library runs on which Python."""

    pythons: dict[str, Path]

    @classmethod
    async def found(cls, pythons: Sequence[Path]) -> "Peers":
        """Look which of the libraries each Python has; the first that has one runs it."""
        found: dict[str, Path] = {}
        for python in pythons:
            for library in (*ACTOR_LIBRARIES, *JOB_LIBRARIES):
                if library not in found and await _has(python, library):
                    found[library] = python
        return cls(found)

    async def messages(self, library: str, what: str, count: int) -> float:
        """Seconds for `count` tells or asks."""
        said = await self._run(library, "actors.py", library, what, str(count))
        return float(said)

    async def jobs(self, library: str, redis_url: str, directory: Path, count: int, seconds: float) -> Durables:
        """What a job queue does on an empty Redis."""
        async with open_redis(redis_url) as redis:
            await redis.command("FLUSHALL")
        environment = {"REDIS_URL": redis_url, "JOBS_FILE": str(directory / f"{library}.jobs"), "JOBS_LIBRARY": library}
        records = _Records(Path(environment["JOBS_FILE"]))
        async with self._worker(library, environment):
            before = len(
                await records.one_more(lambda: self._run(library, "jobs.py", library, "pace", "1", **environment))
            )
            await self._run(library, "jobs.py", library, "pace", str(int(100 * seconds)), **environment)
            paced = await records.reach(before + int(100 * seconds))
        latency = Distribution.of([done - sent for sent, done in paced[before:]])
        append_per_s = float(await self._run(library, "jobs.py", library, "send", str(count), **environment))
        async with self._worker(library, environment):
            drained = await records.reach(len(paced) + count)
        ends = sorted(done for _, done in drained[len(paced) :])
        return Durables(append_per_s, (len(ends) - 1) / (ends[-1] - ends[0]), latency)

    @asynccontextmanager
    async def _worker(self, library: str, environment: dict[str, str]) -> AsyncIterator[None]:
        process = await self._spawn(library, "jobs.py", library, "worker", **environment)
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.communicate(), 10)
                except TimeoutError:
                    process.kill()
                    await process.communicate()

    async def _run(self, library: str, driver: str, *words: str, **environment: str) -> str:
        process = await self._spawn(library, driver, *words, **environment)
        out, err = await process.communicate()
        if process.returncode:
            raise PeerFailed(f"{library}: {err.decode(errors='replace').strip()[-500:]}")
        return out.decode().strip().splitlines()[-1] if out.strip() else ""

    async def _spawn(self, library: str, driver: str, *words: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(self.pythons[library]),
            str(DRIVERS / driver),
            *words,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if words[-1] != "worker" else asyncio.subprocess.DEVNULL,
        )


async def _has(python: Path, library: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        str(python), "-c", f"import {library}", stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0


class _Records:
    """What the jobs have written down: (sent, done) moments of one clock, which all processes share."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[tuple[float, float]]:
        """All of them, in the order in which they ended."""
        if not self._file.exists():
            return []
        data = self._file.read_bytes()
        whole = len(data) - len(data) % _RECORD.size
        return [(sent, done) for sent, done in _RECORD.iter_unpack(data[:whole])]

    async def one_more(self, send: Callable[[], Awaitable[object]]) -> list[tuple[float, float]]:
        """Send single jobs until one has come through, and the others too: the worker serves then."""
        before = len(self.read())
        for sent in range(1, 60):
            await send()
            await asyncio.sleep(0.5)
            if len(self.read()) > before:
                return await self.reach(before + 1 if sent == 1 else before + sent, patience_s=5, short=True)
        raise PeerFailed(f"{self._file.stem}: the worker does nothing")

    async def reach(self, count: int, *, patience_s: float = 30, short: bool = False) -> list[tuple[float, float]]:
        """Wait until there are so many; with `short`, be content with less after `patience_s` without any.

        :raises PeerFailed: nothing has come for `patience_s`
        """
        last, moved_at = -1, perf_counter()
        while True:
            records = self.read()
            if len(records) >= count or (short and perf_counter() - moved_at > patience_s):
                return records
            if len(records) != last:
                last, moved_at = len(records), perf_counter()
            elif perf_counter() - moved_at > patience_s:
                raise PeerFailed(f"{self._file.stem}: {len(records)} of {count} jobs were done")
            await asyncio.sleep(0.05)
