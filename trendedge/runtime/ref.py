"""Addresses of actors. A ref is made before the actor, outlives its restarts, and is all that others hold."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, Self

from trendedge.runtime.errors import ActorStopped, AskTimeout
from trendedge.runtime.journal import Appended, Duplicate, Unique
from trendedge.runtime.stats import describe
from trendedge.runtime.waits import asking_entity, refuse_ask_in_circle

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell


class Request[R]:
    """Base of messages that are answered with an `R`: `ask` takes its return type from here."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _asked(self) -> tuple[Self, R]: ...


class Asked[M, R](Protocol):
    """A request that is one of the messages `M` and is answered with an `R`, for type checkers: a `Request[R]`.

    Python has no intersection of types. `ask` needs both: that the actor handles the request, and what it answers.
    """

    def _asked(self) -> tuple[M, R]: ...


class _Address:
    __slots__ = ("_cell", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._cell: Cell | None = None

    def bind(self, cell: "Cell") -> None:
        """Point the address at the cell that hosts the actor. A supervisor does this each time it is made."""
        self._cell = cell

    @property
    def bound(self) -> "Cell | None":
        """The host; None while no supervisor has bound this address."""
        return self._cell

    @property
    def cell(self) -> "Cell":
        """The host.

        :raises ActorStopped: no supervisor has bound this address
        """
        if self._cell is None:
            raise ActorStopped(self.name)
        return self._cell


class ActorRef[M](_Address):
    """Address of an actor with an in-memory mailbox."""

    __slots__ = ()

    async def tell(self, message: M, *, deadline_s: float | None = None) -> None:
        """Put a message into the mailbox; returns when it is in, not when it is handled.

        With BLOCK it waits for room, but not when a handler tells its own actor, which would wait for itself.

        :param deadline_s: seconds from this call after which nobody is interested any more; looked at when its turn
            comes, and counted as expired then
        :raises MessageRefused: the actor does not handle messages of this type
        :raises MessageWithoutKey: the mailbox is keyed, and its key function gives None
        :raises MailboxFull: at capacity, and the policy is FAIL, or finds nothing to drop or to replace
        :raises TellCycle: at capacity, and those who could make room wait for the handler that tells
        :raises ActorStopped: the actor has ended for good, or is stopped just now to be restarted: by order, or with a
            sibling that has crashed (see `Strategy`)
        """
        cell = self.cell
        deadline = None if deadline_s is None else cell.now() + deadline_s
        if cell.must_wait:
            await cell.put(message, None, deadline)
        else:
            cell.put_nowait(message, None, deadline)

    def tell_nowait(self, message: M, *, deadline_s: float | None = None) -> None:
        """As `tell`, but never waits.

        :raises MessageRefused: the actor does not handle messages of this type
        :raises MessageWithoutKey: the mailbox is keyed, and its key function gives None
        :raises MailboxFull: at capacity, and the policy is FAIL or BLOCK, or finds nothing to drop or to replace
        :raises ActorStopped: the actor has ended for good, or is stopped just now to be restarted: by order, or with a
            sibling that has crashed (see `Strategy`)
        """
        cell = self.cell
        cell.put_nowait(message, None, None if deadline_s is None else cell.now() + deadline_s)

    async def ask[R](self, request: Asked[M, R], *, timeout_s: float, deadline_s: float | None = None) -> R:
        """Send a request and wait for its answer; settles exactly once.

        :param timeout_s: seconds to wait for the answer
        :param deadline_s: seconds from this call after which the request must not be begun any more
        :raises AskTimeout: no answer within `timeout_s`; the request may still be handled
        :raises AskCycle: the actor waits, over however many others, for the one that asks
        :raises DeadlineExceeded: the request's turn came after `deadline_s`
        :raises MessageDropped: a full mailbox made room for a later message
        :raises MessageRefused: the actor does not handle messages of this type
        :raises MessageWithoutKey: the mailbox is keyed, and its key function gives None
        :raises HandlerCrashed: the actor crashed over this request, and has given it up
        :raises ActorStopped: the actor ended before it answered, or is being restarted: by order, or with a sibling
            that has crashed (see `Strategy`)
        :raises MailboxFull: at capacity, and the policy is FAIL, or finds nothing to drop or to replace
        :raises Exception: one of the actor's declared errors
        """
        cell = self.cell
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        asker = asking_entity()
        if asker is None:
            return await self._ask(cell, request, reply, timeout_s, deadline_s)
        key = cell.key_of(request)
        refuse_ask_in_circle(asker, cell, key)
        asker.asks.append(asked := (cell, key, reply))
        try:  # no context manager: contextlib's cannot pass on an error whose attributes cannot be set
            return await self._ask(cell, request, reply, timeout_s, deadline_s)
        finally:
            asker.asks.remove(asked)

    async def _ask[R](
        self,
        cell: "Cell",
        request: Asked[M, R],
        reply: asyncio.Future[Any],
        timeout_s: float,
        deadline_s: float | None,
    ) -> R:
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = None if deadline_s is None else began + deadline_s  # from the same moment as the time-out
        if cell.must_wait:
            try:
                async with asyncio.timeout(timeout_s):
                    await cell.put(request, reply, deadline)
            except TimeoutError:
                raise self._timeout(request, timeout_s) from None
        else:
            cell.put_nowait(request, reply, deadline)
        timer = loop.call_at(began + timeout_s, self._expire, reply, request, timeout_s)
        try:
            answer: R = await reply
            return answer
        finally:
            timer.cancel()

    def _expire(self, reply: asyncio.Future[Any], request: object, timeout_s: float) -> None:
        if not reply.done():
            reply.set_exception(self._timeout(request, timeout_s))

    def _timeout(self, request: object, timeout_s: float) -> AskTimeout:
        return AskTimeout(self.name, describe(request), timeout_s)


class DurableRef[M](_Address):
    """Address of an actor whose mailbox is journalled."""

    __slots__ = ()

    async def tell(self, message: M, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Append to the journal, then hand over in memory. Once this returns `Appended`, SIGKILL loses nothing.

        :raises MessageRefused: the actor does not handle messages of this type
        :raises MessageWithoutKey: the mailbox is keyed, and its key function gives None
        :raises MailboxFull: at capacity: nothing was appended
        :raises JournalUnavailable: no store took it: nothing is known to be appended
        :raises Fenced: another process has adopted the mailbox's mail: nothing was appended, and the mailbox recovers
        :raises ActorStopped: the actor has ended for good, or is stopped just now to be restarted: by order, or with a
            sibling that has crashed (see `Strategy`)
        """
        return await self.cell.durable.append(message, unique)

    async def adopt(self) -> int:
        """Deliver mail that dead processes left since the start; answers how many messages that were.

        :raises JournalUnavailable: nobody knows what they left
        """
        return await self.cell.adopt()

    async def redeliver(self, dead_id: str) -> None:
        """Take a dead letter back into the mailbox; it has all its attempts before it.

        :raises UnknownDeadLetter: there is none of this id, or somebody else was faster
        :raises UnreadableDeadLetter: this release cannot read it
        :raises MailboxFull: at capacity: nothing was changed
        :raises ActorStopped: the actor does not run
        :raises JournalUnavailable: its store cannot be reached; when only the answer was lost, it is delivered later
        """
        await self.cell.durable.redeliver(dead_id)

    def waiting(self) -> Iterator[M]:
        """What is accepted and not yet settled, stashed or not, in no particular order: for looking, not for taking."""
        for entity in self.cell.entities.values():
            for envelope in (*entity.mail, *entity.stashed):
                yield envelope.message
