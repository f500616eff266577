"""A WebSocket from the server's hands to its session and back: accept, serve, close, and read to the end.

It goes round Quart's own WebSocket, which moves every inbound frame into an unbounded queue and every outbound one
through two signals. Here the server's short queue is the only one: a client that floods waits at its own end.
"""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from quart.asgi import ASGIWebsocketConnection
from structlog.contextvars import bind_contextvars, clear_contextvars

from trendedge.http.errors import ApiError, Code, envelope
from trendedge.http.exchange import Exchange, Receive
from trendedge.http.sockets.closing import CloseCode, CloseSocket
from trendedge.http.sockets.session import Send, SocketSession
from trendedge.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

    from trendedge.http.app import Front

PATH = "/api/v1/ws"
CLOSE_TIMEOUT_S = 2.0

_leftovers: set[asyncio.Task[None]] = set()


class SocketConnection(ASGIWebsocketConnection):
    """Quart's extension point for ASGI's `websocket` scope."""

    async def __call__(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Serve the socket. Never raises for anything that the client did."""
        front = cast("Front", self.app)
        incoming, outgoing = cast("Receive", receive), cast("Send", send)
        exchange = front.exchange(cast("Any", self.scope), incoming)
        await incoming()  # websocket.connect
        if exchange.path.rstrip("/") != PATH:
            await _reject(exchange, outgoing)
            return
        clear_contextvars()
        bind_contextvars(request_id=exchange.request_id)
        _decline_compression(send)
        # Accepted before the token is looked at: a browser is not told the status of a refused handshake.
        await outgoing({"type": "websocket.accept", "headers": [], "subprotocol": None})
        code = await _serve(front, exchange, SocketSession(front.services, front.doors, exchange, incoming, outgoing))
        front.access_log.closed(exchange, code)
        if code is not CloseCode.ABNORMAL:
            await _close(outgoing, code)
            await _drain(incoming)


def _decline_compression(send: "ASGISendCallable") -> None:
    """Have the server agree to no permessage-deflate, which browsers offer.

    It costs a quarter of a megabyte and a compressor per socket, for frames of a few hundred bytes. Hypercorn 0.18 has
    no setting for it; what it will agree to hangs on the stream whose method `send` is.
    """
    handshake = getattr(getattr(send, "__self__", None), "handshake", None)
    if handshake is not None:
        handshake.extensions = None


async def _serve(front: "Front", exchange: Exchange, session: SocketSession) -> CloseCode:
    try:
        await session.serve()
    except CloseSocket as close:
        return close.code
    except StoreUnavailable:
        return CloseCode.TRY_AGAIN_LATER
    except Exception as error:
        front.access_log.failed(exchange, error)
    return CloseCode.INTERNAL_ERROR


async def _close(send: Send, code: CloseCode) -> None:
    """Send the close frame, but do not wait for a client that reads nothing."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await send({"type": "websocket.close", "code": int(code), "reason": code.name.replace("_", " ").lower()})
    except (TimeoutError, OSError):
        return


async def _drain(receive: Receive) -> None:
    """Give the client a moment to answer the close frame; what it still sends is dropped until it is gone.

    The reader outlives this call when it must: the server needs room in the socket's queue to report the end.
    """
    rest = asyncio.create_task(_until_disconnect(receive))
    _leftovers.add(rest)
    rest.add_done_callback(_leftovers.discard)
    await asyncio.wait({rest}, timeout=CLOSE_TIMEOUT_S)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def _reject(exchange: Exchange, send: Send) -> None:
    """Refuse the handshake with the envelope, where the server can send one."""
    if "websocket.http.response" not in exchange.scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": int(CloseCode.NORMAL), "reason": ""})
        return
    error = ApiError(Code.NOT_FOUND)
    body = envelope(error, exchange.request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", exchange.request_id.encode("ascii")),
    ]
    await send({"type": "websocket.http.response.start", "status": error.code.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
