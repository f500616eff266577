"""The journal in PostgreSQL, for the time when Redis is down. Each call is one statement or two."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Appended, Buried, DeadLetter, Duplicate, Entry, Settlement, Unique
from trendedge.runtime.ownership import Owner
from trendedge.storage import mailbox_sql as sql
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.pending import DOUBT_S, Pending, journal_unavailable
from trendedge.storage.postgres import STORE, Database, Row
from trendedge.storage.values import storable

_ANSWER_S = 2.0
_LISTED = 2_000
"""Entries of which one answer tells that they are there: 100 KB."""
_PAGE = 500
_PAGE_BYTES = 128 * 1024
"""Entries, and bytes of them, that are read at once: to be answered in time they need half a Mbit/s."""
_LATE_S = 60.0
"""How long a statement that nobody waits for any more may wait for a lock, with all its time-outs."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NUMBER = 19
_LARGEST_NUMBER = 2**63 - 1


class PostgresJournal:
    """`runtime.Journal` on a table.

    Announcements reach nobody: PostgreSQL's own channels need a session, which a pooler does not give. The marks are
    those that `commit_execution` checks, so that a duplicate of what was traded already is seen at the door as well.
    """

    def __init__(
        self,
        database: Database,
        *,
        ownership: PostgresOwnership,
        doubt_s: float = DOUBT_S,
    ) -> None:
        self._database = database.cutting_off()
        self._ownership = ownership
        self._pending = Pending(doubt_s=doubt_s, late_s=_LATE_S, times=ownership.times)
        self._lease_s = ownership.times.lease_s
        self._outages = ownership.outages

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Remember a message; with `unique`, only if nobody else holds the mark. One transaction."""
        owner = self._ownership.of(mailbox)
        begun, renew = time.monotonic(), self._pending.lease_due(mailbox)
        mark, value, ttl_s = (unique.mark, unique.value, unique.ttl_s) if unique else (None, None, 0)
        lease_s = self._lease_s if renew else 0.0
        with self._pending.doubting(mailbox):
            async with self._answered():
                told = (payload, mark, value, ttl_s, lease_s, self._ownership.stamps.next(), owner.mark)
                row = await self._database.fetchrow(sql.APPEND, *_key(owner), *told)
                if row is None:
                    raise StoreUnavailable(STORE, "a statement that gives one row gave none")
                if row["id"] is None and row["owned"]:
                    return Duplicate(await self._database.fetchval(sql.MARK, mark) or "")
            # As a new owner, all was read again meanwhile: only the store knows whose this entry is by now.
            if not row["owned"] or owner != self._ownership.of(mailbox):
                raise self._ownership.lost(owner)
        if renew:
            self._pending.renewed(mailbox, begun)
        entry_id = _entry_id(row)
        self._pending.remember(mailbox, entry_id)
        return Appended(entry_id)

    async def settle(
        self,
        mailbox: str,
        settlements: Sequence[Settlement],
        *,
        begin: Sequence[str] = (),
        turn: int | None = None,
    ) -> None:
        """Forget entries and mark others. Whoever wants announcements to be heard has to publish them elsewhere."""
        await self._write(mailbox, settlements, begin, turn or self._ownership.next_turn())
        for settlement in settlements:
            self._pending.forget(mailbox, settlement.entry_id)

    async def uncount(self, mailbox: str, entry_ids: Sequence[str], *, turn: int | None = None) -> None:
        """Take back this process's mark on each entry."""
        await self._write(mailbox, (), entry_ids, -(turn or self._ownership.next_turn()))

    async def _write(self, mailbox: str, gone: Sequence[Settlement], marked: Sequence[str], said: int) -> None:
        ids = [_row_id(settlement.entry_id) for settlement in gone], [_row_id(entry_id) for entry_id in marked]
        await self._act(sql.SETTLE, mailbox, *ids, self._ownership.of(mailbox).mark, said)

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the dead letters."""
        texts = (storable(letter.cause), storable(letter.traceback))
        facts = {storable(name): storable(fact) for name, fact in letter.facts.items()}
        await self._act(sql.BURY, mailbox, _row_id(entry_id), payload, *texts, letter.attempts, facts)
        self._pending.forget(mailbox, entry_id)

    async def look(self, mailbox: str) -> list[Owner]:
        """The others that have mail and no lease, nor had the time for one since the server is back. One statement."""
        us = self._ownership.of(mailbox)
        async with self._answered():
            found = await self._database.fetch(sql.LOOK, *_key(us))
        if any(row["node"] == us.node for row in found):
            raise self._ownership.lost(us)
        silent = [row for row in found if row["given_up"] or not self._outages.just_back]
        return [Owner(mailbox, row["node"], row["epoch"]) for row in silent]

    async def recover(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """All unsettled entries of this node and of nodes whose lease ran out, oldest first.

        :param gone: those nodes, fenced already; unless given, they are looked for here
        """
        with self._pending.doubting(mailbox):
            with journal_unavailable():
                await self._ownership.take(mailbox)
            self._pending.forget_all(mailbox)
            await self._renew_lease(mailbox)
            await self._take_over(mailbox, gone)
            listed, clock = await self._list(mailbox)
            return self._delivered(mailbox, await self._read(mailbox, listed), clock)

    async def adopt(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """Entries that became ours since the last look: of dead nodes, and of appends whose answer never came.

        One statement when there are none. To be called about once a minute.

        :param gone: the dead nodes, fenced already; unless given, they are looked for here
        """
        with self._pending.doubting(mailbox):  # what was moved and not given to anybody is found by the next look
            known = self._known(mailbox)
            moved = await self._take_over(mailbox, gone)
            if not moved and not self._pending.in_doubt(mailbox):
                return []
            listed, clock = await self._list(mailbox)
            known |= self._known(mailbox)  # with what was appended, or settled, while it was listed
            unknown = [row for row in listed if row["id"] not in known]
            # A young one may be an append whose answer is just coming in: that delivers itself.
            old = {int(one) for one in self._pending.unanswered(mailbox, [str(row["id"]) for row in unknown])}
            old |= {row["id"] for row in unknown if row["age_s"] >= self._pending.doubt_s}
            old |= moved
            ours = [row for row in unknown if row["id"] in old]
            if len(ours) == len(unknown):
                self._pending.settle_doubt(mailbox)
            rows = await self._read(mailbox, ours)
            known = self._known(mailbox)  # with what another look has given while it was read
            return self._delivered(mailbox, [row for row in rows if row["id"] not in known], clock)

    async def count(self, mailbox: str) -> tuple[int, int]:
        """(unsettled of this node, dead of all nodes)."""
        async with self._answered():
            row = await self._database.fetchrow(sql.COUNT, mailbox, self._ownership.node)
        return (0, 0) if row is None else (row["pending"], row["dead"])

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """Dead letters, the newest first, from the one after `after` on."""
        place = (None, None) if after is None else _place(after)
        if place is None:
            return []
        async with self._answered():
            return [_buried(row) for row in await self._database.fetch(sql.DEAD_LETTERS, mailbox, *place, limit)]

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """One dead letter."""
        place = _place(dead_id)
        if place is None:
            return None
        async with self._answered():
            row = await self._database.fetchrow(sql.DEAD_LETTER, mailbox, *place)
        return None if row is None else _buried(row)

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """Move a dead letter to this node's entries, in one statement."""
        place = _place(dead_id)
        if place is None:
            return None
        begun, owner = time.monotonic(), self._ownership.of(mailbox)
        with self._pending.doubting(mailbox):
            async with self._answered():
                told = (*place, self._lease_s, self._ownership.stamps.next(), owner.mark)
                row = await self._database.fetchrow(sql.REPLAY, *_key(owner), *told)
                if row is None:
                    raise StoreUnavailable(STORE, "a statement that gives one row gave none")
            if not row["owned"]:
                raise self._ownership.lost(owner)
        if row["id"] is None:
            return None
        self._pending.renewed(mailbox, begun)
        entry = Entry(_entry_id(row), row["payload"], replayed=True, first_open=False)
        self._pending.remember(mailbox, entry.entry_id)
        return entry

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """Remove a dead letter."""
        place = _place(dead_id)
        if place is None:
            return False
        async with self._answered():
            return await self._database.execute(sql.DISCARD, mailbox, *place) == "DELETE 1"

    async def keep_lease(self) -> None:
        """Renew the lease while mail is or may be unsettled, or somebody is claimed, until cancelled. Costs nothing
        otherwise."""
        async with asyncio.TaskGroup() as tasks:
            # While the server is away nobody's lease holds, and some may look as soon as it is back.
            tasks.create_task(self._pending.beat(self._renew_lease, again_s=self._ownership.times.again_s))
            tasks.create_task(self._ownership.keep_claims())

    async def release(self) -> bool:
        """End the leases of the mailboxes that have unsettled mail or a claim on some; one statement for each."""
        left = sorted({*self._pending.left(), *self._ownership.claiming()})
        for mailbox in left:
            await self._act(sql.RELEASE, mailbox)
        return bool(left)

    async def _renew_lease(self, mailbox: str) -> None:
        begun = time.monotonic()
        await self._act(sql.RENEW, mailbox, self._lease_s)
        self._pending.renewed(mailbox, begun)

    async def _take_over(self, mailbox: str, gone: Sequence[Owner] | None) -> set[int]:
        """Make the entries of nodes that are gone ours; their ids."""
        us = self._ownership.of(mailbox)
        if gone is None:
            gone = (await self._ownership.shut_out(await self.look(mailbox))).granted
        moved: set[int] = set()
        for them in gone:
            # First our own lease: nobody may take from us what we are about to take.
            await self._renew_lease(mailbox)
            async with self._answered():
                # By name, and not by lease once more: a row that another adopter took meanwhile no longer matches.
                moved.update(await self._database.fetchval(sql.ADOPT, *_key(us), them.node, them.epoch))
        return moved

    async def _act(self, statement: str, mailbox: str, *args: Any) -> None:
        """Run a statement on behalf of the owner.

        :raises Fenced: it is none any more, and nothing was changed
        """
        owner = self._ownership.of(mailbox)
        async with self._answered():
            owned = await self._database.fetchval(statement, *_key(owner), *args)
        if not owned:
            raise self._ownership.lost(owner)

    @asynccontextmanager
    async def _answered(self) -> AsyncGenerator[None]:
        """Wait so long and no longer: a webhook has three seconds in all, and the journal is a part of that."""
        try:
            with journal_unavailable():
                async with asyncio.timeout(_ANSWER_S):
                    yield
        except (JournalUnavailable, TimeoutError) as error:
            self._outages.failed()
            if isinstance(error, JournalUnavailable):
                raise
            raise JournalUnavailable(STORE, f"no answer within {_ANSWER_S:g} s") from error
        self._outages.answered()

    def _known(self, mailbox: str) -> set[int]:
        return {_row_id(entry_id) for entry_id in self._pending.entries(mailbox)}

    async def _list(self, mailbox: str) -> tuple[list[Row], "_Clock"]:
        """All unsettled entries of this node in their order, without their payloads; and the store's clock."""
        listed: list[Row] = []
        clock = _Clock(_EPOCH, 0.0)
        while True:
            await self._stay_alive(mailbox)
            after = listed[-1]["id"] if listed else 0
            async with self._answered():
                page = await self._database.fetch(sql.LIST, mailbox, self._ownership.node, after, _LISTED)
            if page and not listed:
                clock = _Clock(page[0]["now"], time.monotonic())
            listed += page
            if len(page) < _LISTED:
                return listed, clock

    async def _read(self, mailbox: str, listed: Iterable[Row]) -> list[Row]:
        """The listed entries with their payloads, in the same order; without those that are gone."""
        rows: list[Row] = []
        us = self._ownership.of(mailbox)
        for ids in _pages(listed):
            await self._stay_alive(mailbox)
            async with self._answered():
                rows += await self._database.fetch(sql.READ, mailbox, us.node, ids, us.mark)
        return rows

    async def _stay_alive(self, mailbox: str) -> None:
        """What was adopted is unknown to the heart until it is read, and that may take longer than a lease."""
        if self._pending.lease_due(mailbox):
            await self._renew_lease(mailbox)

    def _delivered(self, mailbox: str, rows: Iterable[Row], clock: "_Clock") -> list[Entry]:
        now = clock.now()
        entries = [
            Entry(
                _entry_id(row),
                row["payload"],
                row["attempts"],
                (now - row["created_at"]).total_seconds(),
                row["replayed"],
                row["sent_us"],
                row["sent_by"],
                row["first_open"],
            )
            for row in rows
        ]
        for entry in entries:
            self._pending.remember(mailbox, entry.entry_id)
            self._ownership.stamps.seen(entry.sent_us)
        return entries


