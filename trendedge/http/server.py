"""Hypercorn as a supervised service."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.typing import Framework
from hypercorn.utils import wrap_app

from trendedge.runtime import Service, ServiceContext

log = structlog.get_logger("trendedge.http")


class AddressInUse(Exception):
    """Another process listens there."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {reason}. Stop what listens there, or set PORT")
        self.host, self.port = host, port


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen, and how long open requests may take at the end."""

    host: str
    port: int
    grace_s: float = 3.0


class Front(Service):
    """Serves the application until stopped: first the sockets are closed, then the listener, then open requests end.

    Hypercorn waits for open WebSockets without a bound (its issue 308), hence the order and the bound of our own.
    """

    def __init__(self, app: Framework, bind: Bind, *, close_sockets: Callable[[], None]) -> None:
        self._app = app
        self._bind = bind
        self._close_sockets = close_sockets

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`.

        :raises AddressInUse: the port is taken
        """
        config = self._config()
        sockets = self._listen(config)
        finished = anyio.Event()

        async def until_stopped() -> None:
            context.started()
            await context.stopping.wait()
            self._close_sockets()
            await asyncio.sleep(0)  # lets each socket's task send its close frame

        async def serve() -> None:
            await worker_serve(
                wrap_app(self._app, config.wsgi_max_body_size, "asgi"),
                config,
                sockets=sockets,
                shutdown_trigger=until_stopped,
            )
            finished.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await _first(context.stopping, finished)
            with anyio.move_on_after(self._bind.grace_s + 1):
                await finished.wait()
            if not finished.is_set():
                log.warning("open requests were cut off", grace_s=self._bind.grace_s)
                tasks.cancel_scope.cancel()

    def _listen(self, config: Config) -> Sockets:
        try:
            return config.create_sockets()
        except OSError as error:
            raise AddressInUse(self._bind.host, self._bind.port, error.strerror or str(error)) from None

    def _config(self) -> Config:
        config = Config()
        host = f"[{self._bind.host}]" if ":" in self._bind.host else self._bind.host
        config.bind = [f"{host}:{self._bind.port}"]
        config.graceful_timeout = self._bind.grace_s
        config.accesslog = None  # the application logs requests itself: Hypercorn's format leaks ?token=
        config.errorlog = None
        config.include_server_header = False
        config.keep_alive_timeout = 75.0
        config.backlog = 2048
        config.websocket_max_message_size = 64 * 1024
        return config


async def _first(*events: Any) -> None:
    """Wait until one of the events is set."""
    async with anyio.create_task_group() as tasks:

        async def wait(event: Any) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)
