"""Supervised work that has no mailbox: a server, a subscription, a heartbeat."""

from collections.abc import Callable

import anyio


class ServiceContext:
    """What the supervisor and a running service say to each other."""

    __slots__ = ("_on_started", "path", "stopping")

    def __init__(self, path: str, on_started: Callable[[], None]) -> None:
        self.path = path
        self._on_started = on_started
        self.stopping = anyio.Event()
        """Set when the service should end; it is cancelled when it has not within its `shutdown_s`."""

    def started(self) -> None:
        """Say that the service is ready; the next child starts only then."""
        self._on_started()


class Service:
    """Base of services: `run` returns at `context.stopping`, or raises to be restarted."""

    async def run(self, context: ServiceContext) -> None:
        """Do the work. Must call `context.started()` once it is ready."""
        raise NotImplementedError
