"""Looks after the journal: its leases and its way back from degraded, and the mail of processes that died."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import structlog

from trendedge.runtime import DurableRef, JournalUnavailable, Service, ServiceContext

log = structlog.get_logger("trendedge.journal")

ADOPT_EVERY_S = 60.0
"""One Redis command each time: 1,440 a day, of the 3,000 that idling may cost."""


class JournalKeeper(Service):
    """Runs what the journal does by itself, and delivers what becomes this process's own."""

    def __init__(
        self,
        keep: Callable[[], Coroutine[Any, Any, None]],
        executor: DurableRef[Any],
        *,
        every_s: float = ADOPT_EVERY_S,
    ) -> None:
        self._keep = keep
        self._executor = executor
        self._every_s = every_s

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`."""
        context.started()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep)
            tasks.start_soon(self._adopt)
            await context.stopping.wait()
            tasks.cancel_scope.cancel()

    async def _adopt(self) -> None:
        while True:
            await anyio.sleep(self._every_s)
            try:
                adopted = await self._executor.adopt()
            except JournalUnavailable as error:
                log.warning("no mail adopted", error=str(error))
                continue
            if adopted:
                log.warning("mail adopted", messages=adopted)
