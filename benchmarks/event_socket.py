"""A receiving WebSocket client that leaves the machine to the server.

It offers no extension, answers the heartbeats of the protocol and of CONTRACT, and hands over each text frame with the
moment at which its bytes were read. A thousand of them fit in one process beside the server.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import cast

import orjson

from benchmarks.errors import SocketRefused
from benchmarks.target import Target

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

OnText = Callable[[bytes, float], None]
"""Called with a frame's text and the time (`perf_counter`) at which it was read."""


class EventSocket(asyncio.Protocol):
    """One WebSocket. `opened` is done once the server has agreed; `lost` says why it is no longer open."""

    def __init__(self, target: Target, on_text: OnText) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: str | None = None
        self._target, self._on_text = target, on_text
        self._buffer = bytearray()
        self._message = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not derive from it
        self._transport.write(self._target.handshake(base64.b64encode(os.urandom(16)).decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.lost = self.lost or f"connection lost: {exc or 'closed by the server'}"
        if not self.opened.done():
            self.opened.set_exception(SocketRefused(self.lost))
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        at = perf_counter()
        self._buffer += data
        if not self.opened.done() and not self._read_handshake():
            return
        while (frame := _take_frame(self._buffer)) is not None:
            self._received(*frame, at)

    def close(self) -> None:
        """Say goodbye and close; `closed` is done when the connection is gone."""
        self._write(CLOSE, (1000).to_bytes(2, "big"))
        if self._transport is not None:
            self._transport.close()

    def _read_handshake(self) -> bool:
        head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not separator:
            return False
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if " 101" not in status:
            self.lost = f"refused with {status!r}"
            if self._transport is not None:
                self._transport.close()
            return False
        self._buffer[:] = rest
        self.opened.set_result(None)
        return True

    def _received(self, final: bool, opcode: int, payload: bytes, at: float) -> None:
        if opcode == PING:
            self._write(PONG, payload)
        elif opcode == CLOSE:
            self.lost = f"closed by the server with {int.from_bytes(payload[:2], 'big') or 'no code'}"
            self.close()
        elif opcode in (CONTINUATION, TEXT, BINARY):
            self._message += payload
            if final:
                message = bytes(self._message)
                self._message.clear()
                self._text(message, at)

    def _text(self, message: bytes, at: float) -> None:
        # CONTRACT's heartbeat is a text frame; the cheap test first, as nearly all frames are events.
        if b'"ping"' in message[:64] and orjson.loads(message).get("type") == "ping":
            self._write(TEXT, b'{"type":"pong"}')
        else:
            self._on_text(message, at)

    def _write(self, opcode: int, payload: bytes) -> None:
        """Send one masked frame (a client must mask). Only what is short: control frames and the heartbeat."""
        if self._transport is None or self._transport.is_closing():
            return
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._transport.write(bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked)


def _take_frame(buffer: bytearray) -> tuple[bool, int, bytes] | None:
    """Cut the first whole frame off the buffer: is it final, its opcode, its payload. None while it is incomplete."""
    if len(buffer) < 2:
        return None
    size, start = buffer[1] & 0x7F, 2
    if size >= 126:
        start = 4 if size == 126 else 10
        if len(buffer) < start:
            return None
        size = int.from_bytes(buffer[2:start], "big")
    if len(buffer) < start + size:
        return None
    final, opcode, payload = bool(buffer[0] & 0x80), buffer[0] & 0x0F, bytes(buffer[start : start + size])
    del buffer[: start + size]
    return final, opcode, payload


async def open_socket(target: Target, on_text: OnText, *, timeout_s: float = 30.0) -> EventSocket:
    """Connect and wait for the server's consent.

    :raises SocketRefused: it did not consent, or closed before it did
    :raises OSError: nobody listens there, or nothing was said within `timeout_s`
    """
    make = partial(EventSocket, target, on_text)
    _, socket = await asyncio.get_running_loop().create_connection(make, *target.address)
    try:
        async with asyncio.timeout(timeout_s):
            await socket.opened
    except BaseException:
        socket.close()
        raise
    return socket
