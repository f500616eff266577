"""How a mailbox is declared, and what lies in it."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from trendedge.runtime.bounds import at_least
from trendedge.runtime.errors import ActorStopped

if TYPE_CHECKING:
    from trendedge.runtime.actor import Context


class Overflow(Enum):
    """What happens to a message that finds the mailbox full."""

    BLOCK = "block"
    """The sender waits for room."""
    FAIL = "fail"
    """The sender gets `MailboxFull`."""
    DROP_OLDEST = "drop_oldest"
    """The oldest waiting message is dropped and counted. What an actor gets of itself never is: ticks, death notices,
    piped results. One that finds nothing to drop gets `MailboxFull`."""
    COALESCE = "coalesce"
    """A message takes the place of the waiting one with the same `coalesce` key, full or not, also when that waits for
    its retry, behind a breaker or put aside; the older one is dropped and counted. One that finds the mailbox full and
    nothing to replace gets `MailboxFull`. What is being handled is not replaced; should it have to wait after that
    while a later one does, it is dropped."""


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """Declared where the actor is declared, so that a reader sees the policy beside the actor."""

    capacity: int = 1000
    """Messages that may wait, over all keys; the one being handled counts too."""
    overflow: Overflow = Overflow.BLOCK
    key: Callable[[Any], str] | None = None
    """Keyed mailbox: different keys are handled at once, one key in order, each by an instance of its own."""
    coalesce: Callable[[Any], Hashable] | None = None
    """What makes two messages one, with COALESCE: only the latest of them is of interest."""
    idle_s: float = 300.0
    """A keyed instance without mail for this long is passivated: its state is dropped, the next message reloads it.
    Who has a timer, a watch, piped work or children under way is not idle."""
    drain: bool = False
    """At an orderly stop, handle what is waiting (within the child's `shutdown_s`) instead of leaving it.

    What is stashed does not wait: it ends as without a drain, dropped and its ask told, or stays in the journal. Timers
    go off no more, and no result of piped work comes."""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity is {self.capacity}; a mailbox holds at least 1 message")
        if (self.overflow is Overflow.COALESCE) != (self.coalesce is not None):
            raise ValueError("COALESCE and a `coalesce` key belong together")
        at_least(0, idle_s=self.idle_s)


class Envelope:
    """One message on its way, with whoever waits for the answer. Mutable: it counts its own attempts."""

    __slots__ = (
        "attempts",
        "deadline",
        "enqueued_at",
        "entry_id",
        "failed_once",
        "message",
        "not_before",
        "origin",
        "recovered",
        "reply",
        "tried_at",
    )

    def __init__(self, message: Any, *, reply: asyncio.Future[Any] | None = None, enqueued_at: float) -> None:
        self.message = message
        self.reply = reply
        self.enqueued_at = enqueued_at
        """Event loop time, seconds."""
        self.deadline: float | None = None
        """Event loop time after which nobody is interested any more."""
        self.origin: Context | None = None
        """The incarnation that sent it to itself; the next one does not get it."""
        self.entry_id: str | None = None
        """The journal's name of it, when durable."""
        self.recovered = False
        """An earlier process had it: the journal counts the attempts, lest it kill one process after the other."""
        self.attempts = 0
        self.not_before = 0.0
        """Event loop time before which a retry must not begin."""
        self.tried_at: float | None = None
        """Event loop time at which the first attempt of this process at a journalled message ended without success."""
        self.failed_once = False
        """Set at the first crash: further crashes over the same message do not count towards the intensity."""

    def answer(self, value: Any) -> None:
        """Settle the ask with its answer; the second settlement of an ask changes nothing."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(value)

    def fail(self, error: Exception) -> None:
        """Settle the ask with an error; the second settlement of an ask changes nothing."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # looked at: an error that nobody waits for any more is no news

    def abandon(self, actor: str) -> None:
        """Nobody will handle this any more."""
        self.fail(ActorStopped(actor))
