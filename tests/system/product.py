"""The product as a user runs it: one process with a home of its own, started, killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt

from tests.system.ledger import Ledger
from tests.system.person import Person
from tests.system.waiting import eventually
from trendedge.actors.keyring import hash_key, new_key
from trendedge.storage.api_keys import insert_api_key
from trendedge.storage.embedded import find_running
from trendedge.storage.postgres import open_database
from trendedge.storage.users import ensure_user

SOURCE = Path(__file__).resolve().parents[2]
OPERATOR_KEY = "operator-4f1c9a7e5b2d8036"
SUPABASE_URL = "https://supabase.example"
JWT_SECRET = "0d6b1e27c94f48a8b3f5d2e1907c6ab4"
START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
"""The issue's bound for a stop by SIGTERM."""

UNLIMITED = "100000000"
SETTINGS: Mapping[str, str] = {
    "APP_ENV": "development",
    "LOG_LEVEL": "INFO",
    "OPERATOR_API_KEY": OPERATOR_KEY,
    "SUPABASE_URL": SUPABASE_URL,
    "SUPABASE_JWT_SECRET": JWT_SECRET,
    **{f"RATE_LIMIT_{name}": UNLIMITED for name in ("AUTH", "WEBHOOK", "READ", "WRITE", "ANALYTICS")},
}
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
"""Of the caller's environment; nothing that could point the product at somebody's real servers."""

_LEASHED = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM: a killed test run leaves nothing behind
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Product:
    """One installation. `spawn` may be called again after the process has ended, and finds what the last one left."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.port = free_port()
        self.log = home / "stdout.log"
        self.errors = home / "stderr.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/v1/ws"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was spawned last, running or not."""
        if self._process is None:
            raise LookupError("the product was never started")
        return self._process

    def spawn(self) -> None:
        """Start the process and return at once. From the main thread: the kernel watches the thread that spawns."""
        assert not self.running, "it runs already"
        with self.log.open("ab") as log, self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LEASHED, "-m", "trendedge", "serve"],
                env=self.environment(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Start the process and wait until it is ready for everything."""
        self.spawn()
        await self.until_ready()

    async def until_ready(self) -> None:
        """Wait for `/health/ready` to say ok."""

        async def ready() -> bool:
            assert self.running, f"it ended with {self.process.poll()}:\n{self.last_words()}"
            answer = await self.get_or_none("/health/ready")
            return answer is not None and answer.status_code == 200

        try:
            await eventually(ready, "/health/ready answers 200", within_s=START_WITHIN_S)
        except AssertionError as error:
            error.add_note(self.last_words())
            raise

    async def get_or_none(self, path: str, *, timeout_s: float = 5.0) -> httpx.Response | None:
        """One GET over a fresh connection; None when there is no answer."""
        try:
            async with self.client(timeout_s=timeout_s) as client:
                return await client.get(path)
        except httpx.TransportError:
            return None

    def client(self, *, timeout_s: float = 15.0) -> httpx.AsyncClient:
        """A client without any credentials."""
        return httpx.AsyncClient(base_url=self.base_url, timeout=timeout_s, trust_env=False)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, to this process alone."""
        self.process.send_signal(signal.SIGKILL)

    async def ended(self, *, within_s: float = STOP_WITHIN_S) -> int:
        """Wait for the end of the process; its exit code, negative for a signal."""

        async def over() -> tuple[int] | None:
            code = self.process.poll()
            return None if code is None else (code,)

        (code,) = await eventually(over, f"the process ends\n{self.last_words()}", within_s=within_s)
        return code

    async def command(self, *arguments: str) -> str:
        """Run `trendedge ...` beside the process; what it printed on stdout, and nothing else."""
        done = await anyio.run_process(
            [sys.executable, "-m", "trendedge", *arguments],
            env=self.environment(),
            cwd=self.home,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"trendedge {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode()

    async def person_by_hand(self, name: str, *, role: str | None = None) -> Person:
        """A user made with the command line, as anybody would do it, whose account may trade at any hour.

        The exchange's hours are taken out of the way because tests run on weekends too.
        """
        email = f"{name}@example.com"
        in_role = ("--role", role) if role else ()
        key = await self.command("apikey", "--email", email, "--name", "system test")
        token = await self.command("token", "--email", email, "--ttl", "7200", *in_role)
        assert key.count("\n") <= 1, f"more than the key on stdout: {key!r}"
        assert token.count("\n") <= 1, f"more than the token on stdout: {token!r}"
        person = Person(email=email, key=key.strip(), token=token.strip())
        await self.ledger.change_account(person.id, any_hour=True)
        return person

    async def person(self, name: str) -> Person:
        """The same made from here, which takes milliseconds and not seconds."""
        email, key = f"{name}@example.com", new_key()
        async with open_database(self.database_url, pool_size=1) as database:
            user = await ensure_user(database, email=email, any_hour=True)
            await insert_api_key(database, user_id=user.id, name="test", key_hash=hash_key(key), hint=key[-4:])
        return Person(email=email, key=key, token=token_of(user.id, email))

    @property
    def ledger(self) -> Ledger:
        """What is in PostgreSQL, read past the product."""
        return Ledger(self.database_url)

    @property
    def database_url(self) -> str:
        return self._environment.get("DATABASE_URL") or self._embedded("postgres")

    @property
    def redis_url(self) -> str:
        return self._environment.get("UPSTASH_REDIS_URL") or self._embedded("valkey")

    def records(self) -> list[dict[str, Any]]:
        """The log so far, without what is written for the person who started it."""
        whole = self.log.read_text("utf-8").rpartition("\n")[0]  # the last line may be half written
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def last_words(self) -> str:
        """The end of what it wrote."""
        tails = (path.read_text("utf-8", "replace").splitlines()[-15:] for path in (self.log, self.errors))
        return "\n".join(line for tail in tails for line in tail)

    def environment(self) -> dict[str, str]:
        """Of the process and of the command line beside it."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {"TRENDEDGE_HOME": str(self._trendedge_home), "PORT": str(self.port), "PYTHONPATH": str(SOURCE)}
        return kept | dict(SETTINGS) | own | self._environment

    def _embedded(self, server: str) -> str:
        url = find_running(self._trendedge_home, server)
        assert url is not None, f"no {server} runs on {self._trendedge_home}"
        return url

    @property
    def _trendedge_home(self) -> Path:
        return self.home / "home"


def token_of(user_id: str, email: str) -> str:
    """A token as Supabase signs them."""
    now = int(time.time())
    claims = {"sub": user_id, "email": email, "role": "authenticated", "iat": now, "exp": now + 7200}
    claims |= {"iss": f"{SUPABASE_URL}/auth/v1", "aud": "authenticated"}
    return jwt.encode(claims, JWT_SECRET, algorithm="HS256")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
