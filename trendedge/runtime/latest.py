"""COALESCE: which waiting message a new one replaces."""

from collections.abc import Callable, Hashable
from typing import Any

from trendedge.runtime.errors import MessageDropped
from trendedge.runtime.mailbox import Envelope


class Latest:
    """The waiting messages of a mailbox by their `coalesce` key. A message that is being handled is not among them."""

    def __init__(
        self,
        actor: str,
        coalesce: Callable[[Any], Hashable],
        line: Callable[[Any], str] | None,
        undelayed: Callable[[str | None], None],
    ) -> None:
        """:param undelayed: is called with the key of a line whose head waits for no retry any more"""
        self._actor = actor
        self._coalesce = coalesce
        self._line = line
        self._undelayed = undelayed
        self._waiting: dict[Hashable, Envelope] = {}

    def replace(self, envelope: Envelope) -> bool:
        """Let a message take the place in line of the waiting one with the same key; whether there was one.

        An instance that died while it started may have failed over that one already, but not over this. What an outage
        delays goes on waiting for its end.
        """
        key = self._key(envelope.message)
        waiting = self._waiting.get(key)
        if waiting is None:
            return False
        waiting.fail(MessageDropped(self._actor, "a later message took its place"))
        waiting.message, waiting.reply = envelope.message, envelope.reply
        waiting.enqueued_at, waiting.deadline = envelope.enqueued_at, envelope.deadline
        if waiting.failed_once:
            waiting.attempts, waiting.failed_once, waiting.not_before = 0, False, 0.0
            self._undelayed(key[0])
        return True

    def add(self, envelope: Envelope) -> None:
        """A message waits that may be replaced."""
        self._waiting[self._key(envelope.message)] = envelope

    def discard(self, envelope: Envelope) -> None:
        """A message is taken out, or about to be handled."""
        if envelope.origin is not None:
            return
        key: Hashable
        try:
            key = self._key(envelope.message)
            listed = self._waiting.get(key) is envelope
        except Exception:  # its key could be told when it came: it can be handled all the same
            key = next((one for one, waiting in self._waiting.items() if waiting is envelope), None)
            listed = self._waiting.get(key) is envelope
        if listed:
            del self._waiting[key]

    def clear(self) -> None:
        """Nothing waits."""
        self._waiting.clear()

    def _key(self, message: Any) -> tuple[str | None, Hashable]:
        return self._line(message) if self._line else None, self._coalesce(message)
