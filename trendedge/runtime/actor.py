"""What the author of an actor writes, and what an actor knows of its surroundings."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from trendedge.runtime.journal import Announcement


class Context:
    """An incarnation's view of the runtime: valid from `on_start` until the incarnation ends."""

    __slots__ = ("_announcements", "_deliver", "_timers", "key", "path")

    def __init__(self, path: str, key: str | None, deliver: Callable[[Any], None]) -> None:
        self.path = path
        self.key = key
        """The key of this instance of a keyed actor; None where there is one instance for all messages."""
        self._deliver = deliver
        self._timers: set[asyncio.TimerHandle] = set()
        self._announcements: list[Announcement] = []

    def tell_self_after(self, delay_s: float, message: Any) -> None:
        """Put `message` into the own mailbox after `delay_s` seconds, unless this incarnation has ended by then."""
        loop = asyncio.get_running_loop()

        def fire() -> None:
            self._timers.discard(timer)
            self._deliver(message)

        timer = loop.call_later(delay_s, fire)
        self._timers.add(timer)

    def announce_on_settle(self, channel: str, payload: bytes) -> None:
        """Publish through the journal's store in the step that settles the message being handled.

        Outside a durable mailbox there is nothing to settle, and nothing is published.
        """
        self._announcements.append(Announcement(channel, payload))

    def take_announcements(self) -> tuple[Announcement, ...]:
        """Hand over what the handler announced, once."""
        if not self._announcements:
            return ()
        taken = tuple(self._announcements)
        self._announcements.clear()
        return taken

    def close(self) -> None:
        """Cancel the timers of an incarnation that has ended."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class Actor[M]:
    """State that only its own messages touch, one at a time.

    A keyed actor (see `MailboxSpec.key`) has one instance per key. An exception in `receive` ends the incarnation;
    the next begins with a new object and `on_start`, so starting and restarting are one path.
    """

    declared: ClassVar[tuple[type[Exception], ...]] = ()
    """Errors that are answers: they go to whoever asked, and do not restart the actor."""

    context: Context

    async def on_start(self) -> None:
        """Load what the incarnation needs. Messages wait until this returns."""

    async def receive(self, message: M) -> Any:
        """Handle one message. What is returned answers an `ask`."""
        raise NotImplementedError

    async def on_stop(self) -> None:
        """Release what `on_start` took. Called at an orderly end only, never after a crash."""
