"""An embedded Valkey, which speaks Redis's protocol: loopback only, a password of its own, an append-only file."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals

from trendedge.storage.embedded import programs
from trendedge.storage.embedded.place import Place
from trendedge.storage.embedded.server import EmbeddedServer, Kind, Report, Site, silent, start

NAME = "valkey"

_FIXED = {
    "bind": "127.0.0.1",
    "save": '""',
    "appendonly": "yes",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}


class Valkey(Kind):
    """Valkey from a wheel."""

    name = NAME
    stop_signals = (Signals.SIGTERM,)

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        # Each write is with the kernel before its answer goes out: `everysec` is about the loss of power alone.
        self._settings = {"appendfsync": "everysec", **_FIXED, **(settings or {})}

    def program(self) -> Path:
        return programs.valkey_server()

    async def initialize(self, site: Site) -> None:
        site.place.password()
        site.place.make_data()

    def command(self, site: Site, port: int) -> list[str]:
        """The settings go into a file: a command line is for everybody to read, and one of them is the password."""
        settings = {
            **self._settings,
            "port": str(port),
            "requirepass": site.place.password(),
            "dir": _quoted(site.root / "data"),
        }
        site.place.write_private("valkey.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))
        return [str(site.footing.program), str(site.root / "valkey.conf")]

    async def is_ready(self, site: Site, port: int, pid: int) -> bool:
        """Ask for its process id, which it tells before it has read its data, and for a PONG, which it does not."""
        try:
            answer = await _talk(port, f"AUTH {site.place.password()}\r\nPING\r\nINFO server\r\nQUIT\r\n")
        except (OSError, TimeoutError):
            return False
        return b"+PONG" in answer and f"process_id:{pid}\r\n".encode() in answer

    def url(self, place: Place, port: int) -> str:
        return f"redis://:{place.password()}@127.0.0.1:{port}/0"


@asynccontextmanager
async def embedded_valkey(
    home: Path | str, *, port: int | None = None, settings: Mapping[str, str] | None = None, report: Report = silent
) -> AsyncIterator[EmbeddedServer]:
    """Run Valkey on `<home>/valkey` for as long as the block runs.

    :param settings: of valkey.conf, for example `{"appendfsync": "always"}`
    :raises EmbeddedFault: with the reason and what to do
    """
    server = await start(Valkey(settings), home, port=port, report=report)
    try:
        yield server
    finally:
        await server.stop()


async def _talk(port: int, request: str) -> bytes:
    async with asyncio.timeout(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request.encode())
            return await reader.read()
        finally:
            writer.close()


def _quoted(path: Path) -> str:
    """A path as Valkey's configuration reads it; inside quotes it knows C's escapes."""
    escaped = "".join(
        f"\\x{byte:02x}" if byte in b'"\\' or not 32 <= byte < 127 else chr(byte) for byte in os.fsencode(path)
    )
    return f'"{escaped}"'
