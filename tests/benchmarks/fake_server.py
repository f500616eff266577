"""A server of the product's URLs that misbehaves on demand, over real sockets.

It nets positions as the product does: a buy from flat creates a trade, the sell back to flat closes it, all else is an
update.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from benchmarks.target import Match, Target

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, by the number at the end of an alert's id. An alert without a number is treated well."""

    lose: frozenset[int] = frozenset()
    double: frozenset[int] = frozenset()
    execute_twice: frozenset[int] = frozenset()
    """A second event, of another type: what a second execution of the same signal looks like."""
    refuse: frozenset[int] = frozenset()
    hang_up: frozenset[int] = frozenset()
    call_duplicate: frozenset[int] = frozenset()
    stall: dict[int, float] = field(default_factory=dict)
    """From the arrival of this alert on, nothing is answered for so many seconds."""
    event_delay_s: float = 0.0
    answer_after_event: bool = False
    not_on_socket: int | None = None
    """The socket with this number, from 0, gets no events."""


class FakeServer:
    """The state behind the URLs."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.alerts: list[dict[str, Any]] = []
        self.position, self.trades = 0, 0
        self.refuse_sockets = False
        self.hidden, self.page = "", 50
        self.closed_for_business = False
        self.trace: dict[str, Any] | None = None
        self._sockets: list[asyncio.StreamWriter] = []
        self._stalled_until = 0.0
        self._handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers[task] = writer
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def hang_up(self) -> None:
        """Close every connection, and wait until none is served any more."""
        for writer in self._handlers.values():
            writer.close()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        path = head.split(b" ", 2)[1].decode()
        if path.startswith("/api/v1/ws"):
            if self.refuse_sockets:
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return False
            await self._serve_socket(head, reader, writer)
            return False
        if path.startswith("/api/v1/webhooks/"):
            return await self._webhook(orjson.loads(body), writer)
        answers: dict[str, object] = {
            "/health": {"status": "ok"},
            "/api/v1/trades?limit=50": {"items": [{"id": str(n)} for n in range(min(self.trades, self.page))]},
            "/api/v1/positions": {"items": [{"quantity": str(self.position)}] if self.position else []},
        }
        if path.startswith("/api/v1/signals/") and self.trace is not None:
            answers[path] = self.trace
        found = path in answers and path != self.hidden
        _write(writer, 200 if found else 404, answers[path] if found else {"error": {}})
        return True

    async def _webhook(self, alert: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        self.alerts.append(alert)
        suffix = alert["alert_id"].rpartition("-")[2]
        number = int(suffix) if suffix.isdecimal() and len(suffix) < 6 else -1
        loop = asyncio.get_running_loop()
        self._stalled_until = max(self._stalled_until, loop.time() + self.faults.stall.get(number, 0.0))
        await asyncio.sleep(self._stalled_until - loop.time())
        if number in self.faults.refuse or self.closed_for_business:
            _write(writer, 503, {"error": {"code": "SERVICE_UNAVAILABLE"}})
            return True
        if number in self.faults.hang_up:
            return False
        signal_id = str(uuid4())
        status = "duplicate" if number in self.faults.call_duplicate else "accepted"
        if self.faults.answer_after_event:
            self._execute(alert, number, signal_id)
            await asyncio.sleep(0.01)
            _write(writer, 202, {"signal_id": signal_id, "status": status, "request_id": str(uuid4())})
        else:
            _write(writer, 202, {"signal_id": signal_id, "status": status, "request_id": str(uuid4())})
            if status == "accepted":
                self._execute(alert, number, signal_id)
        return True

    def _execute(self, alert: dict[str, Any], number: int, signal_id: str) -> None:
        before = self.position
        self.position += alert["quantity"] if alert["action"] == "buy" else -alert["quantity"]
        self.trades += before == 0
        kind = "created" if before == 0 else "updated" if self.position else "closed"
        data = {"signal_id": signal_id, "trade_id": str(self.trades), "alert_id": alert["alert_id"]}
        kinds = [] if number in self.faults.lose else [kind]
        kinds += [kind] if number in self.faults.double else []
        kinds += ["updated" if kind != "updated" else "closed"] if number in self.faults.execute_twice else []
        for each in kinds:
            frame = orjson.dumps({"type": f"trade.{each}", "id": str(uuid4()), "at": "", "data": data})
            if self.faults.event_delay_s:
                asyncio.get_running_loop().call_later(self.faults.event_delay_s, self._broadcast, frame)
            else:
                self._broadcast(frame)

    def _broadcast(self, payload: bytes) -> None:
        for number, socket in enumerate(self._sockets):
            if number != self.faults.not_on_socket and not socket.is_closing():
                socket.write(text_frame(payload))

    async def _serve_socket(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = re.search(rb"sec-websocket-key: (\S+)", head)
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest()) if key else b""
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n")
        writer.write(b"sec-websocket-accept: " + accept + b"\r\n\r\n" + text_frame(b'{"type":"hello"}'))
        self._sockets.append(writer)
        await reader.read()


def text_frame(payload: bytes) -> bytes:
    """One unmasked text frame of up to 65,535 bytes."""
    size = bytes((len(payload),)) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return b"\x81" + size + payload


def _write(writer: asyncio.StreamWriter, status: int, answer: object) -> None:
    body = orjson.dumps(answer)
    writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)


@asynccontextmanager
async def fake_server(
    faults: Faults | None = None, *, match: Match = Match.SIGNAL_ID
) -> AsyncIterator[tuple[FakeServer, Target]]:
    """Serve on a free port of the loopback interface."""
    fake = FakeServer(faults or Faults())
    server = await asyncio.start_server(fake.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield fake, Target(base=f"http://127.0.0.1:{port}", api_key="key", jwt="token", match=match)
    finally:
        server.close()
        await fake.hang_up()
        await server.wait_closed()
