"""Tokens, and small honest stand-ins for the actors that the front speaks to."""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import hypercorn.asyncio
import jwt
from hypercorn.config import Config

from tests.runtime.support import running
from trendedge.actors.keyring import KeyOwner
from trendedge.actors.messages import Receipt, ReceiveAlert
from trendedge.actors.sockets import Sockets, Subscriber
from trendedge.http.app import Front
from trendedge.http.server import Bind
from trendedge.http.server import Front as FrontService
from trendedge.runtime import ServiceSpec, SupervisorSpec

SECRET = "a-shared-secret-for-tests-of-at-least-32-bytes"
SUPABASE_URL = "https://project.supabase.test"
ISSUER = f"{SUPABASE_URL}/auth/v1"
OPERATOR_KEY = "operator-key-for-tests"


def claims_for(user_id: str, **changes: Any) -> dict[str, Any]:
    """The claims of a Supabase user token; a change to None removes the claim."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "authenticated",
        "exp": now + 3600,
        "iat": now,
        "sub": user_id,
        "role": "authenticated",
        "aal": "aal1",
        "session_id": str(uuid.uuid4()),
        "email": f"{user_id[:8]}@example.com",
        "phone": "",
        "is_anonymous": False,
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def token_for(user_id: str, *, secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A signed token."""
    return jwt.encode(claims_for(user_id, **changes), secret, algorithm=algorithm)


GOOD_KEY = "te_a-webhook-key-for-tests-0123456789"
OWNER = KeyOwner(str(uuid.uuid4()), str(uuid.uuid4()), ())


@dataclass
class Keys:
    """A keyring of a handful of keys."""

    owners: dict[str, KeyOwner] = field(default_factory=lambda: {GOOD_KEY: OWNER})
    asked: list[str] = field(default_factory=list)
    reloads: int = 0

    async def owner_of(self, key: str) -> KeyOwner | None:
        """As the real one."""
        self.asked.append(key)
        return self.owners.get(key)

    async def reload(self) -> None:
        """As the real one."""
        self.reloads += 1


@dataclass
class RecordingIntake:
    """Remembers what it was asked, and answers with a receipt or with the error that a test sets."""

    received: list[ReceiveAlert] = field(default_factory=list)
    error: Exception | None = None

    async def ask(self, request: ReceiveAlert, *, timeout_s: float, deadline_s: float) -> Receipt:
        """As an `ActorRef` to the real one."""
        assert deadline_s < timeout_s < 3
        if self.error is not None:
            raise self.error
        self.received.append(request)
        return Receipt(str(uuid.uuid5(uuid.NAMESPACE_OID, request.request_id)), "accepted")


@dataclass
class Waiting:
    """Signals without an outcome, by user and id."""

    signals: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def find(self, user_id: str, signal_id: str) -> dict[str, Any] | None:
        """As `PendingSignals`."""
        return self.signals.get((user_id, signal_id))


class WatchedSockets(Sockets):
    """The real ones; a test can wait for how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def attach(self, user_id: str) -> Subscriber:
        """As `Sockets`."""
        subscriber = super().attach(user_id)
        self._changed.set()
        return subscriber

    def detach(self, subscriber: Subscriber) -> None:
        """As `Sockets`."""
        super().detach(subscriber)
        self._changed.set()

    async def until(self, count: int) -> None:
        """Wait until that many are attached."""
        while self.count() != count:
            self._changed.clear()
            await self._changed.wait()


@dataclass
class FixedTree:
    """A tree of two actors."""

    alive: int = 2

    def actors(self) -> list[dict[str, Any]]:
        """As `Inspector`."""
        return [
            {"path": "trendedge/trading/executor", "kind": "actor", "status": "running"},
            {"path": "trendedge/front", "kind": "service", "status": "running"},
        ]

    def find(self, path: str) -> dict[str, Any] | None:
        """As `Inspector`."""
        return next((actor for actor in self.actors() if actor["path"] == path), None)

    def running(self) -> tuple[int, int]:
        """As `Inspector`."""
        return self.alive, 2

    def breakers(self) -> list[dict[str, Any]]:
        """As `Inspector`."""
        return []

    def loop_lag_ms(self) -> dict[str, float | None]:
        """As `Inspector`."""
        return {"last_ms": 0.0, "p50_ms": None, "p99_ms": None, "worst_ms": 0.0}


@dataclass
class Journal:
    """The state of the journal, to be set."""

    degraded: bool = False


@dataclass(frozen=True)
class Served:
    """A server on the loopback."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where it answers HTTP."""
        return f"http://{self.host}:{self.port}"

    @property
    def socket_url(self) -> str:
        """Where it answers WebSockets."""
        return f"ws://{self.host}:{self.port}/api/v1/ws"


@asynccontextmanager
async def serve(app: Front) -> AsyncIterator[Served]:
    """Serve with hypercorn on a free port until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = 0.1
    config.accesslog = config.errorlog = None
    stop = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))
    try:
        yield Served(*listener.getsockname()[:2])
    finally:
        stop.set()
        await task
        listener.detach()


@asynccontextmanager
async def serve_as_product(app: Front, sockets: WatchedSockets) -> AsyncIterator[Served]:
    """Serve as the product does, with its own listener, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host, port = probe.getsockname()[:2]
    spec = SupervisorSpec(
        "test",
        [ServiceSpec("front", lambda: FrontService(app, Bind(host, port), close_sockets=sockets.close_all))],
    )
    async with running(spec):
        yield Served(host, port)
