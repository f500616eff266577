"""What became of an actor's incarnations: the last restarts, with their causes."""

from collections import deque
from dataclasses import dataclass

REMEMBERED = 10
"""Restarts of one actor that are remembered."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """One restart."""

    at: float
    """Event loop time, seconds."""
    cause: str
    message: str | None = None
    """Type of the message that was being handled; None where it was none that did it."""
    key: str | None = None
    """Of the instance, in a keyed actor."""


type History = deque[Restarted]
"""Oldest first."""


def remembered(history: History | None, restart: Restarted) -> History:
    """The history with one more; None before the first, because most actors never have one."""
    history = deque(maxlen=REMEMBERED) if history is None else history
    history.append(restart)
    return history
