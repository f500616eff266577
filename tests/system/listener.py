"""A WebSocket of a trader, and the events that came over it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.system.waiting import PATIENCE_S

GOING_AWAY = 1001


class Listener:
    """Answers pings, and keeps every event that nobody has asked for yet."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def event(self, type: str, **data: Any) -> dict[str, Any]:
        """The next event of this type whose `data` has these values; others before it are dropped.

        :raises AssertionError: it did not come, or the socket was closed before
        """
        seen: list[dict[str, Any]] = []
        with anyio.move_on_after(PATIENCE_S):
            async for frame in self.frames():
                seen.append(frame)
                if frame["type"] == type and data.items() <= frame["data"].items():
                    return frame
        raise AssertionError(f"no {type} with {data} among {seen}; close code {self._connection.close_code}")

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        """Every frame until the socket is closed, pings excepted."""
        try:
            async for text in self._connection:
                frame = orjson.loads(text)
                if frame["type"] == "ping":
                    await self.say({"type": "pong"})
                else:
                    yield frame
        except ConnectionClosed:
            return

    async def say(self, frame: Mapping[str, Any]) -> None:
        """Send one frame."""
        await self.send(orjson.dumps(frame).decode())

    async def send(self, data: str | bytes) -> None:
        """Send whatever it is as one message."""
        await self._connection.send(data)

    async def heard(self) -> None:
        """Return when the server has read all that was said before: it answers a ping of ours."""
        await self.say({"type": "ping"})
        with anyio.fail_after(PATIENCE_S):
            async for frame in self.frames():
                if frame["type"] == "pong":
                    return

    async def close_code(self, *, within_s: float = PATIENCE_S) -> int | None:
        """Wait for the server to close the connection, dropping what still comes; its code."""
        with anyio.fail_after(within_s):
            async for _ in self.frames():
                continue
        return self._connection.close_code


@asynccontextmanager
async def listening(url: str, *, token: str | None = None, **options: Any) -> AsyncIterator[Listener]:
    """Open a socket for as long as the block runs.

    With `token`, it is authenticated by a first message and listening once this returns. `options` are those of
    `websockets`, `additional_headers` for example.
    """
    async with connect(url, proxy=None, **options) as connection:
        listener = Listener(connection)
        if token is not None:
            await listener.say({"type": "auth", "token": token})
            await listener.heard()
        yield listener
