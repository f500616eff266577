"""Which of the messages that were in hand when a process died may be tried now: one at a time."""

from collections.abc import Callable, Container

LOOK_S = 1.0
"""How often a suspect looks whether it is its turn, which it is told: whoever was told before may not have taken it."""


class Suspects:
    """Entries of which one may have killed a process. One that kills must not take the others with it to the dead
    letters, so they are tried one after the other.
    """

    def __init__(self, known: Container[str]) -> None:
        """:param known: entries that are in memory: what is forgotten has no turn any more"""
        self._known = known
        self._suspects: set[str] = set()
        self._tried: str | None = None
        """Whose turn it is, as long as it is known."""
        self._waiting: dict[str, Callable[[], None]] = {}
        """The others that are at the head of their lines, and how each is told that it may be its turn."""

    def add(self, entry_id: str) -> None:
        """It was in hand when a process died."""
        self._suspects.add(entry_id)

    def must_wait(self, entry_id: str | None, tell: Callable[[], None]) -> bool:
        """Whether it is another suspect's turn.

        :param tell: is called when that is over, unless somebody else is told
        """
        if entry_id is None or entry_id not in self._suspects or self._tried not in self._known:
            return False
        self._waiting[entry_id] = tell
        return True

    def begin(self, entry_id: str) -> None:
        """An entry is about to be tried. If it is a suspect it is its turn now."""
        if entry_id in self._suspects:
            self._tried = entry_id
            self._suspects.discard(entry_id)
            self._waiting.pop(entry_id, None)

    def survived(self, entry_id: str | None) -> bool:
        """An attempt has failed, and the process lives: of its next attempt it is a suspect as well, if it was one of
        this; whether it was."""
        if entry_id is None or entry_id != self._tried:
            return False
        self._suspects.add(entry_id)
        self._end_turn()
        return True

    def over(self, entry_id: str) -> None:
        """An entry is settled or buried."""
        if entry_id == self._tried:
            self._end_turn()

    def _end_turn(self) -> None:
        self._tried = None
        if self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()

    def none_in_hand(self) -> None:
        """The mailbox begins anew: whoever had its turn may be behind another one now."""
        self._tried = None
        self._waiting.clear()

    def forget(self) -> None:
        """Nothing here is this process's any more."""
        self._suspects.clear()
        self.none_in_hand()
