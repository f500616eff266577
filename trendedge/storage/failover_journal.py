"""The journal that goes on: Redis normally, PostgreSQL while Redis is down, and back again by itself."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from operator import itemgetter
from typing import Protocol

import structlog

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import (
    SETTLED_AT_ONCE,
    Announcement,
    Appended,
    Buried,
    DeadLetter,
    Duplicate,
    Entry,
    Journal,
    Settlement,
    Unique,
)
from trendedge.runtime.ownership import Owner, Ownership
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.held_mail import HeldMail
from trendedge.storage.mail_order import in_order
from trendedge.storage.pending import journal_unavailable

log = structlog.get_logger("trendedge.journal")

LEFT = "mailbox:left"
"""Channel on which a process that ends in good order says that it leaves mail: whoever hears it adopts that at once."""
PROBE_S = 1.0
"""How often a store that is down is tried again."""
MARK_S = 0.05
"""How long a mark waits for a store that is known to be down: it may be made though the answer does not come."""
_REMEMBERED = 100_000
"""Settlements remembered for a store that is down. What is beyond is delivered again after a restart: harmless."""


class LeasedJournal(Journal, Protocol):
    """A journal whose entries belong to a node as long as it says that it is alive."""

    async def look(self, mailbox: str) -> list[Owner]:
        """The others that have mail here and have said nothing for the length of their lease, or have given it up."""
        ...

    async def recover(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """As `Journal.recover`, with the mail of those who are gone: whoever calls it has fenced them, and whether they
        hold a lease here is not asked. Unless they are given, they are looked for."""
        ...

    async def adopt(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """As `Journal.adopt`, likewise."""
        ...

    async def settle(
        self,
        mailbox: str,
        settlements: Sequence[Settlement],
        *,
        begin: Sequence[str] = (),
        turn: int | None = None,
    ) -> None:
        """:param turn: of `begin`, by `Ownership.next_turn`, taken when it was called for; None for now"""
        ...

    async def uncount(self, mailbox: str, entry_ids: Sequence[str], *, turn: int | None = None) -> None:
        """:param turn: as of `settle`"""
        ...

    async def keep_lease(self) -> None:
        """Renew the lease while there is unsettled mail, until cancelled."""
        ...


class ProbedJournal(LeasedJournal, Protocol):
    """A journal that can be asked whether its store is back."""

    async def probe(self) -> None:
        """Write something that is nobody's: a store may answer and not be able to. As cheap as that can be.

        When it can, the leases are renewed before anybody may take them for run out.
        """
        ...


class Speaker(Protocol):
    """The first store itself, as far as it is more than a journal."""

    async def publish(self, channel: str, payload: bytes) -> int:
        """Tell whoever listens."""
        ...


@dataclass(eq=False, slots=True)
class _Side:
    """One of the two stores, and the settlements that it is owed."""

    prefix: str
    """Begins the ids of its entries, so that a settlement finds its store."""
    journal: LeasedJournal
    owed: deque[tuple[str, Settlement]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class FailoverJournal:
    """`runtime.Journal` over two others.

    An append that the first does not take goes to the second, and so do all later ones until the first is back: a
    store that is down costs its time-out once; only what was recovered from it is marked there before it is tried, down
    or not (`MARK_S`), since nobody could tell else what it has killed. `run` does what happens by itself: it probes
    (only while degraded), settles what was owed and keeps the leases.
    """

    def __init__(
        self,
        first: ProbedJournal,
        second: LeasedJournal,
        *,
        speaker: Speaker,
        ownership: Ownership,
        on_change: Callable[[bool], None] = lambda degraded: None,
    ) -> None:
        self._first = _Side("1:", first)
        self._second = _Side("2:", second)
        self._sides = self._first, self._second
        self._probe = first.probe
        self._speaker = speaker
        self._ownership = ownership
        self._on_change = on_change
        self._work = asyncio.Event()
        self._degraded = False
        self._adopting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: defaultdict[str, HeldMail] = defaultdict(lambda: HeldMail(ownership.node))
        self._unanswered: dict[tuple[str, str], str] = {}
        """By (prefix, question) the names of the stores that gave no answer the last time they were asked it."""

    @property
    def degraded(self) -> bool:
        """The first store is down; appends go to the second. `on_change` is called with each new value."""
        return self._degraded

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Remember a message in one of the stores; unavailable only when neither takes it."""
        near, far = (self._second, self._first) if self._degraded else (self._first, self._second)
        try:
            return await self._append(near, mailbox, payload, unique)
        except Fenced:
            raise  # the other store would say the same
        except JournalUnavailable as error:
            cause = error
        try:
            return await self._append(far, mailbox, payload, unique)
        except Fenced:
            raise
        except JournalUnavailable as error:
            stores, reasons = f"{cause.store} and {error.store}", f"{cause.reason}; {error.reason}"
            raise JournalUnavailable(stores, reasons) from error

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        """Forget entries. What their store cannot do now is remembered, and done when it is back.

        Entries in `begin` that cannot be marked, since the store that has them is down, are not marked later.

        :raises Fenced: they are another process's by now, which settles them
        """
        turn = self._ownership.next_turn()
        begun = self._by_side(begin)
        # Runs of one store, not all of it at once: what is announced keeps its order.
        runs = [
            (side, [replace(one, entry_id=self._side(one.entry_id)[1]) for one in run])
            for side, run in groupby(settlements, lambda settlement: self._side(settlement.entry_id)[0])
        ]
        runs += [(side, []) for side in begun if all(side is not other for other, _ in runs)]
        for side, own in runs:
            await self._settle(side, mailbox, own, begun.pop(side, []), turn)

    async def _settle(
        self, side: _Side, mailbox: str, settlements: Sequence[Settlement], begin: Sequence[str], turn: int
    ) -> None:
        """What the store does not do of the settlements is owed to it."""
        if side is self._second:
            await self._announce([one for settlement in settlements for one in settlement.announce])
        down = side is self._first and self._degraded
        # A mark is tried all the same: it may be there though the answer is lost, as the one before was. Not so what
        # would be announced twice.
        now = () if down else settlements
        if begin or not down:
            try:
                async with asyncio.timeout(MARK_S if down else None):
                    await side.journal.settle(mailbox, now, begin=begin, turn=turn)
            except Fenced:
                raise
            except (JournalUnavailable, TimeoutError):
                self._learn(side, down=True)
                if begin:
                    log.warning("attempts not counted", mailbox=mailbox, number=len(begin))
                now = ()
        owed = settlements[len(now) :]
        if owed:
            side.owed.extend((mailbox, settlement) for settlement in owed)
            self._work.set()

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        """Take back marks in the stores that have the entries.

        :raises JournalUnavailable: one of them is down, or has given no answer: it may be called again
        """
        turn = self._ownership.next_turn()
        failure: JournalUnavailable | None = None
        for side, ids in self._by_side(entry_ids).items():
            try:
                await side.journal.uncount(mailbox, ids, turn=turn)
            except Fenced:
                raise
            except JournalUnavailable as error:
                failure = error
                self._learn(side, down=True)
        if failure is not None:
            raise failure

    def _by_side(self, entry_ids: Sequence[str]) -> dict[_Side, list[str]]:
        own_ids: dict[_Side, list[str]] = {}
        for side, own_id in map(self._side, entry_ids):
            own_ids.setdefault(side, []).append(own_id)
        return own_ids

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the dead letters of the store that has it."""
        side, own_id = self._side(entry_id)
        await side.journal.bury(mailbox, own_id, payload, letter)

    async def recover(self, mailbox: str) -> list[Entry]:
        """The unsettled entries of both stores, oldest first; of one when the other is down (`adopt` brings the rest).

        :raises JournalUnavailable: both are down; or PostgreSQL is, and the mailbox is not this process's (any more)
        """
        with journal_unavailable():
            await self._ownership.take(mailbox)
        held = self._held[mailbox]
        held.lines = []
        held.unfinished = [*held.unfinished, *self._ownership.begun.pop(mailbox, ())]
        found: list[list[Entry]] = []
        _, gone = await self._gone("recover", mailbox)
        answered = await self._gather("recover", self._sides, lambda side: side.journal.recover(mailbox, gone), found)
        return await self._delivered(mailbox, found, gone, answered)

    async def adopt(self, mailbox: str) -> list[Entry]:
        """Entries that became ours since the last look: of dead nodes, of appends whose answer never came, and of a
        store that was down at `recover`. To be called about once a minute, and when `degraded` ends.

        The mail of dead nodes waits for a look at which both stores answer: of one key the older message may lie in the
        one that does not.

        :raises JournalUnavailable: both are down
        """
        async with self._adopting[mailbox]:  # two looks at once would both give what the stores give once
            found = self._held[mailbox].lines
            sides, gone = await self._gone("adopt", mailbox)
            answered = await self._gather("adopt", sides, lambda side: side.journal.adopt(mailbox, gone), found)
            return await self._delivered(mailbox, found, gone, answered)

    async def _delivered(
        self, mailbox: str, found: list[list[Entry]], gone: Sequence[Owner], answered: int
    ) -> list[Entry]:
        """What may be delivered, as it was sent."""
        held = self._held[mailbox]
        if answered == len(self._sides):
            held.finish(gone)
            if gone:
                with suppress(JournalUnavailable):
                    await self._ownership.adopted(gone)
        return in_order(*held.release(found))

    async def _gone(self, asked: str, mailbox: str) -> tuple[list[_Side], Sequence[Owner]]:
        """The stores that answer, and whose mail is to be adopted from both: who is silent in one of them. They are
        fenced, so that a lease in the other one, which may run out later, means nothing.

        :raises JournalUnavailable: both are down
        """
        answers = await self._ask_both(asked, self._sides, lambda side: side.journal.look(mailbox))
        sides = [side for side, _ in answers]
        silent = [owner for _, owners in answers for owner in owners]
        held = self._held[mailbox]
        if len(sides) < len(self._sides):
            nodes = {owner.node for owner in (*held.unfinished, *silent)}
            if nodes:
                log.warning("adoption waits, a store gives no answer", mailbox=mailbox, nodes=len(nodes))
            return sides, []
        try:
            claims = await self._ownership.shut_out([*held.unfinished, *silent])
        except Fenced:
            raise
        except JournalUnavailable as error:
            log.warning("adoption waits, nobody can be fenced", mailbox=mailbox, error=str(error))
            return sides, []
        if claims.unanswered:
            stuck = [owner.node for owner in claims.unanswered]
            log.warning("adoption of some waits, they cannot be fenced", mailbox=mailbox, nodes=stuck)
        held.begin(silent, claims)
        return sides, claims.granted

    async def count(self, mailbox: str) -> tuple[int, int]:
        """(unsettled of this node, dead) in both stores.

        :raises JournalUnavailable: one of them is down: what the other has is not all there is
        """
        counts = [await self._ask(side, "count", lambda side: side.journal.count(mailbox)) for side in self._sides]
        return sum(pending for pending, _ in counts), sum(dead for _, dead in counts)

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """The dead letters of both stores, the newest first; of one when the other is down.

        :raises JournalUnavailable: both are down
        """
        shares = await self._ask_both(
            "dead_letters",
            self._sides,
            lambda side: side.journal.dead_letters(mailbox, after=self._after(side, after), limit=limit),
        )
        letters = [replace(one, dead_id=side.prefix + one.dead_id) for side, found in shares for one in found]
        return sorted(letters, key=lambda one: _place(one.dead_id), reverse=True)[:limit]

    def _after(self, side: _Side, after: str | None) -> str | None:
        """The same place in the list of one side. Of two letters of one millisecond the second store's comes first."""
        if after is None or after.startswith(side.prefix):
            return after and after.removeprefix(side.prefix)
        ms = after.partition(":")[2].partition("-")[0]
        if not (ms.isascii() and ms.isdigit()):
            return after  # no place in any list
        return f"{int(ms) + (side is self._first)}-0"

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """One dead letter, of the store that its id names."""
        side, own_id = self._side(dead_id)
        found = await side.journal.dead_letter(mailbox, own_id)
        return None if found is None else replace(found, dead_id=side.prefix + found.dead_id)

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """Move a dead letter back among the entries of the store that it lies in."""
        side, own_id = self._side(dead_id)
        entry = await side.journal.replay(mailbox, own_id)
        return None if entry is None else replace(entry, entry_id=side.prefix + entry.entry_id)

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """Remove a dead letter from the store that it lies in."""
        side, own_id = self._side(dead_id)
        return await side.journal.discard(mailbox, own_id)

    async def release(self) -> bool:
        """Give up the leases in both stores, and tell on `LEFT` those that may adopt now.

        A store that is down keeps its lease; what is there is adopted when that has run out.
        """
        left = False
        for side in self._sides:
            with suppress(JournalUnavailable, Fenced):  # who was fenced has nothing left
                left = await side.journal.release() or left
        if left:
            with suppress(StoreUnavailable):
                await self._speaker.publish(LEFT, self._ownership.node.encode())
        return left

    async def run(self) -> None:
        """Mend what was broken, until cancelled. Sends nothing while all is well and all is settled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._first.journal.keep_lease())
            tasks.create_task(self._second.journal.keep_lease())
            tasks.create_task(self._mend())

    async def _mend(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(PROBE_S)
            if self._degraded:
                with suppress(JournalUnavailable):
                    await self._probe()
                    self._learn(self._first, down=False)
            if not self._degraded:
                await self._pay(self._first)
            await self._pay(self._second)
            if not (self._degraded or self._first.owed or self._second.owed):
                self._work.clear()

    async def _pay(self, side: _Side) -> None:
        while side.owed:
            mailbox, run = next(groupby(side.owed, itemgetter(0)))
            due = [settlement for _, settlement in islice(run, SETTLED_AT_ONCE)]
            try:
                await side.journal.settle(mailbox, due)
            except Fenced:
                pass  # whoever adopted the entry finds it committed, and settles it
            except JournalUnavailable:
                self._learn(side, down=True)
                return
            for _ in due:
                side.owed.popleft()

    async def _append(self, side: _Side, mailbox: str, payload: bytes, unique: Unique | None) -> Appended | Duplicate:
        try:
            outcome = await side.journal.append(mailbox, payload, unique=unique)
        except Fenced:
            raise
        except JournalUnavailable:
            self._learn(side, down=True)
            raise
        self._learn(side, down=False)
        return Appended(side.prefix + outcome.entry_id) if isinstance(outcome, Appended) else outcome

    async def _gather(
        self,
        asked: str,
        sides: Sequence[_Side],
        read: Callable[[_Side], Awaitable[list[Entry]]],
        found: list[list[Entry]],
    ) -> int:
        """Add a line of each store's entries to what was found, each with its store's prefix and a stamp; how many
        stores have answered."""

        async def collect(side: _Side) -> None:
            line = await read(side)
            found.append([replace(self._stamped(one), entry_id=side.prefix + one.entry_id) for one in line])

        return len(await self._ask_both(asked, sides, collect))

    def _stamped(self, one: Entry) -> Entry:
        """For one that has no stamp its age says when it was sent, if later than it was."""
        return one if one.sent_us else replace(one, sent_us=self._ownership.stamps.of_age(one.age_s))

    async def _ask_both[T](
        self, asked: str, sides: Sequence[_Side], question: Callable[[_Side], Awaitable[T]]
    ) -> list[tuple[_Side, T]]:
        """The answers of the stores that have one; what failed is in the log.

        :raises JournalUnavailable: neither has
        """
        answers: list[tuple[_Side, T]] = []
        failure: JournalUnavailable | None = None
        for side in sides:
            try:
                answers.append((side, await self._ask(side, asked, question)))
            except Fenced:
                raise
            except JournalUnavailable as error:
                failure = error
        if failure is not None and not answers:
            raise failure
        return answers

    def _say_unanswered(self, side: _Side, asked: str, error: JournalUnavailable) -> None:
        """Once a change, and not while the store is known to be down."""
        place = side.prefix, asked
        if place not in self._unanswered and not (side is self._first and self._degraded):
            log.warning("store gives no answer", store=error.store, asked=asked, reason=error.reason)
            self._unanswered[place] = error.store

    def _say_answered(self, side: _Side, asked: str) -> None:
        store = self._unanswered.pop((side.prefix, asked), None)
        if store is not None:
            log.info("store answers again", store=store, asked=asked)

    async def _ask[T](self, side: _Side, asked: str, question: Callable[[_Side], Awaitable[T]]) -> T:
        try:
            answer = await question(side)
        except Fenced:
            raise
        except JournalUnavailable as error:
            self._say_unanswered(side, asked, error)
            self._learn(side, down=True)
            raise
        self._say_answered(side, asked)
        return answer

    async def _announce(self, announce: Sequence[Announcement]) -> None:
        """For entries of the second store. While the first is down nobody can listen to it either."""
        if self._degraded:
            return
        with suppress(StoreUnavailable):
            for announcement in announce:
                await self._speaker.publish(announcement.channel, announcement.payload)

    def _side(self, entry_id: str) -> tuple[_Side, str]:
        side = self._first if entry_id.startswith(self._first.prefix) else self._second
        return side, entry_id.removeprefix(side.prefix)

    def _learn(self, side: _Side, *, down: bool) -> None:
        if side is self._first and down != self._degraded:
            self._degraded = down
            self._on_change(down)
            self._work.set()


def _place(dead_id: str) -> tuple[int, str, int]:
    """What dead letters of both stores are put in order by: time, store, number."""
    prefix, _, own_id = dead_id.partition(":")
    ms, _, number = own_id.partition("-")
    return int(ms), prefix, int(number)
