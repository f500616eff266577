"""Senders that wait for room in a full mailbox: first come, first let in."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from trendedge.runtime.errors import ActorStopped
from trendedge.runtime.waits import find_late_circle, refuse_tell_in_circle

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.entity import Entity


class Waiter(NamedTuple):
    """A place in the queue."""

    ticket: int
    """Counts who has come, from 1."""
    let_in: asyncio.Future[None]
    sender: "Entity | None"
    """Whose handler waits; None for whoever is no actor, and for work beside a handler."""


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
        return sum(not one.let_in.done() for one in self.waiters)

    async def wait(self, sender: "Entity | None" = None) -> None:
        """Return when it is one's turn and there is room, or when the actor takes nothing any more.

        :param sender: whose mailbox is held up meanwhile
        :raises ActorStopped: it has stopped, or is stopped to be restarted by order
        :raises TellCycle: the sender waits for itself, over others
        """
        ticket, again = self._last + 1, False
        self._last = ticket
        while self._must_wait(ticket):
            if again:  # it leaves its place to who has come before, also when it must not wait for another one
                again = False
                self.let_in()
                continue
            let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if sender is not None:
                refuse_tell_in_circle(sender, self._cell)
                sender.place = (self._cell, let_in)
            self._queue(Waiter(ticket, let_in, sender))
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
            finally:
                if sender is not None:
                    sender.place = None
            self.coming -= 1
            again = True

    def _must_wait(self, ticket: int) -> bool:
        """Who was let in may find its place taken by what the actor has sent to itself. When somebody has come before
        and waits again for that reason, it is that one's turn.
        """
        if self._cell.ending:
            return False
        if self._cell.is_full:
            return True
        return next((one.ticket for one in self.waiters if not one.let_in.done()), ticket) < ticket

    def _queue(self, waiter: Waiter) -> None:
        """At the end; or before those who came later, when the place went to what the actor has sent to itself."""
        later = 0
        while later < len(self.waiters) and self.waiters[-1 - later].ticket > waiter.ticket:
            later += 1
        self.waiters.insert(len(self.waiters) - later, waiter)

    def _sweep(self) -> None:
        """Forget those who have given up, when they are many."""
        self._gone += 1
        if 2 * self._gone > len(self.waiters):
            self.waiters = deque(one for one in self.waiters if not one.let_in.done())
            self._gone = 0

    def let_in(self) -> None:
        """As many as there is room for. When there is none though somebody has gone on, see who is left."""
        waiters = self.waiters
        while waiters and not self._cell.is_full:
            let_in = waiters.popleft().let_in
            if not let_in.done():
                self.coming += 1
                let_in.set_result(None)
        if waiters and not self.coming:
            self.refuse_circles()

    def refuse_circles(self) -> None:
        """Refuse those who wait for themselves by now: since they came, others have left who could have made room, and
        what has come is for those who wait for them. The last to come goes first.
        """
        while found := find_late_circle(self._cell, self._senders()):
            let_in, error = found
            let_in.set_exception(error)
            self._sweep()

    def _senders(self) -> Iterator["Entity"]:
        for one in reversed(self.waiters):
            if one.sender is not None and not one.let_in.done():
                yield one.sender

    def send_away(self) -> None:
        """The actor takes nothing any more, or nothing of those who wait: it is restarted by order."""
        for one in self.waiters:
            if not one.let_in.done():
                one.let_in.set_exception(ActorStopped(self._cell.path))
        self.waiters.clear()
        self._gone = 0
