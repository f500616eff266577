"""What this process may die of, as its journal has it: the entries that it has marked, and those marks taken back.

A mark is of the process, and is there or not. So to make it or to take it back can be repeated when an answer was lost,
and no lost answer makes one death two, or none.
"""

import asyncio
from itertools import batched

from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import SETTLED_AT_ONCE, Journal

PAGES_AT_ONCE = 16
"""Commands that are under way together: behind many more those of others would wait for too long."""


class Marks:
    """The marks of one mailbox. Nothing is known for certain of those in the journal: there may be fewer."""

    def __init__(self, journal: Journal, mailbox: str) -> None:
        self._journal = journal
        self._mailbox = mailbox
        self._made: dict[str, None] = {}
        self._outlived: dict[str, object] = {}
        """Entries whose mark is to be taken back, with what tells one attempt from another."""

    def make(self, entry_id: str) -> None:
        """The entry is appended, or about to be begun: a mark of an attempt before this one is not taken back."""
        self._made[entry_id] = None
        self._outlived.pop(entry_id, None)

    def suspect(self, entry_id: str) -> None:
        """The journal may have a mark on the entry of which nobody here knows any more."""
        if entry_id not in self._outlived:
            self._made[entry_id] = None

    def outlive(self, entry_id: str) -> bool:
        """Let the next `take_back` take the mark back; False when there is none, or that was said before."""
        if entry_id not in self._made:
            return False
        del self._made[entry_id]
        self._outlived[entry_id] = object()
        return True

    def outlive_all(self) -> None:
        """Whatever is left: the process leaves it to the next."""
        for entry_id in tuple(self._made):
            self.outlive(entry_id)

    @property
    def left(self) -> int:
        """How many are still to be taken back."""
        return len(self._outlived)

    async def take_back(self) -> None:
        """Take back what is to be, together what came together, and much of it at once: a stop gives it little time,
        and a slow store takes as long for one command as for some.

        :raises JournalUnavailable: what has no answer is left, to be taken back again
        :raises Fenced: the mailbox is another process's by now
        """
        failures: list[Exception] = []
        pages = [dict(page) for page in batched(tuple(self._outlived.items()), SETTLED_AT_ONCE)]
        for some in batched(pages, PAGES_AT_ONCE):
            # Each to its end: what the answer to one says, says nothing about those that lie in another store.
            ends = await asyncio.gather(*map(self._take_back, some), return_exceptions=True)
            failures += [end for end in ends if isinstance(end, Exception)]
        if failures:
            raise next((one for one in failures if not isinstance(one, JournalUnavailable)), failures[0])

    async def _take_back(self, due: dict[str, object]) -> None:
        await self._journal.uncount(self._mailbox, tuple(due))
        for entry_id, attempt in due.items():
            if self._outlived.get(entry_id) is attempt:
                del self._outlived[entry_id]

    def drop(self, entry_id: str) -> None:
        """The journal has forgotten the entry."""
        self._made.pop(entry_id, None)
        self._outlived.pop(entry_id, None)

    def forget(self) -> None:
        """Nothing here is this process's any more."""
        self._made.clear()
        self._outlived.clear()
