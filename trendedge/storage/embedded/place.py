"""The directory of one embedded server: data, log, lock, and the note that tells others where it listens."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio

from trendedge.storage.embedded.errors import HomeInUse, HomeUnusable

_LOG_LIMIT = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Note:
    """Where a running server listens. Written when it is ready, removed before it starts."""

    url: str
    """With the password: the file is readable for its owner alone."""
    port: int
    server_pid: int
    owner_pid: int
    """The process that started the server and will stop it."""


@dataclass(frozen=True, slots=True)
class Place:
    """`<home>/<name>`.

    The directory itself is locked, and the server inherits the descriptor: so the lock tells truly whether a server
    lives here, also after its parent was killed and while it is still shutting down.
    """

    root: Path

    @classmethod
    def of(cls, home: Path | str, name: str) -> "Place":
        return cls(Path(home).absolute() / name)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def _note(self) -> Path:
        return self.root / "server.json"

    @property
    def password_file(self) -> Path:
        return self.root / "password"

    def prepare(self) -> None:
        """Make the directory, for us alone.

        :raises HomeUnusable: it cannot be made or written
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise HomeUnusable(self.root, error.strerror or str(error)) from error
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise HomeUnusable(self.root, f"it belongs to {self.root.owner()}")

    async def acquire(self, *, patience_s: float, report: Callable[[str], None]) -> int:
        """Take the lock, waiting for a predecessor that is still on its way out. The descriptor that holds it.

        :raises HomeInUse: it was not free in time
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        if _try_lock(descriptor):
            return descriptor
        report(f"waiting for the process that still uses {self.root} to end")
        try:
            with anyio.fail_after(patience_s):
                while not _try_lock(descriptor):  # noqa: ASYNC110  # nobody tells us when a lock is free
                    await anyio.sleep(0.05)
        except TimeoutError:
            os.close(descriptor)
            raise HomeInUse(self.root, self._owner()) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def is_held(self) -> bool:
        """Whether a server lives here now, or somebody is about to start one."""
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor, shared=True)
        finally:
            os.close(descriptor)

    def read_note(self) -> Note | None:
        """The last server's note. It is true only while the lock is held."""
        try:
            return Note(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_note(self, note: Note) -> None:
        """Put the note in place in one step, readable for its owner alone."""
        fields = {"url": note.url, "port": note.port, "server_pid": note.server_pid, "owner_pid": note.owner_pid}
        self.write_private(self._note.name, json.dumps(fields))

    def remove_note(self) -> None:
        self._note.unlink(missing_ok=True)

    def password(self) -> str:
        """The server's password, made at the first call and kept. Others on this machine can reach the port."""
        if not self.password_file.exists():
            self.write_private(self.password_file.name, secrets.token_hex(24))
        return self.password_file.read_text().strip()

    def write_private(self, name: str, text: str) -> None:
        """Write a file of this directory in one step, readable for its owner alone."""
        draft = self.root / f".{name}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123  # a descriptor, not a path
            file.write(text)
        self._give(draft)
        draft.replace(self.root / name)

    def make_data(self) -> None:
        """Make the data directory, if there is none."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        self._give(self.data)

    @contextmanager
    def open_log(self) -> Iterator[IO[bytes]]:
        """The log, open for appending; one former generation is kept once it has grown large."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.log.chmod(0o600)
            self._give(self.log)
            yield log

    def log_size(self) -> int:
        """How much has been logged so far, in bytes: the mark from which `last_words` reads."""
        return self.log.stat().st_size if self.log.exists() else 0

    def last_words(self, *, since: int = 0) -> str:
        """The last line of the log after the given position."""
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read()[-4096:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _give(self, path: Path) -> None:
        """What root makes here belongs to the directory's owner, as whom the server may run."""
        owner = self.root.stat()
        if owner.st_uid != os.geteuid():
            os.chown(path, owner.st_uid, owner.st_gid)

    def _owner(self) -> int | None:
        note = self.read_note()
        return None if note is None else note.owner_pid


def free_port(preferred: int | None = None) -> int:
    """A port of the loopback interface that is free now, the preferred one if it is. It may be taken a moment later."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise OSError("the loopback interface has no free port")


def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
