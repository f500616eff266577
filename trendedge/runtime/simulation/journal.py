"""A journal in memory that several simulated nodes share: one server, and one `MemoryJournal` for each process."""

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Announcement, Appended, Buried, DeadLetter, Duplicate, Entry, Settlement, Unique
from trendedge.runtime.ownership import Owner, Ownership
from trendedge.runtime.simulation.ownership import MemoryOwnership, MemoryRegistry
from trendedge.runtime.simulation.wire import GoodWire, Wire

LEASE_S = 30.0
DOUBT_S = 5.0
"""Age at which an append has surely been answered or given up."""


_ID = re.compile(r"[0-9]{13}-[0-9]{6}")
"""Milliseconds of the clock and a running number: in the order of the appends, as texts too."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry as the server holds it."""

    entry_id: str
    payload: bytes
    origin: str
    """The id under which it was appended: it stays the same when another node adopts the entry."""
    appended_at: float
    way: tuple[str, ...]
    """The nodes whose it was, one after the other; the first has appended it."""
    marks: tuple[tuple[str, int], ...] = ()
    """By process what it said last of its mark: a number, negative when it has taken that back."""
    replayed: bool = False
    appended_by: str = ""
    """The process; it has marked the entry by that."""

    @property
    def moved(self) -> bool:
        """It was adopted from another node."""
        return len(self.way) > 1

    def attempts(self, us: str = "") -> int:
        """How many others have begun it and not taken that back."""
        return sum(said > 0 for process, said in self.marks if process != us)

    def first_open(self, us: str = "") -> bool:
        """Whether another process has appended it and said no more of it."""
        return self.appended_by not in (us, *dict(self.marks))

    def marked(self, process: str, said: int) -> "Stored":
        """What comes late, behind something newer, says nothing."""
        marks = dict(self.marks)
        return (
            self
            if abs(marks.get(process, 0)) >= abs(said)
            else replace(self, marks=(*(marks | {process: said}).items(),))
        )


