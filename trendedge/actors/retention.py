"""What is not kept for ever, and how long it is kept: only what the system keeps for itself, no user's record.

Signals and all that they led to stay, and so does the audit. Dead letters wait for a person. The owners of mailboxes
(a row for each home that ever was) stay because an epoch that is given twice would let a fenced process commit.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from trendedge.actors.codec import received_at
from trendedge.runtime import Buried
from trendedge.storage.executions import MARK_TTL_S
from trendedge.storage.postgres import Database
from trendedge.storage.purge import purge_events, purge_marks

_LETTERS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long it is kept at least; a purge a day makes that a day more at most."""

    events: timedelta = timedelta(days=7)
    """What a client can resume from. As long as it stays logged in (the refresh tokens of PRD INF-SEC-001): whoever was
    away for longer begins anew anyway."""
    marks: timedelta = timedelta(days=30)
    """What the second of two alerts of one meaning is known by. The window is a minute, but it is the minute in which
    they came in: mail that had to wait, for a store or for an operator's replay, is held against the marks of then. No
    store is down for a month; for dead letters see `Purging`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """How many rows a purge has removed."""

    events: int
    marks: int


class Letters(Protocol):
    """Dead letters that a replay may bring back."""

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> Sequence[Buried]:
        """As `runtime.Journal.dead_letters`."""
        ...


class Purging:
    """One purge after the other."""

    def __init__(self, database: Database, journals: Sequence[Letters], *, mailbox: str, retention: Retention) -> None:
        """:param journals: one for each store: one over both would be silent about the store that is down"""
        self._database = database
        self._journals = journals
        self._mailbox = mailbox
        self._retention = retention

    async def purge(self, due_at: datetime) -> Removed:
        """Remove what was too old at that moment. A second purge at the same time, in another process, is harmless.

        A dead letter can be replayed however old it is, so the marks of its time and since stay while it is there.

        :raises StoreUnavailable: PostgreSQL is down; what is removed by now stays removed
        :raises JournalUnavailable: nobody can tell whether there are old letters; no mark was removed
        """
        events = await purge_events(self._database, before=due_at - self._retention.events)
        window = timedelta(seconds=MARK_TTL_S)
        wanted = [came - window for journal in self._journals async for came in self._letters_came(journal)]
        before = min([due_at - self._retention.marks, *wanted])
        return Removed(events=events, marks=await purge_marks(self._database, before=before))

    async def _letters_came(self, journal: Letters) -> AsyncIterator[datetime]:
        """When the alert of each letter came in; when it was buried, where that is all that can be read."""
        after: str | None = None
        while letters := await journal.dead_letters(self._mailbox, after=after, limit=_LETTERS):
            after = letters[-1].dead_id
            for letter in letters:
                yield received_at(letter.payload) or datetime.fromtimestamp(letter.buried_at, UTC)
