"""What the front knows about the request in hand, read once from the ASGI scope."""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from trendedge.http.errors import ApiError, Code

if TYPE_CHECKING:
    from trendedge.http.limits import Verdict

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_UUID = re.compile(rb"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class Exchange:
    """One request and what is learnt about it on its way; also the handshake of a WebSocket."""

    __slots__ = (
        "_body_timeout_s",
        "_limit",
        "_receive",
        "act_id",
        "body_ended",
        "client",
        "headers",
        "method",
        "operator",
        "path",
        "request_id",
        "scope",
        "started",
        "user_id",
        "verdict",
    )

    def __init__(
        self, scope: Scope, receive: Receive, *, body_limit: int, body_timeout_s: float, address_header: str | None
    ) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        """Names in lower case, as ASGI promises; of a repeated header the last one."""
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.request_id = request_id(self.headers.get(b"x-request-id", b""))
        self.client = client_address(scope, self.headers, address_header)
        self.user_id: str | None = None
        self.operator: str | None = None
        """Who operates; set by the operators' door."""
        self.verdict: Verdict | None = None
        """Set by whoever asked a limit: its headers go out with the answer."""
        self.act_id: uuid.UUID | None = None
        """Where the audit expects to hear how this request ended; None for what is not audited."""
        self.body_ended = False
        self._receive = receive
        self._limit = body_limit
        self._body_timeout_s = body_timeout_s

    def header(self, name: bytes) -> str | None:
        """A header as text (latin-1, which takes any byte), or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def may_have_body(self) -> bool:
        """Whether the client may still be sending: then the connection must be drained before it is given up."""
        if self.body_ended:
            return False
        return (
            self.method not in _BODILESS
            or self.headers.get(b"content-length", b"0") != b"0"
            or b"transfer-encoding" in self.headers
        )

    async def read_body(self) -> bytes:
        """The whole body, counted while it comes in, so that an endless one is refused without being kept.

        :raises ApiError: 413 above the limit, 408 when it takes too long or ends early
        """
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._limit):
            raise self._too_large()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                return await self._collect()
        except TimeoutError:
            raise ApiError(Code.REQUEST_TIMEOUT, "The body did not arrive in time.") from None

    async def _collect(self) -> bytes:
        body = b""
        parts: list[bytes] = []
        length = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.body_ended = True
                raise ApiError(Code.REQUEST_TIMEOUT, "The body ended early.")
            if body := message.get("body", b""):
                length += len(body)
                if length > self._limit:
                    raise self._too_large()
                parts.append(body)
            if not message.get("more_body", False):
                self.body_ended = True
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> ApiError:
        return ApiError(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {self._limit} bytes.")

    async def discard_body(self) -> None:
        """Read and drop what the client still sends, until its body or the connection ends."""
        while not self.body_ended:
            message = await self._receive()
            self.body_ended = message["type"] == "http.disconnect" or not message.get("more_body", False)


_current: ContextVar[Exchange] = ContextVar("exchange")


def current() -> Exchange:
    """The exchange that the running handler serves."""
    return _current.get()


def enter(exchange: Exchange) -> None:
    """Make `exchange` the current one of this task."""
    _current.set(exchange)


def request_id(proposed: bytes) -> str:
    """The client's own id if it is a UUID, else a fresh one: what is logged cannot be chosen freely."""
    if _UUID.fullmatch(proposed):
        return proposed.decode("ascii")
    return str(uuid.uuid4())


def client_address(scope: Scope, headers: dict[bytes, bytes], header: str | None) -> str:
    """Where the request comes from. `header` names the one that a trusted proxy sets, None when there is no proxy."""
    if header is not None:
        value = headers.get(header.lower().encode("latin-1"), b"").decode("latin-1").strip()
        if value:
            return value[:64]
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
