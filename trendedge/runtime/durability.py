"""Where a mailbox is journalled, and how its messages become bytes and come back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from trendedge.runtime.journal import DeadLetter, Journal


@dataclass(frozen=True, slots=True)
class Durability:
    """Where a mailbox is journalled, and how its messages become bytes and come back."""

    journal: Journal
    mailbox: str
    """Name in the journal: it must stay the same over releases, or old mail is not found."""
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    """Raises on bytes that it cannot read; such an entry goes to the dead letters."""
    on_bury: Callable[[Any, DeadLetter], Awaitable[None]] | None = None
    """Called with a message that is given up, before it is buried: to tell whoever waits for its outcome. Again when
    its dead letter is discarded: it must do nothing where it was told. While it raises an outage of the retry policy,
    the message is not buried; over any other error it is, untold."""
    on_replay: Callable[[Any], Awaitable[None]] | None = None
    """Called with a message whose dead letter is replayed, before it is delivered: to take back what `on_bury` told.
    What it raises ends the replay, and there is a letter again. When the process dies meanwhile it is called by whoever
    recovers the message, before that is handled, so doing it twice must be harmless."""


def check_key(key: object) -> None:
    """A mailbox has one line for each key, and whoever looks at them sorts them.

    :raises TypeError: it is no text
    """
    if not (key is None or isinstance(key, str)):
        raise TypeError(f"the key of a message must be a text, not {type(key).__name__}")
