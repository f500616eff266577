"""In which order mail that lies in both stores was sent, as far as that is known."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from trendedge.runtime.journal import Entry


def in_order(*lines: Sequence[Entry]) -> list[Entry]:
    """The entries of several lines in one: those of each line in the order in which they are given, which is that of
    its store, and those of each sender in the order in which it has stamped them. A line is what one store has given at
    one look: what it gives at the next may be older.

    Where these two contradict each other, that of the lines counts.

    Stamps of different senders are of different clocks: one that is wrong turns nobody's mail around. They only decide
    between what nothing else puts in order. Not the ids: those of adopted entries are younger than the entries, and the
    stores' clocks may differ. Nor the ages: an answer is on its way for a while.
    """
    return list(_Merge([_Line(line) for line in lines if line]))


type _Head = tuple[int, int]
"""A stamp, and the number of the line whose head it is said of."""


class _Line:
    """What is left of one line."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = deque(entries)
        self.due: deque[int] = deque()
        """Their stamps, or the earliest one behind each: whose clock is ahead holds back nobody."""
        self.stamps: defaultdict[str, deque[int]] = defaultdict(deque)
        """By sender. None is later than one behind it, as two that were under way together may be."""
        for entry in reversed(entries):
            for behind in (self.due, self.stamps[entry.sent_by]):
                behind.appendleft(min(entry.sent_us, behind[0]) if behind else entry.sent_us)

    def pop(self) -> Entry:
        """Take the head away."""
        entry = self.entries.popleft()
        self.due.popleft()
        self.stamps[entry.sent_by].popleft()
        return entry


class _Merge:
    """Takes one head after the other. What is taken costs the logarithm of the number of lines, unless they contradict
    each other: then a look at each."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self._lines = lines
        self._earliest: defaultdict[str, list[_Head]] = defaultdict(list)
        """By sender a heap of its earliest stamp in each line, among others that are gone from it by now."""
        self._waiting: defaultdict[str, list[_Head]] = defaultdict(list)
        """By sender a heap of the lines whose head is of it and not the earliest of it, by its earliest in each."""
        self._free: list[_Head] = []
        """A heap of the other lines, by what is due. None of them has to wait again: what is left grows no earlier."""
        for number, line in enumerate(lines):
            for sender, stamps in line.stamps.items():
                heappush(self._earliest[sender], (stamps[0], number))

    def __iter__(self) -> Iterator[Entry]:
        for number in range(len(self._lines)):
            self._place(number)
        for _ in range(sum(len(line.entries) for line in self._lines)):
            number = heappop(self._free)[1] if self._free else self._force()
            line = self._lines[number]
            entry = line.pop()
            yield entry
            if stamps := line.stamps[entry.sent_by]:
                heappush(self._earliest[entry.sent_by], (stamps[0], number))
            self._place(number)
            self._let_go(entry.sent_by)

    def _place(self, number: int) -> None:
        """The line has a new head: it waits if its sender has sent something before it that is in another line."""
        line = self._lines[number]
        if line.entries:
            sender = line.entries[0].sent_by
            heappush(self._waiting[sender], (line.stamps[sender][0], number))
            self._let_go(sender)

    def _let_go(self, sender: str) -> None:
        """Those wait no longer whose head is the earliest that is left of its sender."""
        waiting, earliest = self._waiting[sender], self._earliest[sender]
        while waiting:
            stamp, number = earliest[0]
            left = self._lines[number].stamps[sender]
            if not left or left[0] != stamp:
                heappop(earliest)
            elif waiting[0][0] <= stamp:
                _, number = heappop(waiting)
                heappush(self._free, (self._lines[number].due[0], number))
            else:
                return

    def _force(self) -> int:
        """Each head waits for something behind another: the line that is due first, which waits no longer."""
        number = min(
            (n for n, line in enumerate(self._lines) if line.entries), key=lambda n: (self._lines[n].due[0], n)
        )
        waiting = self._waiting[self._lines[number].entries[0].sent_by]
        waiting.remove(next(head for head in waiting if head[1] == number))
        heapify(waiting)
        return number
