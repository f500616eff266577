"""A system under test: something that can be started, loaded and stopped."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Protocol

from benchmarks.process import launched, wait_until_healthy
from benchmarks.target import Target

START_WITHIN_S = 90.0
SERVERS_UP = "servers already up"
"""The way of starting that every system has, and two can be compared by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A system that serves."""

    target: Target
    launched_at: float
    """`perf_counter`, as is `healthy_at`."""
    healthy_at: float
    """When /health first answered 200."""
    pid: int | None
    """Root of its process tree; None when this tool did not start it."""


class System(Protocol):
    """What every system under test offers."""

    @property
    def name(self) -> str: ...

    def running(self) -> AbstractAsyncContextManager[Running]:
        """Start it, and stop it in the end.

        :raises BenchmarkError: it did not start, or gave no credentials
        """
        ...

    def starts(self) -> AbstractAsyncContextManager[Sequence[tuple[str, "System"]]]:
        """The ways of starting that are worth timing, each with its name. They are run one after the other."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSystem:
    """Another implementation, started by a shell command. Its databases are its own affair, and up already."""

    name: str
    command: str
    """Stays in the foreground; SIGTERM stops it."""
    target: Target
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        environment = {**os.environ, **self.environment}
        command = ("sh", "-c", self.command)
        async with launched(command, environment=environment, directory=self.directory, log=self.log) as started:
            healthy_at = await wait_until_healthy(self.target, started, name=self.name, timeout_s=START_WITHIN_S)
            yield Running(target=self.target, launched_at=started.at, healthy_at=healthy_at, pid=started.process.pid)

    @asynccontextmanager
    async def starts(self) -> AsyncIterator[Sequence[tuple[str, System]]]:
        yield [(SERVERS_UP, self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedSystem:
    """A server that runs already, and is neither started nor stopped here."""

    name: str
    target: Target

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        now = perf_counter()
        yield Running(target=self.target, launched_at=now, healthy_at=now, pid=None)

    @asynccontextmanager
    async def starts(self) -> AsyncIterator[Sequence[tuple[str, System]]]:
        yield []
