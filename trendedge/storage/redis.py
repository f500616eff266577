"""Redis (or what speaks its protocol) behind one small class: short waits, no silent retries, one kind of error.

redis-py by default repeats a command ten times. A repeated XADD doubles an entry and a repeated SET NX takes its own
success for somebody else's: here a command is sent once, and the caller decides what an unknown outcome means.
"""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from trendedge.storage.errors import InvalidStoreUrl, StoreUnavailable
from trendedge.storage.redis_pipe import Endpoint, Pipe

STORE = "Redis"
_LIKE = "it must look like redis://host:port/number"

type Argument = str | bytes | int | float

_UNABLE = (
    *("LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "NOREPLICAS", "BUSY", "CLUSTERDOWN", "TRYAGAIN"),
    *("NOPERM", "ACL failure in script"),
    *("max daily request limit", "max requests limit", "max concurrent connections", "DB capacity quota"),
)
"""Answers of a server that speaks but cannot work, within a script or without: still loading, a replica or without its
own, memory or disk full, a cluster that is being mended; we may not; what was paid for is used up (Upstash)."""
_UNABLE_AS_THE_DRIVER_SAYS = (ClusterDownError, NoPermissionError, OutOfMemoryError, ReadOnlyError, TryAgainError)
"""What redis-py, by which is listened, makes of some of these: their text is without the code."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that runs as one atomic step. The server remembers it by its digest."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Published:
    """One message from a channel that was listened to."""

    channel: str
    payload: bytes


class RedisStore:
    """One Redis server. Answers are bytes.

    Every method raises `StoreUnavailable` when the server cannot be reached or does not answer within the time-out.
    Connections are opened when they are first needed.
    """

    def __init__(self, pipe: Pipe, listener: Redis, address: str) -> None:
        self._execute = pipe.execute
        self._listener = listener
        self.address = address
        """`host:port/number`, for people; never with credentials."""
        self.version: str | None = None
        """The server's version, known after the first `ping`."""

    async def command(self, *words: Argument) -> Any:
        """Send one command, once."""
        with unavailable_as_such():
            return await self._execute(*words)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script: one command, or two when the server has forgotten it (restart, SCRIPT FLUSH)."""
        with unavailable_as_such():
            try:
                return await self._execute("EVALSHA", script.sha, len(keys), *keys, *args)
            except ResponseError as error:
                if not str(error).startswith("NOSCRIPT"):
                    raise
                return await self._execute("EVAL", script.source, len(keys), *keys, *args)

    async def publish(self, channel: str, payload: bytes) -> int:
        """Publish; the number of listeners that the server knows of."""
        return int(await self.command("PUBLISH", channel, payload))

    @asynccontextmanager
    async def listen(self, *patterns: str) -> AsyncGenerator[AsyncIterator[Published]]:
        """What is published on channels that match the patterns, from the moment the block begins.

        The iterator raises `StoreUnavailable` when the connection is lost. It does not subscribe again by itself:
        what was published in between is gone, and whoever listens has to know.
        """
        pubsub = self._listener.pubsub(ignore_subscribe_messages=True)
        try:
            with unavailable_as_such():
                await pubsub.psubscribe(*patterns)
            yield _messages(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves this method untyped

    async def ping(self) -> float:
        """Seconds that a PING takes, the wait for a connection included. Asks for the version once."""
        begun = time.perf_counter()
        await self.command("PING")
        taken = time.perf_counter() - begun
        if self.version is None:
            self.version = _version(await self.command("INFO", "server"))
        return taken


async def _messages(pubsub: Any) -> AsyncIterator[Published]:
    with unavailable_as_such():
        async for message in pubsub.listen():
            yield Published(channel=message["channel"].decode(), payload=message["data"])


def _version(info: Any) -> str:
    for line in bytes(info).decode().splitlines():
        name, _, value = line.partition(":")
        if name == "redis_version":
            return value
    return "unknown"


@contextmanager
def unavailable_as_such() -> Generator[None]:
    """Turn what the driver raises about a server that is away into `StoreUnavailable`; our own mistakes pass."""
    try:
        yield
    except ResponseError as error:
        if not (str(error).startswith(_UNABLE) or isinstance(error, _UNABLE_AS_THE_DRIVER_SAYS)):
            raise
        raise StoreUnavailable(STORE, str(error)) from error
    except (RedisError, OSError) as error:
        raise StoreUnavailable(STORE, str(error) or type(error).__name__) from error


@asynccontextmanager
async def open_redis(url: str, *, timeout_s: float = 0.5, connect_timeout_s: float = 0.5) -> AsyncIterator[RedisStore]:
    """Connections to `url` (`redis://`, `rediss://`), closed when the block ends. Listening has a client of its own.

    :raises InvalidStoreUrl: the url names no Redis server
    """
    # Protocol 2 and no library name: the handshake is then nothing but AUTH and SELECT, and each of them is billed.
    pool = ConnectionPool(
        **_options(url),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
        socket_connect_timeout=connect_timeout_s,
        socket_timeout=None,
        socket_keepalive=True,
    )
    listener: Redis = Redis.from_pool(pool)
    pipe = Pipe(_endpoint(pool), connect_s=connect_timeout_s, answer_s=timeout_s)
    try:
        yield RedisStore(pipe, listener, address_of(url))
    finally:
        await pipe.aclose()
        await listener.aclose()


def _endpoint(pool: ConnectionPool) -> Endpoint:
    """What the url says, as the driver understands it."""
    options, connection = pool.connection_kwargs, pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    return Endpoint(
        host=options.get("host", "localhost"),
        port=options.get("port", 6379),
        tls=connection.ssl_context.get() if isinstance(connection, SSLConnection) else None,
        username=options.get("username"),
        password=options.get("password"),
        database=options.get("db", 0),
    )


def address_of(url: str) -> str:
    """`host:port/number` of a url, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}/{parts.path.lstrip('/') or '0'}"


def _options(url: str) -> dict[str, Any]:
    try:
        options = dict(parse_url(url))
        parts = urlsplit(url)
        usable = parts.scheme in ("redis", "rediss") and parts.port != 0  # not the path of a socket, say
    except ValueError as error:
        raise InvalidStoreUrl(STORE, _LIKE) from error
    if not usable:
        raise InvalidStoreUrl(STORE, _LIKE)
    return options
