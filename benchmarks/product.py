"""The product, started as a user starts it: one process, with the embedded PostgreSQL and Valkey below it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jwt

from benchmarks.errors import BenchmarkError, CommandFailed
from benchmarks.process import launched, wait_until_healthy
from benchmarks.servers import own_servers, trade_at_any_hour
from benchmarks.system import SERVERS_UP, START_WITHIN_S, Running, System
from benchmarks.target import Target
from trendedge.settings import Settings
from trendedge.storage.embedded import find_running

SOURCE = Path(__file__).resolve().parent.parent
FROM_NOTHING = "from nothing, user made too"
SECOND_START = "second start, servers too"
EMAIL = "bench@example.com"
RATE_LIMITS = {name.upper(): "1000000000" for name in Settings.model_fields if name.startswith("rate_limit_")}
SETTINGS: Mapping[str, str] = {"APP_ENV": "development", "WS_MAX_CONNECTIONS_PER_USER": "2000", **RATE_LIMITS}
EXTERNAL = frozenset({"DATABASE_URL", "UPSTASH_REDIS_URL"})
SETTINGS_OF_THE_CALLER = frozenset(name.upper() for name in Settings.model_fields)
"""What the caller has exported for the product is never passed on: the load would reach somebody's real database, his
error reports or his broker."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of the user whom the load is sent for."""

    api_key: str
    jwt: str


class Product:
    """One installation of the product: a home directory, a port, and the user in it.

    The user is made at the first start, with the command line, and found again at the next ones.
    """

    def __init__(self, home: Path, *, environment: Mapping[str, str] | None = None, name: str = "trendedge") -> None:
        self.name = name
        self._home, self._port = home, free_port()
        self._added = dict(environment or {})
        self._credentials: Credentials | None = None
        home.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        command, log = (sys.executable, "-m", "trendedge", "serve"), self._home / "serve.log"
        environment = self.environment()
        async with launched(command, environment=environment, directory=self._home, log=log) as started:
            target = Target(base=f"http://127.0.0.1:{self._port}", api_key="", jwt="")
            healthy_at = await wait_until_healthy(target, started, name=self.name, timeout_s=START_WITHIN_S)
            if self._credentials is None:
                self._credentials = await self._make_user()
            target = replace(target, api_key=self._credentials.api_key, jwt=self._credentials.jwt)
            yield Running(target=target, launched_at=started.at, healthy_at=healthy_at, pid=started.process.pid)

    @asynccontextmanager
    async def starts(self) -> AsyncIterator[Sequence[tuple[str, System]]]:
        if EXTERNAL & self._added.keys():
            yield [(SERVERS_UP, self)]
            return
        whole = Product(self._home / "whole", environment=self._added)
        async with own_servers(self._home / "servers") as urls:
            alone = Product(self._home / "alone", environment={**self._added, **urls})
            async with alone.running():
                pass  # migrations and the user: what only the very first start does
            yield [(FROM_NOTHING, whole), (SECOND_START, whole), (SERVERS_UP, alone)]

    async def _make_user(self) -> Credentials:
        key, token = await asyncio.gather(
            self._command_line("apikey", "--email", EMAIL),
            self._command_line("token", "--email", EMAIL, "--ttl", "86400"),
        )
        url = self.environment().get("DATABASE_URL") or find_running(self._home, "postgres")
        if url is None:
            raise BenchmarkError(f"no embedded PostgreSQL runs on {self._home}")
        await trade_at_any_hour(url, user_id=jwt.decode(token, options={"verify_signature": False})["sub"])
        return Credentials(api_key=key, jwt=token)

    async def _command_line(self, *arguments: str) -> str:
        """Run `trendedge ...` beside the server; what it printed on stdout.

        :raises CommandFailed: it ended with an error, or printed nothing
        """
        command = [sys.executable, "-m", "trendedge", *arguments]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env=self.environment(),
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        printed = done.stdout.strip()
        if done.returncode != 0 or not printed:
            raise CommandFailed(["trendedge", *arguments], exit_code=done.returncode, log=done.stderr[-2000:])
        return printed

    def environment(self) -> dict[str, str]:
        """The caller's environment without his settings. The working directory is the home, so that no
        `.env` of the source tree is read either."""
        inherited = {name: value for name, value in os.environ.items() if name.upper() not in SETTINGS_OF_THE_CALLER}
        path = os.pathsep.join(filter(None, (str(SOURCE), inherited.get("PYTHONPATH"))))
        own = {"TRENDEDGE_HOME": str(self._home), "PORT": str(self._port), "PYTHONPATH": path}
        return {**inherited, **SETTINGS, **own, **self._added}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
