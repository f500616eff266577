"""What is read of the mail in both stores: all that is ours at a start, and what becomes ours later."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Entry
from trendedge.runtime.ownership import Owner, Ownership
from trendedge.storage.held_mail import HeldMail
from trendedge.storage.mail_order import in_order
from trendedge.storage.pending import journal_unavailable
from trendedge.storage.sides import Side, Sides

log = structlog.get_logger("trendedge.journal")


class BothMail:
    """Mail of the dead comes from both stores at once, in the order in which it was sent; until then it is held."""

    def __init__(self, sides: Sides, ownership: Ownership) -> None:
        self._sides = sides
        self._ownership = ownership
        self._adopting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: defaultdict[str, HeldMail] = defaultdict(lambda: HeldMail(ownership.node))

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
        answered = await self._gather(
            "recover", self._sides.both, lambda side: side.journal.recover(mailbox, gone), found
        )
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
        if answered == len(self._sides.both):
            held.finish(gone)
            if gone:
                with suppress(JournalUnavailable):
                    await self._ownership.adopted(gone)
        return in_order(*held.release(found))

    async def _gone(self, asked: str, mailbox: str) -> tuple[list[Side], Sequence[Owner]]:
        """The stores that answer, and whose mail is to be adopted from both: who is silent in one of them. They are
        fenced, so that a lease in the other one, which may run out later, means nothing.

        :raises JournalUnavailable: both are down
        """
        answers = await self._sides.ask_both(asked, lambda side: side.journal.look(mailbox))
        sides = [side for side, _ in answers]
        silent = [owner for _, owners in answers for owner in owners]
        held = self._held[mailbox]
        if len(sides) < len(self._sides.both):
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

    async def _gather(
        self,
        asked: str,
        sides: Sequence[Side],
        read: Callable[[Side], Awaitable[list[Entry]]],
        found: list[list[Entry]],
    ) -> int:
        """Add a line of each store's entries to what was found, each with its store's prefix and a stamp; how many
        stores have answered."""

        async def collect(side: Side) -> None:
            line = await read(side)
            found.append([replace(self._stamped(one), entry_id=side.prefix + one.entry_id) for one in line])

        return len(await self._sides.ask_both(asked, collect, sides))

    def _stamped(self, one: Entry) -> Entry:
        """For one that has no stamp its age says when it was sent, if later than it was."""
        return one if one.sent_us else replace(one, sent_us=self._ownership.stamps.of_age(one.age_s))
