"""A network between a test and a server, which can stand still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Network:
    """Carries bytes to a server and back. What is sent while it stands still arrives when it is let go."""

    def __init__(self, url: str, *, bytes_a_second: float | None) -> None:
        self._server = urlsplit(url)
        self._bytes_a_second = bytes_a_second
        self._free = asyncio.Event()
        self._free.set()
        self._carriers: set[asyncio.Task[None]] = set()
        self.url = ""
        """Where the server is reached through it."""

    def hold(self) -> None:
        """Stand still. Connections are taken, and say nothing."""
        self._free.clear()

    def let_go(self) -> None:
        """Go on."""
        self._free.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        await self._free.wait()
        there, back = await asyncio.open_connection(self._server.hostname, self._server.port)
        for carrier in (self._carry(reader, back), self._carry(there, writer, self._bytes_a_second)):
            task = asyncio.create_task(carrier)
            self._carriers.add(task)
            task.add_done_callback(self._carriers.discard)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_a_second: float | None = None
    ) -> None:
        try:
            with suppress(OSError):
                while some := await reader.read(1 << 16):
                    if bytes_a_second is not None:
                        await asyncio.sleep(len(some) / bytes_a_second)
                    await self._free.wait()
                    writer.write(some)
        finally:
            writer.close()

    async def close(self) -> None:
        """End all that is on its way."""
        for task in self._carriers:
            task.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)


@asynccontextmanager
async def network(url: str, *, bytes_a_second: float | None = None) -> AsyncIterator[Network]:
    """A network to the server of this url, that brings back so many bytes a second."""
    between = Network(url, bytes_a_second=bytes_a_second)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    parts = urlsplit(url)
    at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    user, sign, _ = parts.netloc.rpartition("@")
    between.url = urlunsplit(parts._replace(netloc=f"{user}{sign}{at}"))
    try:
        yield between
    finally:
        server.close()
        between.let_go()
        await between.close()
