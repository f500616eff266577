"""The journal that goes on: Redis normally, PostgreSQL while Redis is down, and back again by itself."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
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
    Settlement,
    Unique,
)
from trendedge.runtime.ownership import Ownership
from trendedge.storage.both_letters import BothLetters
from trendedge.storage.both_mail import BothMail
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.leased_journal import LeasedJournal, ProbedJournal
from trendedge.storage.sides import Side, Sides

log = structlog.get_logger("trendedge.journal")

LEFT = "mailbox:left"
"""Channel on which a process that ends in good order says that it leaves mail: whoever hears it adopts that at once."""
PROBE_S = 1.0
"""How often a store that is down is tried again."""
MARK_S = 0.05
"""How long a mark waits for a store that is known to be down: it may be made though the answer does not come."""


class Speaker(Protocol):
    """The first store itself, as far as it is more than a journal."""

    async def publish(self, channel: str, payload: bytes) -> int:
        """Tell whoever listens."""
        ...


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
        self._sides = Sides(first, second, on_change=self._changed)
        self._mail = BothMail(self._sides, ownership)
        self._letters = BothLetters(self._sides)
        self._probe = first.probe
        self._speaker = speaker
        self._ownership = ownership
        self._on_change = on_change
        self._work = asyncio.Event()

    @property
    def degraded(self) -> bool:
        """The first store is down; appends go to the second. `on_change` is called with each new value."""
        return self._sides.degraded

    def _changed(self, degraded: bool) -> None:
        self._on_change(degraded)
        self._work.set()

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Remember a message in one of the stores; unavailable only when neither takes it."""
        near, far = self._sides.both[::-1] if self.degraded else self._sides.both
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
        begun = self._sides.by_side(begin)
        # Runs of one store, not all of it at once: what is announced keeps its order.
        runs = [
            (side, [replace(one, entry_id=self._sides.of(one.entry_id)[1]) for one in run])
            for side, run in groupby(settlements, lambda settlement: self._sides.of(settlement.entry_id)[0])
        ]
        runs += [(side, []) for side in begun if all(side is not other for other, _ in runs)]
        for side, own in runs:
            await self._settle(side, mailbox, own, begun.pop(side, []), turn)

    async def _settle(
        self, side: Side, mailbox: str, settlements: Sequence[Settlement], begin: Sequence[str], turn: int
    ) -> None:
        """What the store does not do of the settlements is owed to it."""
        if side is self._sides.second:
            await self._announce([one for settlement in settlements for one in settlement.announce])
        down = side is self._sides.first and self.degraded
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
                self._sides.learn(side, down=True)
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
        for side, ids in self._sides.by_side(entry_ids).items():
            try:
                await side.journal.uncount(mailbox, ids, turn=turn)
            except Fenced:
                raise
            except JournalUnavailable as error:
                failure = error
                self._sides.learn(side, down=True)
        if failure is not None:
            raise failure

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the dead letters of the store that has it."""
        side, own_id = self._sides.of(entry_id)
        await side.journal.bury(mailbox, own_id, payload, letter)

    async def recover(self, mailbox: str) -> list[Entry]:
        """The unsettled entries of both stores, oldest first; of one when the other is down (`adopt` brings the rest).

        :raises JournalUnavailable: both are down; or PostgreSQL is, and the mailbox is not this process's (any more)
        """
        return await self._mail.recover(mailbox)

    async def adopt(self, mailbox: str) -> list[Entry]:
        """As `BothMail.adopt`. To be called about once a minute, and when `degraded` ends.

        :raises JournalUnavailable: both are down
        """
        return await self._mail.adopt(mailbox)

    async def count(self, mailbox: str) -> tuple[int, int]:
        """(unsettled of this node, dead) in both stores.

        :raises JournalUnavailable: one of them is down: what the other has is not all there is
        """
        counts = [
            await self._sides.ask(side, "count", lambda side: side.journal.count(mailbox)) for side in self._sides.both
        ]
        return sum(pending for pending, _ in counts), sum(dead for _, dead in counts)

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """The dead letters of both stores, the newest first; of one when the other is down.

        :raises JournalUnavailable: both are down
        """
        return await self._letters.newest(mailbox, after=after, limit=limit)

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """One dead letter, of the store that its id names."""
        return await self._letters.one(mailbox, dead_id)

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """Move a dead letter back among the entries of the store that it lies in."""
        return await self._letters.replay(mailbox, dead_id)

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """Remove a dead letter from the store that it lies in."""
        return await self._letters.discard(mailbox, dead_id)

    async def release(self) -> bool:
        """Give up the leases in both stores, and tell on `LEFT` those that may adopt now.

        A store that is down keeps its lease; what is there is adopted when that has run out.
        """
        left = False
        for side in self._sides.both:
            with suppress(JournalUnavailable, Fenced):  # who was fenced has nothing left
                left = await side.journal.release() or left
        if left:
            with suppress(StoreUnavailable):
                await self._speaker.publish(LEFT, self._ownership.node.encode())
        return left

    async def run(self) -> None:
        """Mend what was broken, until cancelled. Sends nothing while all is well and all is settled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sides.first.journal.keep_lease())
            tasks.create_task(self._sides.second.journal.keep_lease())
            tasks.create_task(self._mend())

    async def _mend(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(PROBE_S)
            if self.degraded:
                with suppress(JournalUnavailable):
                    await self._probe()
                    self._sides.learn(self._sides.first, down=False)
            if not self.degraded:
                await self._pay(self._sides.first)
            await self._pay(self._sides.second)
            if not (self.degraded or self._sides.first.owed or self._sides.second.owed):
                self._work.clear()

    async def _pay(self, side: Side) -> None:
        while side.owed:
            mailbox, run = next(groupby(side.owed, itemgetter(0)))
            due = [settlement for _, settlement in islice(run, SETTLED_AT_ONCE)]
            try:
                await side.journal.settle(mailbox, due)
            except Fenced:
                pass  # whoever adopted the entry finds it committed, and settles it
            except JournalUnavailable:
                self._sides.learn(side, down=True)
                return
            for _ in due:
                side.owed.popleft()

    async def _append(self, side: Side, mailbox: str, payload: bytes, unique: Unique | None) -> Appended | Duplicate:
        try:
            outcome = await side.journal.append(mailbox, payload, unique=unique)
        except Fenced:
            raise
        except JournalUnavailable:
            self._sides.learn(side, down=True)
            raise
        self._sides.learn(side, down=False)
        return Appended(side.prefix + outcome.entry_id) if isinstance(outcome, Appended) else outcome

    async def _announce(self, announce: Sequence[Announcement]) -> None:
        """For entries of the second store. While the first is down nobody can listen to it either."""
        if self.degraded:
            return
        with suppress(StoreUnavailable):
            for announcement in announce:
                await self._speaker.publish(announcement.channel, announcement.payload)
