"""HTTP as bytes, for what no client library agrees to send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import h11
from anyio.abc import SocketStream

from tests.system.waiting import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: an answer, or the end of the connection without one (`status` 0)."""

    status: int
    body: bytes


CLOSED = Reply(0, b"")


class Wire:
    """One connection, on which one request is made."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._parser = h11.Connection(h11.CLIENT)
        # h11 reads an answer only after a request; which one it was makes no difference.
        self._parser.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "1")]))

    async def send(self, data: bytes) -> None:
        """Send bytes; a peer that has had enough is no error."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def reply(self, *, within_s: float = PATIENCE_S) -> Reply:
        """Wait for the answer or for the end of the connection.

        :raises TimeoutError: neither came
        """
        status, body = 0, b""
        with anyio.fail_after(within_s):
            while True:
                match event := self._parser.next_event():
                    case h11.NEED_DATA:
                        self._parser.receive_data(await self._received())
                    case h11.Response(status_code=code):
                        status = code
                    case h11.Data(data=data):
                        body += bytes(data)
                    case h11.EndOfMessage() | h11.ConnectionClosed():
                        return Reply(status, body)
                    case _:
                        assert isinstance(event, h11.InformationalResponse), event

    async def close(self) -> None:
        """Give up, without waiting for anything."""
        await self._stream.aclose()

    async def _received(self) -> bytes:
        try:
            return await self._stream.receive(65_536)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Wire]:
    """A connection to the product, closed when the block ends."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Wire(stream)
