"""PostgreSQL and Valkey from wheels, as children of this process: for `make run`, the tests, and nobody's production.

    async with embedded_postgres(home) as server:
        connect(server.url)

A server lives on `<home>/<name>`, keeps its data across runs, and ends when this process ends, by SIGKILL too. Whoever
else wants to talk to it finds it with `find_running`.
"""

import os
import socket
from pathlib import Path

from trendedge.storage.embedded.errors import (
    EmbeddedFault,
    HomeInUse,
    HomeUnusable,
    NoIdentity,
    ProgramMissing,
    ServerFailed,
)
from trendedge.storage.embedded.place import Place
from trendedge.storage.embedded.postgres import embedded_postgres
from trendedge.storage.embedded.server import EmbeddedServer
from trendedge.storage.embedded.valkey import embedded_valkey

__all__ = [
    "EmbeddedFault",
    "EmbeddedServer",
    "HomeInUse",
    "HomeUnusable",
    "NoIdentity",
    "ProgramMissing",
    "ServerFailed",
    "embedded_postgres",
    "embedded_valkey",
    "find_running",
]


def find_running(home: Path | str, name: str) -> str | None:
    """The url of the server (`postgres`, `valkey`) that another process runs on this home, or None.

    None as well while it starts, and while it stops because its parent has ended.
    """
    place = Place.of(home, name)
    note = place.read_note() if place.is_held() else None
    if note is None or not _alive(note.owner_pid) or not _accepts(note.port):
        return None
    return note.url


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
