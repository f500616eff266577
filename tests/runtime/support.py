"""What the runtime's tests share: a running tree, an in-memory journal, and actors that fail on command."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import anyio

from trendedge.runtime import (
    Announcement,
    Appended,
    Buried,
    DeadLetter,
    Duplicate,
    Entry,
    Settlement,
    Unique,
)
from trendedge.runtime import running as running


async def until(true: Callable[[], bool], *, within_s: float = 20) -> None:
    """Wait for what has to become true."""
    with anyio.fail_after(within_s):
        while not true():  # noqa: ASYNC110 - what it waits for sets no event
            await anyio.sleep(0.001)


@dataclass
class MemoryJournal:
    """A journal of one mailbox and one process in dictionaries; what it did is there to look at, and to be set before.

    So far it keeps the contract: the tests of tests/storage/test_journals.py that concern one process are run with it.
    Of owners and leases it knows nothing, and gives whoever asks what there is.
    """

    entries: dict[str, bytes] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    marks: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    """Value, entry and end of each, by the loop's clock."""
    letters: dict[str, Buried] = field(default_factory=dict)
    announced: list[Announcement] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))
    replayed: set[str] = field(default_factory=set)
    orphans: list[Entry] = field(default_factory=list)
    """What dead processes left: the next `adopt` gives it away."""
    appended_at: dict[str, float] = field(default_factory=dict)
    """By the loop's clock; what is not here was appended just now."""
    in_hand: set[str] = field(default_factory=set)
    """Those of the attempts that are of this process."""
    own: set[str] = field(default_factory=set)
    """What this process has appended or replayed, and attempts that are not counted."""
    outlived: set[str] = field(default_factory=set)
    """What nobody has died over when it was first attempted."""

    def die(self) -> None:
        """Be used by the next process from now on."""
        self.in_hand.clear()
        self.own.clear()

    @property
    def dead(self) -> list[tuple[bytes, DeadLetter]]:
        return [(one.payload, one.letter) for one in self.letters.values()]

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        now = anyio.current_time()
        if unique is not None:
            value, entry_id, ends = self.marks.get(unique.mark, ("", "", now))
            if ends > now:
                return Appended(entry_id) if value == unique.value else Duplicate(value)
        entry_id = self._remember(payload)
        if unique is not None:
            self.marks[unique.mark] = unique.value, entry_id, now + unique.ttl_s
        return Appended(entry_id)

    def _remember(self, payload: bytes) -> str:
        entry_id = f"{next(self.numbers):06}"
        self.entries[entry_id] = payload
        self.appended_at[entry_id] = anyio.current_time()
        self.own.add(entry_id)
        return entry_id

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        for settlement in settlements:
            self.entries.pop(settlement.entry_id, None)
            self.settled.append(settlement.entry_id)
            self.announced.extend(settlement.announce)
        for entry_id in begin:
            if entry_id in self.entries and entry_id not in self.in_hand:
                self.in_hand.add(entry_id)
                self.attempts[entry_id] = self.attempts.get(entry_id, 0) + 1

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        self.outlived.update(self.own.intersection(entry_ids))
        for entry_id in self.in_hand.intersection(entry_ids):
            self.in_hand.discard(entry_id)
            self.attempts[entry_id] -= 1

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        if self.entries.pop(entry_id, None) is not None:
            dead_id = f"{next(self.numbers):06}"
            self.letters[dead_id] = Buried(dead_id, payload, letter, buried_at=time.time())

    async def recover(self, mailbox: str) -> list[Entry]:
        found, now = [], anyio.current_time()
        for entry_id, payload in sorted(self.entries.items()):
            attempts = self.attempts.get(entry_id, 0) - (entry_id in self.in_hand)
            age_s, replayed = now - self.appended_at.get(entry_id, now), entry_id in self.replayed
            first_open = entry_id not in self.own | self.outlived
            found.append(Entry(entry_id, payload, attempts, age_s, replayed, first_open=first_open))
        return found

    async def adopt(self, mailbox: str) -> list[Entry]:
        adopted, self.orphans = self.orphans, []
        self.entries.update({entry.entry_id: entry.payload for entry in adopted})
        return adopted

    async def release(self) -> bool:
        return bool(self.entries)

    async def count(self, mailbox: str) -> tuple[int, int]:
        return len(self.entries), len(self.letters)

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        if after is not None and not (after.isascii() and after.isdigit()):
            return []
        newest_first = sorted(self.letters.items(), reverse=True)
        return [letter for dead_id, letter in newest_first if after is None or dead_id < after][:limit]

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        return self.letters.get(dead_id)

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        letter = self.letters.pop(dead_id, None)
        if letter is None:
            return None
        entry_id = self._remember(letter.payload)
        self.replayed.add(entry_id)
        return Entry(entry_id, letter.payload, replayed=True)

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        return self.letters.pop(dead_id, None) is not None
