"""DROP_OLDEST with keys: which message of all lines waits longest."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from trendedge.runtime.mailbox import Envelope

if TYPE_CHECKING:
    from trendedge.runtime.entity import Entity


class Ages:
    """The messages of a keyed mailbox that may be dropped, by their age.

    Not among them are those in hand and those put aside, until they are back in their line, nor what an instance has
    sent to itself. To look into each line for its oldest would cost the more the more keys there are, and that for each
    message just when there are too many.
    """

    __slots__ = ("_by_age", "_lines", "_numbers")

    def __init__(self) -> None:
        self._lines: dict[Envelope, Entity] = {}
        self._by_age: list[tuple[float, int, Envelope]] = []
        """A heap, with some that are not in `_lines` any more."""
        self._numbers = count()

    def add(self, envelope: Envelope, line: "Entity") -> None:
        """A message waits in a line."""
        self._lines[envelope] = line
        heappush(self._by_age, (envelope.enqueued_at, next(self._numbers), envelope))

    def add_back(self, envelopes: Iterable[Envelope], line: "Entity") -> None:
        """Some of these had left their line, and are back."""
        for envelope in envelopes:
            if envelope.origin is None and envelope not in self._lines:
                self.add(envelope, line)

    def discard(self, envelope: Envelope) -> None:
        """A message is taken out, or about to be handled."""
        self._lines.pop(envelope, None)
        if len(self._by_age) > 2 * len(self._lines):  # half of it is gone: what that costs was saved before
            self._by_age = [one for one in self._by_age if one[2] in self._lines]
            heapify(self._by_age)

    def oldest(self) -> "tuple[Envelope, Entity] | None":
        """The message that waits longest, and its line; None when there is none."""
        while self._by_age:
            envelope = self._by_age[0][2]
            if envelope in self._lines:
                return envelope, self._lines[envelope]
            heappop(self._by_age)
        return None

    def clear(self) -> None:
        """Nothing waits."""
        self._lines.clear()
        self._by_age.clear()
