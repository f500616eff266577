"""What the front needs of the rest of the process, and its own configuration. The composition root fills it in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from trendedge.actors.keyring import KeyOwner
from trendedge.actors.messages import Receipt, ReceiveAlert
from trendedge.actors.sockets import Subscriber
from trendedge.http.limits import RateLimits
from trendedge.storage.postgres import Database


class Keyring(Protocol):
    """Knows whose webhook key it is, also while PostgreSQL is down."""

    async def owner_of(self, key: str) -> KeyOwner | None:
        """Compared in constant time against stored hashes; None for a key that nobody has."""
        ...

    async def reload(self) -> None:
        """Take note of keys that were made or revoked."""
        ...


class Intake(Protocol):
    """The actor that makes an alert durable."""

    async def ask(self, request: ReceiveAlert, *, timeout_s: float, deadline_s: float) -> Receipt:
        """Raises the errors of `runtime.errors` when the alert is durable nowhere."""
        ...


class Hub(Protocol):
    """Where this process' sockets meet their users' events."""

    def attach(self, user_id: str) -> Subscriber:
        """Raises `TooManyConnections` for a user who has enough of them, `GoingAway` while the process stops."""
        ...

    def detach(self, subscriber: Subscriber) -> None:
        """Forget the subscriber; harmless when it is gone already."""
        ...

    def count(self) -> int:
        """How many are attached."""
        ...


class Tree(Protocol):
    """The supervision tree as an operator sees it."""

    def actors(self) -> list[dict[str, Any]]:
        """Every actor, parents before their children."""
        ...

    def find(self, path: str) -> dict[str, Any] | None:
        """One of them."""
        ...

    def running(self) -> tuple[int, int]:
        """(running, expected) numbers of actors."""
        ...

    def breakers(self) -> list[dict[str, Any]]:
        """The circuit breakers, each with its `actor`, `name` and `state`."""
        ...

    def loop_lag_ms(self) -> dict[str, float | None]:
        """How late the event loop is."""
        ...


class Controls(Protocol):
    """What an operator may do to the actors. All raise `runtime.control.UnknownActor`."""

    def suspend(self, path: str) -> None:
        """Raises `NotSuspendable` for what has no mailbox."""
        ...

    def resume(self, path: str) -> None:
        """As `suspend`."""
        ...

    async def restart(self, path: str) -> None:
        """Returns when it is ready again. Raises `NotRestartable` for the root."""
        ...

    def reset_breaker(self, name: str) -> None:
        """Close it. Raises `UnknownBreaker`."""
        ...


class DeadLetters(Protocol):
    """What was given up. All but `mailboxes` raise `JournalUnavailable`, and for an unknown id `UnknownDeadLetter`."""

    def mailboxes(self) -> list[str]:
        """Names of the mailboxes that can have any."""
        ...

    async def page(
        self, *, mailbox: str | None, after: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """(letters, where to go on)."""
        ...

    async def find(self, id: str) -> dict[str, Any]:
        """One of them."""
        ...

    async def message(self, id: str) -> Any:
        """What it says. Raises `UnreadableDeadLetter`."""
        ...

    async def replay(self, id: str) -> None:
        """Deliver it again. Raises `UnreadableDeadLetter`."""
        ...

    async def discard(self, id: str) -> None:
        """Remove it."""
        ...


class Lanes(Protocol):
    """Where actors hand off work."""

    def snapshot(self) -> list[dict[str, Any]]:
        """All of them, each with its `name`, ready for JSON."""
        ...


class Schedules(Protocol):
    """What runs by the clock."""

    def snapshot(self) -> list[dict[str, Any]]:
        """All of them, each with its `id`, ready for JSON."""
        ...

    async def run_now(self, id: str) -> None:
        """Post the schedule's message now; its next time stays as it is. Raises `UnknownSchedule`."""
        ...


class Store(Protocol):
    """A store as the health checks see it."""

    @property
    def address(self) -> str:
        """For people, without credentials."""
        ...

    @property
    def version(self) -> str | None:
        """Of the server; known after the first `ping`."""
        ...

    async def ping(self) -> float:
        """Seconds to an answer. Raises `StoreUnavailable`."""
        ...


class JournalState(Protocol):
    """Whether the journal has had to fall back on its second store."""

    @property
    def degraded(self) -> bool:
        """True while one of its stores is down or not yet caught up."""
        ...


class Pending(Protocol):
    """What is accepted and has no outcome yet."""

    def find(self, user_id: str, signal_id: str) -> dict[str, Any] | None:
        """The decision trace so far of one signal of this user."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """Times in seconds and sizes of one WebSocket (PRD INF-FR-012)."""

    auth_timeout_s: float = 5.0
    ping_interval_s: float = 30.0
    pong_timeout_s: float = 80.0
    """Two pings in a row unanswered; the promise to clients is 90 s."""
    recheck_s: float = 900.0
    """The token is looked at again at least this often, and when it expires."""
    send_timeout_s: float = 10.0
    """A client that takes longer to accept a frame is dropped."""
    frame_bytes: int = 16_384
    frames_per_minute: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSettings:
    """The front's configuration. Addresses in seconds and bytes; secrets do not show in its repr."""

    environment: str
    version: str
    supabase_url: str
    jwt_secret: str = field(repr=False)
    operator_key: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()
    rate_limits: RateLimits = field(default_factory=RateLimits)
    sockets: SocketLimits = field(default_factory=SocketLimits)
    address_header: str | None = None
    """Header in which a trusted proxy gives the client's address (`X-Real-IP` on Railway); None without a proxy."""
    body_limit: int = 65_536
    body_timeout_s: float = 30.0
    answer_timeout_s: float = 2.5
    """How long a webhook waits for its alert to become durable. TradingView gives up after 3 s."""
    begin_within_s: float = 2.0
    """An alert whose turn at intake comes later than this is not begun any more: it will be, or was, answered 503, and
    must not trade then. What is left of `answer_timeout_s` is for its append."""
    retry_after_s: int = 5
    restart_wait_s: float = 2.0
    """How long a restart is waited for. Less than the front gives its open requests at its end: it can be the one."""

    @property
    def issuer(self) -> str:
        """Who signs the tokens that are accepted here."""
        return f"{self.supabase_url.rstrip('/')}/auth/v1"


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that a handler may reach for."""

    settings: FrontSettings
    database: Database
    redis: Store
    journal: JournalState
    keyring: Keyring
    intake: Intake
    pending: Pending
    hub: Hub
    tree: Tree
    controls: Controls
    dead_letters: DeadLetters
    lanes: Lanes
    schedules: Schedules
    rehearse: Callable[[Any], Awaitable[dict[str, Any]]]
    """What the replay of a dead letter's message would do now, as JSON."""
    clock: Callable[[], datetime] = utc_now
