"""Servers of a test's own, to be stopped, frozen and started again."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from trendedge.storage.embedded.postgres import Postgres
from trendedge.storage.embedded.server import EmbeddedServer, Kind, start
from trendedge.storage.embedded.valkey import Valkey


@dataclass
class Breakable:
    """A server that keeps its address and its data while it comes and goes."""

    kind: Kind
    home: Path
    server: EmbeddedServer

    @property
    def url(self) -> str:
        return self.server.url

    async def stop(self) -> None:
        await self.server.stop()

    async def start(self) -> None:
        self.server = await start(self.kind, self.home, port=self.server.port)

    def freeze(self) -> None:
        """It takes what it is sent, and does not answer."""
        os.kill(self.server.pid, SIGSTOP)

    def thaw(self) -> None:
        """It works off what it was sent, heard or not."""
        os.kill(self.server.pid, SIGCONT)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[Breakable]:
    """A Valkey that writes to disk, as the product's does."""
    kind = Valkey({})
    breakable = Breakable(kind, tmp_path, await start(kind, tmp_path))
    yield breakable
    if breakable.server.running:
        breakable.thaw()
    await breakable.stop()


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[Breakable]:
    """An empty PostgreSQL."""
    kind = Postgres({})
    breakable = Breakable(kind, tmp_path, await start(kind, tmp_path))
    yield breakable
    if breakable.server.running:
        breakable.thaw()
    await breakable.stop()
