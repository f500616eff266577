"""Hypercorn's connections under a listener of our own, as a supervised service.

`hypercorn.asyncio.serve` would do, but for two things: since Python 3.12 its shutdown waits without a bound while
a WebSocket is open (its issue 308), and it gives no way to the transport, which the hub writes its frames to.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.typing import Framework
from hypercorn.utils import wrap_app

from trendedge.runtime import Service, ServiceContext

log = structlog.get_logger("trendedge.http")

TRANSPORT = "trendedge.transport"
"""Name of the connection's transport in the ASGI scope's `state`."""
BACKLOG = 2048


class AddressInUse(Exception):
    """Nobody can listen there: another process does, or the address is not of this machine."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {reason}. Stop what listens there, or set PORT")
        self.host, self.port = host, port


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen, and how long open requests may take at the end."""

    host: str
    port: int
    grace_s: float = 3.0


class Connection(TCPServer):
    """Hypercorn's connection, which ends when its client has gone.

    Hypercorn's own leaves its idle timer running after the end of the stream, and the descriptor open with it, for as
    long as a connection may be kept alive.
    """

    _client_gone = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_gone = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """As Hypercorn's; an answer that is finished after its client has gone starts no idle timer again."""
        if not (self._client_gone and isinstance(event, Updated)):
            await super().protocol_send(event)


class Front(Service):
    """Serves the application until stopped: no new connection, the sockets closed with 1001, open requests finished."""

    def __init__(self, app: Framework, bind: Bind, *, close_sockets: Callable[[], None]) -> None:
        self._config = _config()
        self._app = wrap_app(app, self._config.wsgi_max_body_size, "asgi")
        self._bind = bind
        self._close_sockets = close_sockets
        self._context = WorkerContext(None)
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`.

        :raises AddressInUse: the port is taken
        """
        server = await self._listen()
        try:
            context.started()
            await context.stopping.wait()
        finally:
            server.close()
            with anyio.CancelScope(shield=True):
                await self._finish()

    async def _listen(self) -> asyncio.Server:
        try:
            return await asyncio.start_server(
                self._serve, self._bind.host, self._bind.port, backlog=BACKLOG, reuse_address=True
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise AddressInUse(self._bind.host, self._bind.port, reason) from None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: the server makes a task for each connection
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        _send_at_once(writer)
        state = {TRANSPORT: writer.transport}
        loop = asyncio.get_running_loop()
        await Connection(self._app, loop, self._config, self._context, state, reader, writer)

    async def _finish(self) -> None:
        await self._context.terminated.set()  # closes the connections that are idle
        self._close_sockets()
        if not self._connections:
            return
        _, open_still = await asyncio.wait(self._connections, timeout=self._bind.grace_s)
        if open_still:
            log.warning("open requests were cut off", requests=len(open_still), grace_s=self._bind.grace_s)
            for task in open_still:
                task.cancel()
            await asyncio.wait(open_still, timeout=1.0)


def _send_at_once(writer: asyncio.StreamWriter) -> None:
    """Small frames must not wait for the acknowledgement of the one before (Nagle)."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _config() -> Config:
    config = Config()
    config.accesslog = None  # the application logs requests itself: Hypercorn's format leaks ?token=
    config.errorlog = None
    config.include_server_header = False
    config.keep_alive_timeout = 75.0
    # The sessions refuse longer messages than a few KiB themselves, and close properly: Hypercorn, at its own limit,
    # sends 1009 and then leaves the connection open. This one bounds what a message may take in memory before that.
    config.websocket_max_message_size = 2**20
    return config
