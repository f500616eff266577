"""The housekeeper: removes what has become too old, when the clock or an operator says so."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import anyio
import structlog

from trendedge.actors.lanes import LOW
from trendedge.actors.messages import Purge
from trendedge.actors.retention import Removed
from trendedge.runtime import Actor, JournalUnavailable, LaneClosed, LaneFull, Lanes, LaneTimeout
from trendedge.storage.errors import StoreUnavailable

log = structlog.get_logger("trendedge.housekeeper")


@dataclass(frozen=True, slots=True)
class Purged:
    """From the housekeeper to itself: it is done."""

    removed: Removed
    seconds: float


@dataclass(frozen=True, slots=True)
class PurgeFailed:
    """From the housekeeper to itself: it could not be done, or not to its end."""

    error: Exception


class Housekeeper(Actor[Purge | Purged | PurgeFailed]):
    """One purge at a time, in the lane `low`. What fails is left to the next schedule: each goes on from any state."""

    def __init__(self, lanes: Lanes, purge: Callable[[datetime], Awaitable[Removed]]) -> None:
        self._lanes = lanes
        self._purge = purge
        self._purging = False

    async def receive(self, message: Purge | Purged | PurgeFailed) -> None:
        """Begin a purge, or note how one has ended."""
        match message:
            case Purge() if self._purging:
                log.warning("purge is under way already", due_at=message.due_at.isoformat())
            case Purge():
                self._purging = True
                self.context.pipe_to_self(self._attempt(message.due_at), lambda ended: ended)
            case Purged(removed, seconds):
                self._purging = False
                log.info("purged", events=removed.events, marks=removed.marks, seconds=round(seconds, 3))
            case PurgeFailed():
                self._purging = False
                log.error("purge failed", alert="purge_failed", error=str(message.error))
            case _:
                assert_never(message)

    async def _attempt(self, due_at: datetime) -> Purged | PurgeFailed:
        began = anyio.current_time()
        try:
            removed = await self._lanes.run(LOW, self._purge, due_at)
        except (StoreUnavailable, JournalUnavailable, LaneClosed, LaneFull, LaneTimeout) as error:
            return PurgeFailed(error)
        return Purged(removed, anyio.current_time() - began)
