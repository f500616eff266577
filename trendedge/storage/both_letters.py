"""The dead letters of two stores in one list."""

from dataclasses import replace

from trendedge.runtime.journal import Buried, Entry
from trendedge.storage.sides import Side, Sides


class BothLetters:
    """Each letter lies in the store that had the entry, and has that store's prefix before its id."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides

    async def newest(self, mailbox: str, *, after: str | None, limit: int) -> list[Buried]:
        """As `Journal.dead_letters`: of one store when the other is down.

        :raises JournalUnavailable: both are down
        """
        shares = await self._sides.ask_both(
            "dead_letters",
            lambda side: side.journal.dead_letters(mailbox, after=self._after(side, after), limit=limit),
        )
        letters = [replace(one, dead_id=side.prefix + one.dead_id) for side, found in shares for one in found]
        return sorted(letters, key=lambda one: _place(one.dead_id), reverse=True)[:limit]

    def _after(self, side: Side, after: str | None) -> str | None:
        """The same place in the list of one side. Of two letters of one millisecond the second store's comes first."""
        if after is None or after.startswith(side.prefix):
            return after and after.removeprefix(side.prefix)
        ms = after.partition(":")[2].partition("-")[0]
        if not (ms.isascii() and ms.isdigit()):
            return after  # no place in any list
        return f"{int(ms) + (side is self._sides.first)}-0"

    async def one(self, mailbox: str, dead_id: str) -> Buried | None:
        """As `Journal.dead_letter`."""
        side, own_id = self._sides.of(dead_id)
        found = await side.journal.dead_letter(mailbox, own_id)
        return None if found is None else replace(found, dead_id=side.prefix + found.dead_id)

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """As `Journal.replay`, to the entries of the store that the letter lies in."""
        side, own_id = self._sides.of(dead_id)
        entry = await side.journal.replay(mailbox, own_id)
        return None if entry is None else replace(entry, entry_id=side.prefix + entry.entry_id)

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """As `Journal.discard`."""
        side, own_id = self._sides.of(dead_id)
        return await side.journal.discard(mailbox, own_id)


def _place(dead_id: str) -> tuple[int, str, int]:
    """What dead letters of both stores are put in order by: time, store, number."""
    prefix, _, own_id = dead_id.partition(":")
    ms, _, number = own_id.partition("-")
    return int(ms), prefix, int(number)