@dataclass
class MemoryServer:
    """What the processes share. Every method is one atomic step, as a script is in Redis.

    Whatever is done on behalf of an owner that is none any more raises `Fenced` and changes nothing.

    `accepted`, `settled` and `buried` remember what happened to each entry, by the id under which it was appended: what
    was accepted is at any time settled, buried or in exactly one stream.
    """

    clock: Callable[[], float] = field(default=lambda: asyncio.get_running_loop().time())
    wall_clock: Callable[[], float] = time.time
    """Unix seconds, of which only dead letters tell."""
    lease_s: float = LEASE_S
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    streams: defaultdict[tuple[str, str], dict[str, Stored]] = field(default_factory=lambda: defaultdict(dict))
    """Unsettled entries by mailbox and node, oldest first."""
    leases: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    """Epoch and end of the lease (seconds of `clock`) of each mailbox and node that has entries, and of no other."""
    fences: dict[tuple[str, str], int] = field(default_factory=dict)
    """The lowest epoch that may still act, by mailbox and node."""
    marks: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    """Value, entry id and end of each dedup mark."""
    accepted: dict[str, Stored] = field(default_factory=dict)
    """As they were when they were last moved."""
    settled: dict[str, None] = field(default_factory=dict)
    dead: defaultdict[str, dict[str, Buried]] = field(default_factory=lambda: defaultdict(dict))
    """Dead letters by mailbox and id, oldest first."""
    buried: dict[str, None] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    """How many processes have begun an entry that they had recovered, by the id under which it was appended."""
    published: list[Announcement] = field(default_factory=list)
    _number: int = 0

    def owned(self, owner: Owner) -> None:
        """Where every act of an owner begins: raises `Fenced` for one that is none any more."""
        valid_from = self.fences.get((owner.mailbox, owner.node), 0)
        if valid_from > owner.epoch:
            raise Fenced(owner.mailbox, owner.epoch, valid_from=valid_from)

    def join(self, owner: Owner) -> None:
        """Who owns the node by the registry, unless it was fenced since: older owners are refused from now on."""
        self.owned(owner)
        self.fences[owner.mailbox, owner.node] = owner.epoch
        self.renew(owner)

    def append(self, owner: Owner, payload: bytes, unique: Unique | None) -> tuple[bool, str]:
        """(True, entry id), or (False, the first value) when the mark is taken."""
        self.owned(owner)
        if unique is not None:
            value, entry_id, ends = self.marks.get(unique.mark, ("", "", float("-inf")))
            if ends > self.clock():
                return (True, entry_id) if value == unique.value else (False, value)
        entry_id = self._add(owner, payload).entry_id
        if unique is not None:
            self.marks[unique.mark] = (unique.value, entry_id, self.clock() + unique.ttl_s)
        return True, entry_id

    def settle(self, owner: Owner, settlements: Sequence[Settlement], begin: Sequence[str] = (), turn: int = 0) -> None:
        """Forget entries, and mark others; what is gone already is only announced."""
        self.owned(owner)
        for settlement in settlements:
            stored = self._remove(owner, settlement.entry_id)
            if stored is not None:
                self.settled[stored.origin] = None
            self.published.extend(settlement.announce)
        for entry_id in begin:
            self.mark(owner, entry_id, turn)

    def bury(self, owner: Owner, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the dead letters; nothing when it is gone."""
        self.owned(owner)
        stored = self._remove(owner, entry_id)
        if stored is not None:
            self.buried[stored.origin] = None
            dead_id = self._new_id()
            self.dead[owner.mailbox][dead_id] = Buried(dead_id, payload, letter, self.wall_clock())

    def mark(self, owner: Owner, entry_id: str, said: int) -> None:
        """Note what the owner's process says of its mark on an entry; nothing when it is gone."""
        stream = self.streams[owner.mailbox, owner.node]
        stored = stream.get(entry_id)
        if stored is not None:
            self.begun[stored.origin] += said > 0 and owner.mark not in dict(stored.marks)
            stream[entry_id] = stored.marked(owner.mark, said)

    def uncount(self, owner: Owner, entry_ids: Sequence[str], turn: int) -> None:
        """Take back the mark of the owner's process on each entry."""
        self.owned(owner)
        for entry_id in entry_ids:
            self.mark(owner, entry_id, -turn)

    def read(self, owner: Owner) -> list[Stored]:
        """The unsettled entries of a node, in the order in which they were appended."""
        return sorted(self.streams[owner.mailbox, owner.node].values(), key=lambda stored: stored.origin)

    def renew(self, owner: Owner) -> None:
        """The owner is alive; one without entries needs no lease."""
        self.owned(owner)
        place = owner.mailbox, owner.node
        if self.streams[place]:
            self.leases[place] = owner.epoch, self.clock() + self.lease_s

    def release(self, owner: Owner) -> bool:
        """End the owner's lease; whether it has entries."""
        self.owned(owner)
        place = owner.mailbox, owner.node
        if place in self.leases:
            self.leases[place] = owner.epoch, float("-inf")
        return place in self.leases

    def end_lease(self, node: str) -> None:
        """What happens when a node was not heard of for too long."""
        for place, (epoch, _) in self.leases.items():
            if place[1] == node:
                self.leases[place] = epoch, float("-inf")

    def look(self, owner: Owner) -> list[Owner]:
        """The others whose lease has run out."""
        self.owned(owner)
        return [
            Owner(mailbox, node, epoch)
            for (mailbox, node), (epoch, ends) in self.leases.items()
            if mailbox == owner.mailbox and node != owner.node and ends <= self.clock()
        ]

    def adopt(self, them: Owner, us: Owner) -> int:
        """Take over the entries of an owner that was fenced in the registry; how many there were."""
        self.owned(us)
        place = them.mailbox, them.node
        epoch, _ = self.leases.get(place, (0, 0.0))
        if place not in self.leases or epoch > them.epoch:
            return 0  # another adopter had it all, or they came back with a new epoch
        self.fences[place] = max(self.fences.get(place, 0), them.epoch + 1)
        theirs = self.read(them)
        for stored in theirs:
            mine = replace(stored, entry_id=self._new_id(), way=(*stored.way, us.node))
            self.streams[us.mailbox, us.node][mine.entry_id] = self.accepted[mine.origin] = mine
        del self.streams[place], self.leases[place]
        self.renew(us)
        return len(theirs)

    def count(self, owner: Owner) -> tuple[int, int]:
        """(unsettled of this node, dead of all nodes)."""
        return len(self.streams[owner.mailbox, owner.node]), len(self.dead[owner.mailbox])

    def dead_letters(self, mailbox: str, after: str | None, limit: int) -> list[Buried]:
        """The newest first."""
        if after is not None and not _ID.fullmatch(after):
            return []
        newest_first = reversed(self.dead[mailbox].values())
        return [one for one in newest_first if after is None or one.dead_id < after][:limit]

    def replay(self, owner: Owner, dead_id: str) -> Stored | None:
        """Make an entry of a dead letter."""
        self.owned(owner)
        letter = self.dead[owner.mailbox].pop(dead_id, None)
        return None if letter is None else self._add(owner, letter.payload, replayed=True)

    def _add(self, owner: Owner, payload: bytes, *, replayed: bool = False) -> Stored:
        entry_id = self._new_id()
        way, by = (owner.node,), owner.mark
        stored = Stored(entry_id, payload, entry_id, self.clock(), way, replayed=replayed, appended_by=by)
        self.streams[owner.mailbox, owner.node][entry_id] = self.accepted[entry_id] = stored
        self.renew(owner)
        return stored

    def _remove(self, owner: Owner, entry_id: str) -> Stored | None:
        place = owner.mailbox, owner.node
        stored = self.streams[place].pop(entry_id, None)
        if not self.streams[place]:
            self.leases.pop(place, None)
        return stored

    def _new_id(self) -> str:
        self._number += 1
        return f"{int(self.clock() * 1000):013}-{self._number:06}"


class MemoryJournal:
    """`runtime.Journal` over a `MemoryServer`, as one process of a node has it."""

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        node: str = "a",
        ownership: Ownership | None = None,
        wire: Wire | None = None,
        doubt_s: float = DOUBT_S,
    ) -> None:
        """:param ownership: to be given when several journals of a process share the registry of one of them"""
        self.server: MemoryServer = server or MemoryServer()
        self._wire = wire or GoodWire()
        self.ownership: Ownership = ownership or MemoryOwnership(self.server.registry, node=node, wire=self._wire)
        self._doubt_s = doubt_s
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        self._joined: dict[str, int] = {}
        """The epoch that the server has heard of, by mailbox."""

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """As `Journal.append`."""
        owner = self.ownership.of(mailbox)
        taken, text = await self._act(owner, "append", lambda: self.server.append(owner, payload, unique))
        if owner != self.ownership.of(mailbox):
            # Read again meanwhile, as a new owner: only the server knows whose this entry is by now.
            raise self.ownership.lost(owner)
        if not taken:
            return Duplicate(text)
        self._known[mailbox].add(text)
        return Appended(text)

    async def settle(
        self,
        mailbox: str,
        settlements: Sequence[Settlement],
        *,
        begin: Sequence[str] = (),
        turn: int | None = None,
    ) -> None:
        """As `Journal.settle`."""
        owner, turn = self.ownership.of(mailbox), turn or self.ownership.next_turn()
        await self._act(owner, "settle", lambda: self.server.settle(owner, settlements, begin, turn))
        self._known[mailbox].difference_update(settlement.entry_id for settlement in settlements)

    async def uncount(self, mailbox: str, entry_ids: Sequence[str], *, turn: int | None = None) -> None:
        """As `Journal.uncount`."""
        owner, turn = self.ownership.of(mailbox), turn or self.ownership.next_turn()
        await self._act(owner, "uncount", lambda: self.server.uncount(owner, entry_ids, turn))

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """As `Journal.bury`."""
        owner = self.ownership.of(mailbox)
        await self._act(owner, "bury", lambda: self.server.bury(owner, entry_id, payload, letter))
        self._known[mailbox].discard(entry_id)

    async def look(self, mailbox: str) -> list[Owner]:
        """The others whose lease has run out."""
        owner = self.ownership.of(mailbox)
        return await self._act(owner, "look", lambda: self.server.look(owner))

    async def recover(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """As `Journal.recover`; `gone` are the others whose mail is adopted, fenced already, unless it looks itself."""
        await self.ownership.take(mailbox)
        self._known[mailbox].clear()
        await self._join(mailbox, "join")
        owner = self.ownership.of(mailbox)
        await self._take_over(owner, gone)
        return self._deliver(mailbox, await self._act(owner, "read", lambda: self.server.read(owner)))

    async def adopt(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """As `Journal.adopt`, with `gone` as in `recover`.

        A young entry that nobody here knows may be an append whose answer is just coming in.
        """
        owner, known = self.ownership.of(mailbox), set(self._known[mailbox])
        if self._joined.get(mailbox) != owner.epoch:  # it was down when we took the mailbox
            await self._join(mailbox, "join late")
        await self._take_over(owner, gone)
        found = await self._act(owner, "read", lambda: self.server.read(owner))
        now = self.server.clock()
        known |= self._known[mailbox]  # with what was settled while it was read
        unknown = [stored for stored in found if stored.entry_id not in known]
        return self._deliver(mailbox, [s for s in unknown if s.moved or now - s.appended_at >= self._doubt_s])

    async def release(self) -> bool:
        """As `Journal.release`."""
        owners = [self.ownership.of(mailbox) for mailbox in self._known]
        return any([await self._act(owner, "release", partial(self.server.release, owner)) for owner in owners])

    async def count(self, mailbox: str) -> tuple[int, int]:
        """As `Journal.count`."""
        return await self._wire.call("count", lambda: self.server.count(self.ownership.of(mailbox)))

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """As `Journal.dead_letters`."""
        return await self._wire.call("dead_letters", lambda: self.server.dead_letters(mailbox, after, limit))

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """As `Journal.dead_letter`."""
        return await self._wire.call("dead_letter", lambda: self.server.dead[mailbox].get(dead_id))

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """As `Journal.replay`."""
        owner = self.ownership.of(mailbox)
        stored = await self._act(owner, "replay", lambda: self.server.replay(owner, dead_id))
        return None if stored is None else self._deliver(mailbox, [stored])[0]

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """As `Journal.discard`."""
        gone = await self._wire.call("discard", lambda: self.server.dead[mailbox].pop(dead_id, None))
        return gone is not None

    async def probe(self) -> None:
        """Raises what the wire raises while the server cannot be reached; when it can, the leases are renewed."""
        await self._wire.call("probe", lambda: None)
        for mailbox in [mailbox for mailbox, known in self._known.items() if known]:
            with suppress(Fenced):
                await self._renew(self.ownership.of(mailbox))

    async def keep_lease(self) -> None:
        """Say that the node is alive while it has unsettled mail, until cancelled."""
        while True:
            await asyncio.sleep(self.server.lease_s / 3)
            for mailbox in [mailbox for mailbox, known in self._known.items() if known]:
                with suppress(JournalUnavailable):  # appends, settlements and looks say so
                    await self._renew(self.ownership.of(mailbox))

    async def _renew(self, owner: Owner) -> None:
        await self._act(owner, "renew", lambda: self.server.renew(owner))

    async def _take_over(self, us: Owner, gone: Sequence[Owner] | None) -> None:
        if gone is None:
            try:
                gone = (await self.ownership.shut_out(await self.look(us.mailbox))).granted
            except Fenced:
                raise
            except JournalUnavailable:
                return  # they could not be fenced, so their mail is not touched
        for them in gone:
            await self._adopt_from(them, us)

    async def _adopt_from(self, them: Owner, us: Owner) -> None:
        await self._act(us, "adopt", lambda: self.server.adopt(them, us))

    async def _join(self, mailbox: str, operation: str) -> None:
        owner = self.ownership.of(mailbox)
        await self._act(owner, operation, lambda: self.server.join(owner))
        self._joined[mailbox] = owner.epoch

    async def _act[T](self, owner: Owner, operation: str, effect: Callable[[], T]) -> T:
        try:
            return await self._wire.call(operation, effect)
        except Fenced as error:
            raise self.ownership.lost(owner, valid_from=error.valid_from) from error

    def _deliver(self, mailbox: str, found: list[Stored]) -> list[Entry]:
        self._known[mailbox].update(stored.entry_id for stored in found)
        now, us = self.server.clock(), self.ownership.of(mailbox).mark
        return [
            Entry(
                one.entry_id,
                one.payload,
                one.attempts(us),
                now - one.appended_at,
                one.replayed,
                sent_by=one.way[0],
                first_open=one.first_open(us),
            )
            for one in found
        ]
