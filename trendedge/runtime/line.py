"""The mail of one instance in its order, with what is put aside of it."""

import asyncio
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

from trendedge.runtime.actor import Context, Terminated
from trendedge.runtime.mailbox import Envelope

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell

OWN = "the incarnation that sent it to itself has ended"

NO_MAIL: deque[Envelope] = deque(maxlen=0)
"""Stands for an empty line until there is mail: an empty deque takes 760 bytes, a tenth of an idle actor."""


class Line:
    """The messages of one key, or of a whole unkeyed actor. It outlives the incarnations that serve it."""

    __slots__ = ("_stashed", "_waiter", "cell", "in_hand", "key", "mail")

    def __init__(self, cell: "Cell", key: str | None) -> None:
        self.cell = cell
        self.key = key
        self.mail = NO_MAIL
        self.in_hand: Envelope | None = None
        """It stands at the head of the line, unless it is being buried: then it has left it."""
        self._stashed: deque[Envelope] | None = None
        self._waiter: asyncio.Future[bool] | None = None

    @property
    def name(self) -> str:
        """Path of the actor, with the key of the instance."""
        return self.cell.name_of(self.key)

    @property
    def stashed(self) -> deque[Envelope]:
        """What the incarnation has put aside, oldest first."""
        return self._stashed or NO_MAIL

    def append(self, envelope: Envelope) -> None:
        """Put a message at the end of the line, and let the incarnation know."""
        mail = self.mail
        if mail is NO_MAIL:
            mail = self.mail = deque()
        mail.append(envelope)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    def wake(self) -> None:
        """Let the incarnation look at its mail again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    async def _wait(self, timeout_s: float | None) -> bool:
        """Wait to be woken; False when `timeout_s` ran out first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout_s, _expire, waiter) if timeout_s is not None else None
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _delay_s(self, head: Envelope | None) -> float:
        """Seconds until the message at the head, if any, may be tried: after a failure, or behind an open breaker."""
        delay_s = 0.0
        if head is not None and head.not_before:
            until = head.not_before if head.deadline is None else min(head.not_before, head.deadline)
            delay_s = until - self.cell.now()
        if delay_s <= 0 and self.cell.breakers.by_key:
            delay_s = self.cell.breakers.delay_s(self.key, self.cell.now())
        return delay_s

    def _outdated(self, head: Envelope, context: Context) -> bool:
        """Take out a message that nobody wants handled any more."""
        if head.origin is not None and head.origin is not context:
            self.mail.popleft()
            self.cell.dropped(head, OWN)
            return True
        # At its deadline, and not after it, when its retry is due later: then it has waited for nothing else.
        if head.deadline is not None and (self.cell.now() > head.deadline or head.not_before > head.deadline):
            self.mail.popleft()
            self.cell.expired(head)
            return True
        return False

    def deliver(self, message: Any, origin: Context) -> None:
        """Put a message of the incarnation to itself into its line.

        It must reach the instance that sent it, so it goes round the key function; it is the actor's own and few, so
        it also goes round the capacity.
        """
        if not (self.cell.stopping or origin.ended):
            envelope = Envelope(message, enqueued_at=self.cell.now())
            envelope.origin = origin
            self.append(envelope)
            self.cell.depth += 1

    def withdraw_notices(self, path: str, origin: Context) -> None:
        """Take out what an incarnation got to know of the end of an actor that it watches no longer."""
        for line in (self.mail, self._stashed or NO_MAIL):
            for one in tuple(line):
                notice = one.origin is origin and isinstance(one.message, Terminated) and one.message.path == path
                if notice and one is not self.in_hand:
                    line.remove(one)
                    self.cell.dropped(one, "nobody watches that actor any more")

    def waits(self, message: Any) -> bool:
        """Whether this very object waits in the line, or was put aside."""
        return any(envelope.message is message for envelope in chain(self.mail, self.stashed))


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
