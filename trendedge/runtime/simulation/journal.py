"""A journal in memory that several simulated nodes share: one server, and one `MemoryJournal` for each process."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from trendedge.runtime.journal import Announcement, Appended, Buried, DeadLetter, Duplicate, Entry, Unique
from trendedge.runtime.simulation.wire import GoodWire, Wire

LEASE_S = 30.0
HEARTBEAT_S = 10.0
DOUBT_S = 5.0
"""Age at which an append has surely been answered or given up."""


ID_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry as the server holds it."""

    entry_id: str
    payload: bytes
    origin: str
    """The id under which it was appended: it stays the same when another node adopts the entry."""
    appended_at: float
    attempts: int = 0

    @property
    def moved(self) -> bool:
        """It was adopted from another node."""
        return self.entry_id != self.origin


@dataclass
class MemoryServer:
    """What the processes share. Every method is one atomic step, as a script is in Redis.

    `accepted`, `settled` and `buried` remember what happened to each entry, by the id under which it was appended: what
    was accepted is at any time settled, buried or in exactly one stream.
    """

    clock: Callable[[], float] = field(default=lambda: asyncio.get_running_loop().time())
    wall_clock: Callable[[], float] = time.time
    """Unix seconds, of which only dead letters tell."""
    lease_s: float = LEASE_S
    streams: defaultdict[tuple[str, str], dict[str, Stored]] = field(default_factory=lambda: defaultdict(dict))
    """Unsettled entries by mailbox and node, oldest first."""
    leases: dict[str, float] = field(default_factory=dict)
    """When each node's lease runs out, seconds of `clock`."""
    marks: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    """Value, entry id and end of each dedup mark."""
    accepted: list[str] = field(default_factory=list)
    settled: dict[str, None] = field(default_factory=dict)
    dead: defaultdict[str, dict[str, Buried]] = field(default_factory=lambda: defaultdict(dict))
    """Dead letters by mailbox and id, oldest first."""
    buried: dict[str, None] = field(default_factory=dict)
    published: list[Announcement] = field(default_factory=list)
    _number: int = 0

    def append(self, mailbox: str, node: str, payload: bytes, unique: Unique | None) -> tuple[bool, str]:
        """(True, entry id), or (False, the first value) when the mark is taken."""
        self.renew(node)
        if unique is not None:
            value, entry_id, ends = self.marks.get(unique.mark, ("", "", float("-inf")))
            if ends > self.clock():
                return (True, entry_id) if value == unique.value else (False, value)
        entry_id = self._add(mailbox, node, payload).entry_id
        if unique is not None:
            self.marks[unique.mark] = (unique.value, entry_id, self.clock() + unique.ttl_s)
        return True, entry_id

    def settle(self, mailbox: str, node: str, entry_id: str, announce: Sequence[Announcement]) -> None:
        """Forget an entry; what is gone already is only announced."""
        stored = self.streams[mailbox, node].pop(entry_id, None)
        if stored is not None:
            self.settled[stored.origin] = None
        self.published.extend(announce)

    def bury(self, mailbox: str, node: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the dead letters; nothing when it is gone."""
        stored = self.streams[mailbox, node].pop(entry_id, None)
        if stored is not None:
            self.buried[stored.origin] = None
            dead_id = self._new_id()
            self.dead[mailbox][dead_id] = Buried(dead_id, payload, letter, self.wall_clock())

    def begin(self, mailbox: str, node: str, entry_id: str) -> None:
        """Count an attempt."""
        stored = self.streams[mailbox, node].get(entry_id)
        if stored is not None:
            self.streams[mailbox, node][entry_id] = replace(stored, attempts=stored.attempts + 1)

    def read(self, mailbox: str, node: str) -> list[Stored]:
        """The unsettled entries of a node, in the order in which they were appended."""
        return sorted(self.streams[mailbox, node].values(), key=lambda stored: stored.origin)

    def renew(self, node: str) -> None:
        """The node is alive."""
        self.leases[node] = self.clock() + self.lease_s

    def end_lease(self, node: str) -> None:
        """What happens when a node was not heard of for too long."""
        self.leases.pop(node, None)

    def adopt(self, mailbox: str, node: str) -> int:
        """Move the mail of nodes without a lease to this one; how many entries that were."""
        self.renew(node)
        moved = 0
        for box, other in list(self.streams):
            if box == mailbox and other != node and self.leases.get(other, 0.0) <= self.clock():
                for stored in self.read(box, other):
                    entry_id = self._new_id()
                    self.streams[mailbox, node][entry_id] = replace(stored, entry_id=entry_id)
                    moved += 1
                del self.streams[box, other]
        return moved

    def count(self, mailbox: str, node: str) -> tuple[int, int]:
        """(unsettled of this node, dead of all nodes)."""
        return len(self.streams[mailbox, node]), len(self.dead[mailbox])

    def dead_letters(self, mailbox: str, after: str | None, limit: int) -> list[Buried]:
        """The newest first."""
        if after is not None and not (after.isascii() and after.isdecimal() and len(after) == ID_DIGITS):
            return []
        newest_first = reversed(self.dead[mailbox].values())
        return [one for one in newest_first if after is None or one.dead_id < after][:limit]

    def replay(self, mailbox: str, node: str, dead_id: str) -> Stored | None:
        """Make an entry of a dead letter."""
        self.renew(node)
        letter = self.dead[mailbox].pop(dead_id, None)
        return None if letter is None else self._add(mailbox, node, letter.payload)

    def _add(self, mailbox: str, node: str, payload: bytes) -> Stored:
        entry_id = self._new_id()
        stored = self.streams[mailbox, node][entry_id] = Stored(entry_id, payload, entry_id, self.clock())
        self.accepted.append(entry_id)
        return stored

    def _new_id(self) -> str:
        self._number += 1
        return f"{self._number:0{ID_DIGITS}}"


class MemoryJournal:
    """`runtime.Journal` over a `MemoryServer`, as one process of a node has it."""

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        node: str = "a",
        wire: Wire | None = None,
        doubt_s: float = DOUBT_S,
    ) -> None:
        self.server = server or MemoryServer()
        self.node = node
        self._wire = wire or GoodWire()
        self._doubt_s = doubt_s
        self._known: defaultdict[str, set[str]] = defaultdict(set)

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """As `Journal.append`."""
        taken, text = await self._wire.call("append", lambda: self.server.append(mailbox, self.node, payload, unique))
        if not taken:
            return Duplicate(text)
        self._known[mailbox].add(text)
        return Appended(text)

    async def settle(self, mailbox: str, entry_id: str, *, announce: Sequence[Announcement] = ()) -> None:
        """As `Journal.settle`."""
        await self._wire.call("settle", lambda: self.server.settle(mailbox, self.node, entry_id, announce))
        self._known[mailbox].discard(entry_id)

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """As `Journal.bury`."""
        await self._wire.call("bury", lambda: self.server.bury(mailbox, self.node, entry_id, payload, letter))
        self._known[mailbox].discard(entry_id)

    async def begin(self, mailbox: str, entry_id: str) -> None:
        """As `Journal.begin`."""
        await self._wire.call("begin", lambda: self.server.begin(mailbox, self.node, entry_id))

    async def recover(self, mailbox: str) -> list[Entry]:
        """As `Journal.recover`."""
        return self._deliver(mailbox, await self._wire.call("recover", lambda: self._take_over(mailbox)))

    async def adopt(self, mailbox: str) -> list[Entry]:
        """As `Journal.adopt`. A young entry that nobody here knows may be an append whose answer is just coming in."""
        found = await self._wire.call("adopt", lambda: self._take_over(mailbox))
        now = self.server.clock()
        unknown = [stored for stored in found if stored.entry_id not in self._known[mailbox]]
        return self._deliver(mailbox, [s for s in unknown if s.moved or now - s.appended_at >= self._doubt_s])

    async def count(self, mailbox: str) -> tuple[int, int]:
        """As `Journal.count`."""
        return await self._wire.call("count", lambda: self.server.count(mailbox, self.node))

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """As `Journal.dead_letters`."""
        return await self._wire.call("dead_letters", lambda: self.server.dead_letters(mailbox, after, limit))

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """As `Journal.dead_letter`."""
        return await self._wire.call("dead_letter", lambda: self.server.dead[mailbox].get(dead_id))

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """As `Journal.replay`."""
        stored = await self._wire.call("replay", lambda: self.server.replay(mailbox, self.node, dead_id))
        return None if stored is None else self._deliver(mailbox, [stored])[0]

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """As `Journal.discard`."""
        gone = await self._wire.call("discard", lambda: self.server.dead[mailbox].pop(dead_id, None))
        return gone is not None

    async def keep_lease(self) -> None:
        """Say that the node is alive, until cancelled."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.server.renew(self.node)

    def _take_over(self, mailbox: str) -> list[Stored]:
        self.server.adopt(mailbox, self.node)
        return self.server.read(mailbox, self.node)

    def _deliver(self, mailbox: str, found: list[Stored]) -> list[Entry]:
        self._known[mailbox].update(stored.entry_id for stored in found)
        now = self.server.clock()
        return [Entry(one.entry_id, one.payload, one.attempts, now - one.appended_at) for one in found]
