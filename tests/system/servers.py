"""A PostgreSQL and a Redis that a test can stop and start again, at the same address and with the same data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from trendedge.storage.embedded.postgres import Postgres
from trendedge.storage.embedded.server import EmbeddedServer, Kind, start
from trendedge.storage.embedded.valkey import Valkey


class Server:
    """One server. Its address is known once it has been started, and stays."""

    def __init__(self, kind: Kind, home: Path) -> None:
        self._kind, self._home = kind, home
        self._running: EmbeddedServer | None = None
        self._port: int | None = None
        self.url = ""

    async def start(self) -> None:
        """Start it; it is ready when this returns."""
        self._running = await start(self._kind, self._home, port=self._port)
        self.url, self._port = self._running.url, self._running.port

    async def stop(self) -> None:
        """Stop it in order. Whoever connects is refused from now on."""
        if self._running is not None:
            await self._running.stop()
            self._running = None


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    """Run the servers for as long as the block runs, whatever is done to them meanwhile."""
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        for server in servers:
            await server.stop()


def postgres(home: Path) -> Server:
    """PostgreSQL, as durable as in production."""
    return Server(Postgres(), home)


def redis(home: Path) -> Server:
    """Valkey with its append-only file."""
    return Server(Valkey(), home)
