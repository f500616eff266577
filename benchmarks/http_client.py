"""A keep-alive HTTP/1.1 client that leaves the machine to the server.

The load shares the machine with what it measures. A client library costs as much processor time for one request as
the product spends on it; a protocol that feeds llhttp costs a twentieth.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import httptools

IDLE_LIMIT_S = 2.0
"""An idle connection older than this is not used again: servers close theirs after about 5 s, and an alert that meets
the closing would count as failed though nobody refused it."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer, and when its last byte was read (`perf_counter`)."""

    status: int
    body: bytes
    at: float


class HttpConnection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: "HttpPool") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response] | None = None
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._used_at = perf_counter()

    @property
    def usable(self) -> bool:
        """Open, and used recently enough that the server still has it open too."""
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and perf_counter() - self._used_at < IDLE_LIMIT_S

    def send(self, request: bytes, answer: asyncio.Future[Response]) -> None:
        """Write a request; `answer` gets its response, or a ConnectionError."""
        if self._transport is None:
            answer.set_exception(ConnectionError("not connected"))
            return
        self._answer = answer
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not derive from it
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionError(f"connection lost: {exc or 'closed by the server'}"))
        self._pool.lost(self)

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._used_at = perf_counter()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(Response(self._parser.get_status_code(), b"".join(self._body), self._used_at))
        if self._parser.should_keep_alive():
            self._pool.freed(self)
        else:
            self.close()


class HttpPool:
    """As many connections as there are requests under way, up to `limit`; what exceeds it waits, and is timed waiting.

    Connections are used in turn, the longest idle first, which keeps all of them alive at a low rate.
    """

    def __init__(self, address: tuple[str, int], *, limit: int = 1024) -> None:
        self.address, self._limit = address, limit
        self._idle: deque[HttpConnection] = deque()
        self._waiting: deque[tuple[bytes, asyncio.Future[Response]]] = deque()
        self._open: set[HttpConnection] = set()
        self._connecting: set[asyncio.Task[HttpConnection]] = set()
        self._closing = False
        self._emptied = asyncio.Event()

    async def open(self, connections: int) -> None:
        """Connect ahead of the load.

        :raises OSError: nobody listens there
        """
        for _ in range(connections):
            self._idle.append(await self._connect())

    def submit(self, request: bytes) -> asyncio.Future[Response]:
        """Send now, on an idle connection or a new one. The future may end in OSError; it is never retried."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        while self._idle:
            connection = self._idle.popleft()
            if connection.usable:
                connection.send(request, answer)
                return answer
            connection.close()
        self._waiting.append((request, answer))
        self._grow()
        return answer

    async def close(self) -> None:
        """Close every connection and wait until all are gone. Requests under way end in ConnectionError."""
        self._closing = True
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for _, answer in self._waiting:
            answer.cancel()
        for connection in list(self._open):
            connection.close()
        if self._open:
            await self._emptied.wait()

    def made(self, connection: HttpConnection) -> None:
        """A connection is up; it is the pool's until it is lost."""
        self._open.add(connection)

    def freed(self, connection: HttpConnection) -> None:
        """A connection's answer is complete: it takes the request that waits longest."""
        while self._waiting:
            request, answer = self._waiting.popleft()
            if not answer.done():
                connection.send(request, answer)
                return
        self._idle.append(connection)

    def lost(self, connection: HttpConnection) -> None:
        """A connection is gone: requests that waited for it get another."""
        self._open.discard(connection)
        if self._waiting and not self._closing:
            self._grow()
        if self._closing and not self._open:
            self._emptied.set()

    def _grow(self) -> None:
        if len(self._open) + len(self._connecting) >= self._limit:
            return
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    async def _connect(self) -> HttpConnection:
        connection = HttpConnection(self)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, *self.address)
        except BaseException:
            # Cancelled between `connection_made` and here, uvloop closes the transport and tells nobody: there is no
            # `connection_lost`, for which `close` would wait for ever.
            self._open.discard(connection)
            raise
        return connection

    def _connected(self, task: asyncio.Task[HttpConnection]) -> None:
        self._connecting.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.freed(task.result())
            return
        if self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)
        if self._waiting and not self._closing:
            self._grow()
