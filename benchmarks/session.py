"""A user with a socket open and a pool of connections to post alerts through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from uuid import uuid4

from benchmarks.errors import SocketRefused
from benchmarks.event_socket import EventSocket, open_socket
from benchmarks.http_client import HttpPool, Response
from benchmarks.ledger import Ledger
from benchmarks.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what was acknowledged before it counts as lost. Bounded, whatever the server does."""

    answer_s: float = 30.0
    """For the answers after the last POST; those that are missing then count as failed."""
    quiet_s: float = 15.0
    """Give up when nothing has arrived for so long."""
    limit_s: float = 90.0
    """Give up in any case."""
    linger_s: float = 0.5
    """Go on listening after the last missing event: a doubled one comes late."""


class AlertSession:
    """Posts alerts, and books answers and events in `ledger`."""

    def __init__(self, target: Target, pool: HttpPool) -> None:
        self.ledger = Ledger(target.match)
        self._target, self._pool = target, pool
        self._run, self._sent = uuid4().hex[:12], 0
        self._unanswered: set[asyncio.Future[Response]] = set()
        self._heard_at = perf_counter()

    def fire(self, due_at: float) -> asyncio.Future[Response]:
        """Send the next alert now; it was due at `due_at`. Buys and sells in turn."""
        alert_id = f"{self._run}-{self._sent}"
        action = "sell" if self._sent % 2 else "buy"
        self._sent += 1
        answer = self._pool.submit(self._target.alert(alert_id, action=action))
        self.ledger.send(alert_id, due_at=due_at, sent_at=perf_counter())
        self._unanswered.add(answer)
        answer.add_done_callback(partial(self._answered, alert_id))
        return answer

    def on_text(self, payload: bytes, at: float) -> None:
        """For the socket: a frame has arrived."""
        self._heard_at = at
        self.ledger.frame(payload, at)

    async def settle(self, patience: Patience) -> None:
        """Wait until all is answered and delivered, or patience ends."""
        if self._unanswered:
            await asyncio.wait(self._unanswered, timeout=patience.answer_s)
        started = self._heard_at = perf_counter()
        while self.ledger.undelivered:
            if perf_counter() - started > patience.limit_s or perf_counter() - self._heard_at > patience.quiet_s:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(patience.linger_s)

    def _answered(self, alert_id: str, answer: asyncio.Future[Response]) -> None:
        self._unanswered.discard(answer)
        if answer.cancelled() or answer.exception() is not None:
            return
        response = answer.result()
        self.ledger.answer(alert_id, status=response.status, body=response.body, at=response.at)


@asynccontextmanager
async def open_session(target: Target, *, connections: int) -> AsyncIterator[AlertSession]:
    """Open a socket and `connections` HTTP connections; close all of them in the end.

    :raises SocketRefused: the server did not let the socket in, or closed it before the end: what was counted then
        says nothing about losses
    :raises OSError: nobody listens there
    """
    pool = HttpPool(target.address)
    session = AlertSession(target, pool)
    socket: EventSocket | None = None
    try:
        await pool.open(connections)
        socket = await open_socket(target, session.on_text)
        yield session
        if socket.lost is not None:
            raise SocketRefused(socket.lost)
    finally:
        if socket is not None:
            socket.close()
            await socket.closed
        await pool.close()
