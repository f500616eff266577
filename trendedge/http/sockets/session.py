"""One WebSocket from handshake to close code. The socket's task reads and keeps the time; a second one writes."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, assert_never
from urllib.parse import parse_qs

import orjson

from trendedge.actors.sockets import GoingAway, Subscriber, SubscriberLagging, TooManyConnections
from trendedge.http.doors import Doors, bearer_token
from trendedge.http.errors import ApiError, Code, InvalidToken
from trendedge.http.exchange import Exchange, Receive
from trendedge.http.server import TRANSPORT
from trendedge.http.services import Services
from trendedge.http.sockets.closing import CloseCode, CloseSocket
from trendedge.http.sockets.frames import (
    Auth,
    Frame,
    InvalidFrame,
    Ping,
    Pong,
    Resume,
    Subscribe,
    Unsubscribe,
    read_frame,
)
from trendedge.http.sockets.resume import frames_after
from trendedge.http.tokens import LEEWAY_S, Principal

type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PING = '{"type":"ping"}'
PONG = '{"type":"pong"}'
RESYNC = '{"type":"resync"}'


class SocketSession:
    """Serves one accepted socket. Every way out of `serve` is a `CloseSocket`."""

    def __init__(self, services: Services, doors: Doors, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._services = services
        self._doors = doors
        self._limits = services.settings.sockets
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._token = ""
        self._minute = 0
        self._frames_this_minute = 0

    async def serve(self) -> None:
        """Authenticate, attach to the hub, and talk until somebody ends it.

        :raises CloseSocket: always, with the code to close with
        """
        principal = await self._authenticate()
        try:
            await self._doors.provision(principal)
            subscriber = self._services.hub.attach(principal.user_id)
        except TooManyConnections:
            raise CloseSocket(CloseCode.TOO_MANY_CONNECTIONS) from None
        except GoingAway:
            raise CloseSocket(CloseCode.GOING_AWAY) from None
        transport = self._exchange.scope.get("state", {}).get(TRANSPORT)
        if transport is not None and self._exchange.scope.get("http_version") == "1.1":
            subscriber.write_to(transport)
        try:
            await self._talk(principal, subscriber)
        finally:
            self._services.hub.detach(subscriber)

    async def _authenticate(self) -> Principal:
        token = bearer_token(self._exchange) or _query_token(self._exchange)
        if token is None:
            token = await self._token_of_first_message()
        try:
            principal = self._doors.principal(self._exchange, token)
        except ApiError:
            raise CloseSocket(CloseCode.NOT_AUTHENTICATED) from None
        self._token = token
        return principal

    async def _token_of_first_message(self) -> str:
        try:
            async with asyncio.timeout(self._limits.auth_timeout_s):
                frame = await self._next_frame()
        except (TimeoutError, InvalidFrame):
            raise CloseSocket(CloseCode.NOT_AUTHENTICATED) from None
        if not isinstance(frame, Auth):
            raise CloseSocket(CloseCode.NOT_AUTHENTICATED)
        return frame.token

    async def _talk(self, principal: Principal, subscriber: Subscriber) -> None:
        endings: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(subscriber))
                await self._read(principal, subscriber)
        except* CloseSocket as group:
            endings.extend(group.exceptions)
        raise endings[0]

    async def _write(self, subscriber: Subscriber) -> None:
        """Hand the hub's frames to the client, for ever."""
        while True:
            try:
                frames = await subscriber.next_frames()
            except SubscriberLagging:
                raise CloseSocket(CloseCode.TOO_SLOW) from None
            except GoingAway:
                raise CloseSocket(CloseCode.GOING_AWAY) from None
            await self._send_texts(frames)

    async def _send_texts(self, texts: list[str]) -> None:
        """Send; a client that does not take it in time is dropped rather than waited for."""
        try:
            async with asyncio.timeout(self._limits.send_timeout_s):
                for text in texts:
                    await self._send({"type": "websocket.send", "bytes": None, "text": text})
        except TimeoutError:
            raise CloseSocket(CloseCode.TOO_SLOW) from None
        except OSError:
            raise CloseSocket(CloseCode.ABNORMAL) from None

    async def _read(self, principal: Principal, subscriber: Subscriber) -> None:
        """Take the client's frames, send pings, and look at the token again, each when it is due."""
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + self._limits.ping_interval_s
        pong_by = loop.time() + self._limits.pong_timeout_s
        check_at = self._next_check(principal)
        while True:
            try:
                async with asyncio.timeout_at(min(ping_at, pong_by, check_at)):
                    frame = await self._next_frame()
            except TimeoutError:
                now = loop.time()
                if now >= pong_by:
                    raise CloseSocket(CloseCode.NO_HEARTBEAT) from None
                if now >= check_at:
                    check_at = self._next_check(self._recheck())
                if now >= ping_at:
                    ping_at = now + self._limits.ping_interval_s
                    await self._send_texts([PING])
            except InvalidFrame as error:
                await self._send_texts([_complaint(error)])
            else:
                if isinstance(frame, Pong):
                    pong_by = loop.time() + self._limits.pong_timeout_s
                else:
                    await self._handle(frame, subscriber)

    async def _handle(self, frame: Auth | Ping | Subscribe | Unsubscribe | Resume, subscriber: Subscriber) -> None:
        match frame:
            case Auth():
                await self._send_texts([_complaint(InvalidFrame("type", "this socket is authenticated already"))])
            case Ping():
                await self._send_texts([PONG])
            case Subscribe():
                subscriber.channels.update(frame.channels)
            case Unsubscribe():
                subscriber.channels.difference_update(frame.channels)
            case Resume():
                missed = await frames_after(self._services.database, subscriber, frame.after)
                await self._send_texts([RESYNC] if missed is None else missed)
            case _:
                assert_never(frame)

    def _next_check(self, principal: Principal) -> float:
        """Event loop time of the next look at the token: when it expires, at the latest after `recheck_s`."""
        left = math.ceil(principal.expires_at + LEEWAY_S - time.time())
        return asyncio.get_running_loop().time() + min(self._limits.recheck_s, max(0, left))

    def _recheck(self) -> Principal:
        try:
            return self._doors.tokens.verify_afresh(self._token)
        except InvalidToken:
            raise CloseSocket(CloseCode.NOT_AUTHENTICATED) from None

    async def _next_frame(self) -> Frame:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise CloseSocket(CloseCode.ABNORMAL)
        text = message.get("text")
        size = len(text) if text is not None else len(message.get("bytes") or b"")
        self._count(size)
        if text is None:
            raise InvalidFrame("type", "frames are text, not binary")
        return read_frame(text)

    def _count(self, size: int) -> None:
        if size > self._limits.frame_bytes:
            raise CloseSocket(CloseCode.FRAME_TOO_LARGE)
        minute = int(asyncio.get_running_loop().time() // 60)
        if minute != self._minute:
            self._minute, self._frames_this_minute = minute, 0
        self._frames_this_minute += 1
        if self._frames_this_minute > self._limits.frames_per_minute:
            raise CloseSocket(CloseCode.TOO_MANY_FRAMES)


def _query_token(exchange: Exchange) -> str | None:
    query: str = exchange.scope.get("query_string", b"").decode("latin-1")
    try:
        tokens = parse_qs(query, max_num_fields=32).get("token")
    except ValueError:
        return None
    return tokens[0] if tokens else None


def _complaint(error: InvalidFrame) -> str:
    content = {
        "type": "error",
        "error": {"code": Code.VALIDATION_ERROR.name, "message": str(error), "field": error.field},
    }
    return orjson.dumps(content).decode()
