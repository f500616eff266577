"""Senders that wait for room in a full mailbox: first come, first let in."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell


class Room:
    """The queue before one mailbox."""

    __slots__ = ("_cell", "coming", "waiters")

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell
        self.waiters: deque[asyncio.Future[None]] = deque()
        """Who waits, the first to come first."""
        self.coming = 0
        """Senders that were let in and have not come yet: nobody else gets their places."""

    @property
    def waiting(self) -> int:
        """Senders that were not let in yet."""
        return sum(not waiter.done() for waiter in self.waiters)

    async def wait(self) -> None:
        """Return when it is one's turn and there is room, or when the actor is stopping."""
        was_let_in = False
        while self._cell.is_full and not self._cell.ending:
            waiter = asyncio.get_running_loop().create_future()
            if was_let_in:
                self.waiters.appendleft(waiter)  # the place went to what the actor has sent to itself
            else:
                self.waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter.done() and not waiter.cancelled():
                    self.coming -= 1
                    self.let_in()  # it was to be us: let the next one in
                elif waiter in self.waiters:
                    self.waiters.remove(waiter)
                raise
            self.coming -= 1
            was_let_in = True

    def let_in(self) -> None:
        """As many as there is room for."""
        while self.waiters and not self._cell.is_full:
            self._wake(self.waiters.popleft())

    def send_away(self) -> None:
        """Let everybody find out that the actor takes nothing any more."""
        while self.waiters:
            self._wake(self.waiters.popleft())

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            self.coming += 1
            waiter.set_result(None)
