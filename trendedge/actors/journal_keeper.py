"""Looks after the journal: its leases and its way back from degraded, and the mail of processes that died."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import structlog

from trendedge.actors.listening import Received, Subscribe, listen
from trendedge.runtime import DurableRef, JournalUnavailable, Service, ServiceContext
from trendedge.storage.failover_journal import LEFT

log = structlog.get_logger("trendedge.journal")

SETTLED_S = 6.0
"""Seconds after which an append whose answer never came is old enough to be adopted (`storage.pending.DOUBT_S`)."""


class Bell:
    """Rings when a store is back or a process has left mail: it is to be delivered now, and not at the next round."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung.set()

    async def heard_within(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; whether there was one since the last time."""
        with anyio.move_on_after(seconds):
            await self._rung.wait()
        rung = self._rung.is_set()
        self._rung = anyio.Event()
        return rung


class JournalKeeper(Service):
    """Runs what the journal does by itself, and delivers what becomes this process's own."""

    def __init__(
        self,
        keep: Callable[[], Coroutine[Any, Any, None]],
        executor: DurableRef[Any],
        bell: Bell,
        *,
        subscribe: Subscribe,
        every_s: float,
        settled_s: float = SETTLED_S,
    ) -> None:
        self._keep = keep
        self._executor = executor
        self._every_s = every_s
        self._settled_s = settled_s
        self._bell = bell
        self._subscribe = subscribe

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`."""
        context.started()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep)
            tasks.start_soon(self._adopt)
            tasks.start_soon(listen, self._subscribe, LEFT, self._hear)
            await context.stopping.wait()
            tasks.cancel_scope.cancel()

    async def _hear(self, _: Received) -> None:
        self._bell.ring()

    async def _adopt(self) -> None:
        pause_s = self._every_s
        while True:
            rung = await self._bell.heard_within(pause_s)
            # After a store came back once more, when an append that was in doubt is old enough to be believed lost.
            pause_s = self._settled_s if rung else self._every_s
            await self._adopt_now()

    async def _adopt_now(self) -> None:
        try:
            adopted = await self._executor.adopt()
        except JournalUnavailable as error:
            log.warning("no mail adopted", error=str(error))
            return
        if adopted:
            log.warning("mail adopted", messages=adopted)