@dataclass(frozen=True, slots=True)
class _Clock:
    """The store's clock as it was once heard: of all pages the same, so that ages differ as the appends did."""

    at: datetime
    heard_at: float
    """By our own clock, in monotonic seconds."""

    def now(self) -> datetime:
        """What time it is there."""
        return self.at + timedelta(seconds=time.monotonic() - self.heard_at)


def _pages(listed: Iterable[Row]) -> Iterator[list[int]]:
    """Ids of as many entries as one answer may hold, in their order: one of them, however long it is."""
    page: list[int] = []
    length = 0
    for row in listed:
        length += row["length"]
        if page and (length > _PAGE_BYTES or len(page) == _PAGE):
            yield page
            page, length = [], row["length"]
        page.append(row["id"])
    if page:
        yield page


def _key(owner: Owner) -> tuple[str, str, int]:
    return owner.mailbox, owner.node, owner.epoch


def _entry_id(row: Row) -> str:
    """Milliseconds and number, as Redis names its entries: so entries of both stores can be put in order."""
    return f"{int(row['created_at'].timestamp() * 1000)}-{row['id']}"


def _place(dead_id: str) -> tuple[datetime, int] | None:
    """(time, number) of what could be the id of a dead letter; made like that of an entry, for the same reason."""
    ms, _, number = dead_id.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= _LONGEST_NUMBER for part in (ms, number)):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(ms)), min(int(number), _LARGEST_NUMBER)
    except OverflowError:
        return None


def _buried(row: Row) -> Buried:
    buried_at: datetime = row["created_at"]
    letter = DeadLetter(row["cause"], row["traceback"], row["attempts"], row["facts"])
    return Buried(_entry_id(row), row["payload"], letter, buried_at=buried_at.timestamp())


def _row_id(entry_id: str) -> int:
    return int(entry_id.partition("-")[2])
