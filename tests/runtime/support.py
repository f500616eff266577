"""What the runtime's tests share: a running tree, an in-memory journal, and actors that fail on command."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from trendedge.runtime import (
    Announcement,
    Appended,
    DeadLetter,
    Duplicate,
    Entry,
    Supervisor,
    SupervisorSpec,
    Unique,
)


@asynccontextmanager
async def running(spec: SupervisorSpec) -> AsyncIterator[Supervisor]:
    """Run a tree until the block ends, then stop it in good order."""
    root = Supervisor(spec)
    ready = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(root.run, ready.set)
        await ready.wait()
        yield root
        root.request_stop()


async def until(true: Callable[[], bool]) -> None:
    """Wait for what has to become true within 5 s."""
    with anyio.fail_after(5):
        while not true():  # noqa: ASYNC110 - what it waits for sets no event
            await anyio.sleep(0.001)


@dataclass
class MemoryJournal:
    """A journal in a dictionary, with the same contract as the real ones; what it did is there to look at."""

    entries: dict[str, bytes] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    dead: list[tuple[bytes, DeadLetter]] = field(default_factory=list)
    announced: list[Announcement] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    orphans: list[Entry] = field(default_factory=list)
    """What dead processes left: the next `adopt` gives it away."""

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        if unique is not None:
            first = self.marks.setdefault(unique.mark, unique.value)
            if first != unique.value:
                return Duplicate(first)
        entry_id = f"{len(self.entries) + len(self.settled) + len(self.dead):06}"
        self.entries[entry_id] = payload
        return Appended(entry_id)

    async def settle(self, mailbox: str, entry_id: str, *, announce: Sequence[Announcement] = ()) -> None:
        self.entries.pop(entry_id, None)
        self.settled.append(entry_id)
        self.announced.extend(announce)

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        self.entries.pop(entry_id, None)
        self.dead.append((payload, letter))

    async def recover(self, mailbox: str) -> list[Entry]:
        found = []
        for entry_id, payload in sorted(self.entries.items()):
            found.append(Entry(entry_id, payload, self.attempts.get(entry_id, 0)))
        return found

    async def begin(self, mailbox: str, entry_id: str) -> None:
        self.attempts[entry_id] = self.attempts.get(entry_id, 0) + 1

    async def adopt(self, mailbox: str) -> list[Entry]:
        adopted, self.orphans = self.orphans, []
        self.entries.update({entry.entry_id: entry.payload for entry in adopted})
        return adopted

    async def count(self, mailbox: str) -> tuple[int, int]:
        return len(self.entries), len(self.dead)
