"""One HTTP request from the server's hands to Quart and back: request id, timing, headers and log line in one place.

Quart's own connection spends three tasks and a queue on a request, so that it can cancel the handler when the client
leaves. Here a handler runs in the server's task and is not cancelled (what it began is finished), and reads the body
itself, bounded. Four middlewares in one: a layer each would cost more than all of their work together.
"""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from quart import Response
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.response import DataBody
from structlog.contextvars import bind_contextvars, clear_contextvars

from trendedge.http.errors import ApiError, Code, envelope
from trendedge.http.exchange import Exchange, enter
from trendedge.http.headers import DEFAULTS, SECURITY, Header

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

    from trendedge.http.app import Front

LINGER_S = 2.0
"""How long to read on behind an answer that came before the end of the body. Closing at once would reset the
connection, and the client would lose the answer that it has not read yet."""

_leftovers: set[asyncio.Task[None]] = set()


class FrontConnection(ASGIHTTPConnection):
    """Quart's extension point for ASGI's `http` scope."""

    async def __call__(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Serve the request. Never raises for anything that the client did."""
        front = cast("Front", self.app)
        exchange = front.exchange(cast("Any", self.scope), cast("Any", receive))
        enter(exchange)
        clear_contextvars()
        bind_contextvars(request_id=exchange.request_id)
        preflight = front.cors.preflight(exchange)
        try:
            response = Response(status=204) if preflight is not None else await self._dispatch(exchange, send)
        except Exception as error:
            front.access_log.failed(exchange, error)
            body = envelope(ApiError(Code.INTERNAL_ERROR), exchange.request_id)
            response = Response(body, status=500, content_type="application/json")
        headers = _headers(response, exchange, [*front.cors.headers(exchange), *(preflight or ())])
        await _send(exchange, response, headers, send)
        front.access_log.answered(exchange, response.status_code)

    async def _dispatch(self, exchange: Exchange, send: "ASGISendCallable") -> Response:
        request = self._create_request_from_scope(send)
        request.exchange = exchange  # type: ignore[attr-defined]  # always a FrontRequest, see Front.request_class
        return cast("Response", await self.app.handle_request(request))


def _headers(response: Response, exchange: Exchange, cors: list[Header]) -> list[Header]:
    own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    names = {name for name, _ in own}
    limits = exchange.verdict.headers() if exchange.verdict is not None else ()
    defaults = [header for header in DEFAULTS if header[0] not in names]
    return [*own, *SECURITY, *defaults, (b"x-request-id", exchange.request_id.encode("ascii")), *limits, *cors]


async def _send(exchange: Exchange, response: Response, headers: list[Header], send: "ASGISendCallable") -> None:
    """Send the answer; a body that is at hand goes out in one message."""
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers, "trailers": False})
    source = response.response
    data = b""
    if isinstance(source, DataBody):
        data = source.data
    else:
        async with source as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if exchange.may_have_body:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        data = b""
        await _linger(exchange)
    await send({"type": "http.response.body", "body": data, "more_body": False})


async def _linger(exchange: Exchange) -> None:
    """Read on for a moment, then leave the rest to a task of its own.

    That task ends with the connection. Without it the server would wait for room in the queue of a request that
    nobody reads any more, and keep the connection for good.
    """
    rest = asyncio.create_task(exchange.discard_body())
    _leftovers.add(rest)
    rest.add_done_callback(_leftovers.discard)
    await asyncio.wait({rest}, timeout=LINGER_S)
