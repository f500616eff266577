"""Starting, watching and stopping one embedded server, whichever it is."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import anyio

from trendedge.storage.embedded.children import Child, spawn
from trendedge.storage.embedded.errors import ServerFailed
from trendedge.storage.embedded.identity import Footing, find_footing, path_for
from trendedge.storage.embedded.place import Note, Place, free_port

PREDECESSOR_S = 15.0
"""A process that drains has ten seconds, and its servers need a moment after it."""
READY_S = 120.0
"""Long, because after a crash PostgreSQL reads its whole log again before it answers."""
_PORT_ATTEMPTS = 5

type Report = Callable[[str], None]


def silent(_: str) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a program needs to know of the place it runs in."""

    place: Place
    footing: Footing
    directory: int
    """The descriptor of the place's directory, which carries the lock."""

    @property
    def root(self) -> Path:
        """The place's directory as the server has to name it."""
        return path_for(self.footing.identity, self.place, self.directory)

    async def run(self, argv: list[str]) -> None:
        """Run a program of the server's to its end, as the server's user.

        :raises ServerFailed: it failed
        """
        written = self.place.log_size()
        child = self.spawn(argv, Signals.SIGKILL)
        try:
            code = await child.wait()
        finally:
            await child.stop()
        if code != 0:
            raise ServerFailed(Path(argv[0]).name, self.place.log, self.place.last_words(since=written))

    def spawn(self, argv: list[str], parent_death_signal: Signals) -> Child:
        """Start a program as the server's user, with the lock and the log."""
        with self.place.open_log() as log:
            return spawn(
                argv,
                cwd=Path("/"),
                log=log,
                parent_death_signal=parent_death_signal,
                identity=self.footing.identity,
                keep=(self.directory,),
            )


class Kind(ABC):
    """What differs between the servers."""

    name: str
    stop_signals: tuple[Signals, ...]
    """The first asks for an orderly stop that loses nothing, and is what the server gets when its parent is killed."""
    needs_account = False
    """Refuses to run as root, and as a user that the system has no account for."""

    @abstractmethod
    def program(self) -> Path:
        """The server's program."""

    @abstractmethod
    async def initialize(self, site: Site) -> None:
        """Make the data directory if there is none, and mend what a killed predecessor left."""

    @abstractmethod
    def command(self, site: Site, port: int) -> list[str]:
        """The server's command line."""

    @abstractmethod
    async def is_ready(self, site: Site, port: int, pid: int) -> bool:
        """Whether the process with that id, and not a stranger on the same port, accepts work."""

    @abstractmethod
    def url(self, place: Place, port: int) -> str:
        """Where clients find it, with the password."""


class EmbeddedServer:
    """A running server of our own."""

    def __init__(self, note: Note, log: Path, child: Child, kind: Kind) -> None:
        self._child = child
        self._kind = kind
        self.url = note.url
        """With the password. For people, name the port alone."""
        self.port = note.port
        self.log = log

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    async def stop(self) -> None:
        """Stop it in order; a second call does nothing."""
        await self._child.stop(*self._kind.stop_signals)


async def start(
    kind: Kind,
    home: Path | str,
    *,
    port: int | None = None,
    report: Report = silent,
    patience_s: float = PREDECESSOR_S,
) -> EmbeddedServer:
    """Start a server on `<home>/<name>`, made at the first start. Call it from the main thread (see `spawn`).

    :param port: this one and no other; else the last start's if it is free, so that an open `psql` finds it again
    :param patience_s: how long to wait for another process that still uses the home
    :raises EmbeddedFault: with the reason and what to do
    """
    place = Place.of(home, kind.name)
    program = kind.program()
    place.prepare()
    directory = await place.acquire(patience_s=patience_s, report=report)
    try:
        former = place.read_note()
        place.remove_note()
        footing = await find_footing(place, directory, program, needs_account=kind.needs_account)
        site = Site(place, footing, directory)
        await kind.initialize(site)
        child, port = await _start_on_some_port(kind, site, port, former.port if former else None)
        note = Note(url=kind.url(place, port), port=port, server_pid=child.pid, owner_pid=os.getpid())
        place.write_note(note)
    finally:
        os.close(directory)  # the server has its own, and with it the lock
    return EmbeddedServer(note, place.log, child, kind)


async def _start_on_some_port(kind: Kind, site: Site, fixed: int | None, preferred: int | None) -> tuple[Child, int]:
    port = fixed or free_port(preferred)
    for _ in range(_PORT_ATTEMPTS):
        written = site.place.log_size()
        child = site.spawn(kind.command(site, port), kind.stop_signals[0])
        try:
            if await _becomes_ready(kind, site, port, child):
                return child, port
        except BaseException:
            await child.stop(*kind.stop_signals)
            raise
        await child.stop(*kind.stop_signals)
        if fixed or free_port(port) == port:  # nobody took the port in between: the reason is another one
            raise ServerFailed(kind.name, site.place.log, site.place.last_words(since=written))
        port = free_port()
    raise ServerFailed(kind.name, site.place.log, "others took one port after the other")


async def _becomes_ready(kind: Kind, site: Site, port: int, child: Child) -> bool:
    deadline = time.monotonic() + READY_S
    while child.running and time.monotonic() < deadline:
        if await kind.is_ready(site, port, child.pid):
            return True
        await anyio.sleep(0.01)
    return False
