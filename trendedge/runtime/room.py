"""Senders that wait for room in a full mailbox: first come, first let in."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from trendedge.runtime.errors import ActorStopped

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell

type Waiter = tuple[int, asyncio.Future[None]]


class Room:
    """The queue before one mailbox."""

    __slots__ = ("_cell", "_gone", "_last", "coming", "waiters")

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell
        self._last = 0
        """The ticket of whoever has come last."""
        self._gone = 0
        """How many in the queue have given up, about."""
        self.waiters: deque[Waiter] = deque()
        """Who waits, the first to come first; or has waited and given up."""
        self.coming = 0
        """Senders that were let in and have not come yet: nobody else gets their places."""

    @property
    def waiting(self) -> int:
        """Senders that were not let in yet."""
        return sum(not let_in.done() for _, let_in in self.waiters)

    async def wait(self) -> None:
        """Return when it is one's turn and there is room, or when the actor takes nothing any more.

        :raises ActorStopped: it has stopped, or is stopped to be restarted by order
        """
        ticket = self._last = self._last + 1
        while self._cell.is_full and not self._cell.ending:
            let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue((ticket, let_in))
            try:
                await let_in
            except BaseException:
                if not let_in.done() or let_in.cancelled():
                    let_in.cancel()
                    self._sweep()
                elif let_in.exception() is None:
                    self.coming -= 1
                    self.let_in()  # it was to be us: let the next one in
                raise
            self.coming -= 1

    def _queue(self, waiter: Waiter) -> None:
        """At the end; or before those who came later, when the place went to what the actor has sent to itself."""
        later = 0
        while later < len(self.waiters) and self.waiters[-1 - later][0] > waiter[0]:
            later += 1
        self.waiters.insert(len(self.waiters) - later, waiter)

    def _sweep(self) -> None:
        """Forget those who have given up, when they are many."""
        self._gone += 1
        if 2 * self._gone > len(self.waiters):
            self.waiters = deque(waiter for waiter in self.waiters if not waiter[1].done())
            self._gone = 0

    def let_in(self) -> None:
        """As many as there is room for."""
        while self.waiters and not self._cell.is_full:
            _, let_in = self.waiters.popleft()
            if not let_in.done():
                self.coming += 1
                let_in.set_result(None)

    def send_away(self) -> None:
        """The actor takes nothing any more, or nothing of those who wait: it is restarted by order."""
        for _, let_in in self.waiters:
            if not let_in.done():
                let_in.set_exception(ActorStopped(self._cell.path))
        self.waiters.clear()
        self._gone = 0
