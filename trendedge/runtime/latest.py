"""COALESCE: which waiting message a new one replaces."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from trendedge.runtime.errors import MessageDropped
from trendedge.runtime.mailbox import Envelope

LATER = "a later message took its place"


class Latest:
    """The waiting messages of a mailbox by their `coalesce` key, one of each; also what waits for its retry or was put
    aside. A message that is being handled is not among them.
    """

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
        self._aside: set[Envelope] = set()
        """Those of them that were put aside."""

    def replace(self, envelope: Envelope) -> bool:
        """Let a message take the place in line of the waiting one with the same key; whether there was one.

        A handler, or an instance that died while it started, may have failed over that one already, but not over this.
        What an outage delays goes on waiting for its end. One that was put aside has no place in line: see `aside`.
        """
        key = self._key(envelope.message)
        waiting = self._waiting.get(key)
        if waiting is None or waiting in self._aside:
            return False
        waiting.fail(MessageDropped(self._actor, LATER))
        waiting.message, waiting.reply = envelope.message, envelope.reply
        waiting.enqueued_at, waiting.deadline = envelope.enqueued_at, envelope.deadline
        if waiting.failed_once:
            waiting.attempts, waiting.failed_once, waiting.not_before = 0, False, 0.0
            self._undelayed(key[0])
        return True

    def aside(self, envelope: Envelope) -> Envelope | None:
        """The message with the same key that was put aside, if there is one. It goes, and this one comes to the end of
        the line, since its handler may be to see it now.
        """
        waiting = self._waiting.get(self._key(envelope.message)) if self._aside else None
        return waiting if waiting in self._aside else None

    def add(self, envelope: Envelope) -> None:
        """A message waits that may be replaced."""
        self._waiting[self._key(envelope.message)] = envelope

    def put_aside(self, envelope: Envelope) -> bool:
        """The message in hand is to wait for later; False when a later one with its key waits already."""
        if (key := self._listing(envelope)) is None:
            return True
        if key in self._waiting:
            return False
        self._waiting[key] = envelope
        self._aside.add(envelope)
        return True

    def add_back(self, back: Sequence[Envelope]) -> list[Envelope]:
        """Some had been in hand or put aside, and are back in their line, before what has come since. Answers those
        that are to go, since a later one with their key waits.

        :param back: these, in their order; some may have waited all the time
        """
        outdated: list[Envelope] = []
        for envelope in reversed(back):
            self._aside.discard(envelope)
            key = self._listing(envelope)
            if key is not None and self._waiting.setdefault(key, envelope) is not envelope:
                outdated.append(envelope)
        return outdated

    def _listing(self, envelope: Envelope) -> tuple[str | None, Hashable] | None:
        """Its key; None for what cannot be replaced: a message of an instance to itself, or one whose key could be told
        when it came, and cannot any more.
        """
        try:
            return None if envelope.origin is not None else self._key(envelope.message)
        except Exception:
            return None

    def discard(self, envelope: Envelope) -> None:
        """A message is taken out, or about to be handled."""
        if envelope.origin is not None:
            return
        self._aside.discard(envelope)
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
        self._aside.clear()

    def _key(self, message: Any) -> tuple[str | None, Hashable]:
        return self._line(message) if self._line else None, self._coalesce(message)
