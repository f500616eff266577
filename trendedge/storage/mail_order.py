"""In which order mail that lies in both stores was sent, as far as that is known."""

from collections import defaultdict, deque
from collections.abc import Sequence

from trendedge.runtime.journal import Entry


def in_order(one: Sequence[Entry], other: Sequence[Entry]) -> list[Entry]:
    """The entries of two stores in one line: those of each store in its own order, in which they are given, and those
    of each sender in the order in which it has stamped them.

    Stamps of different senders are of different clocks: one that is wrong turns nobody's mail around. They only decide
    between what nothing else puts in order. Not the ids: those of adopted entries are younger than the entries, and the
    stores' clocks may differ. Nor the ages: an answer is on its way for a while.
    """
    first, second = _Line(one), _Line(other)
    merged: list[Entry] = []
    while first.entries and second.entries:
        waits, other_waits = first.is_behind(second), second.is_behind(first)
        if waits == other_waits:
            waits = second.due[0] < first.due[0]
        merged.append((second if waits else first).pop())
    return [*merged, *first.entries, *second.entries]


class _Line:
    """What is left of one store's entries."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = deque(entries)
        self.due: deque[int] = deque()
        """Their stamps, or the earliest one behind each: whose clock is ahead holds back nobody."""
        self._stamps: defaultdict[str, deque[int]] = defaultdict(deque)
        """By sender. None is later than one behind it, as two that were under way together may be."""
        for entry in reversed(entries):
            for behind in (self.due, self._stamps[entry.sent_by]):
                behind.appendleft(min(entry.sent_us, behind[0]) if behind else entry.sent_us)

    def is_behind(self, other: "_Line") -> bool:
        """Whether the sender of the head has sent something before it that waits in the other line."""
        sender = self.entries[0].sent_by
        waiting = other._stamps[sender]
        return bool(waiting) and waiting[0] < self._stamps[sender][0]

    def pop(self) -> Entry:
        """Take the head away."""
        entry = self.entries.popleft()
        self.due.popleft()
        self._stamps[entry.sent_by].popleft()
        return entry
