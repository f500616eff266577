"""A durable mailbox's side of the journal: append before delivery, settle after commit, bury what cannot be handled."""

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Announcement, Appended, DeadLetter, Duplicate, Entry, Journal, Unique
from trendedge.runtime.mailbox import Envelope

log = structlog.get_logger("trendedge.runtime")


@dataclass(frozen=True, slots=True)
class Durability:
    """Where a mailbox is journalled, and how its messages become bytes and come back."""

    journal: Journal
    mailbox: str
    """Name in the journal: it must stay the same over releases, or old mail is not found."""
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    """Raises on bytes that it cannot read; such an entry goes to the dead letters."""
    on_bury: Callable[[Any, DeadLetter], Awaitable[None]] | None = None
    """Called with a message that is given up, before it is buried: to tell whoever waits for its outcome."""


class DurableLog:
    """One mailbox's journal, and what this process knows of it."""

    def __init__(self, durability: Durability) -> None:
        self._at = durability
        self._settlements: deque[tuple[str, tuple[Announcement, ...]]] = deque()
        self._wake = asyncio.Event()
        self.known: set[str] = set()
        """Entries that are in memory or being settled: recovery must not deliver them a second time."""
        self.dead = 0

    @property
    def pending(self) -> int:
        """Messages that are remembered and not yet settled."""
        return len(self.known)

    async def append(self, message: Any, unique: Unique | None) -> Appended | Duplicate:
        """Journal a message.

        :raises JournalUnavailable: no store took it
        """
        outcome = await self._at.journal.append(self._at.mailbox, self._at.encode(message), unique=unique)
        if isinstance(outcome, Appended):
            self.known.add(outcome.entry_id)
        return outcome

    async def recover(self, max_deliveries: int, *, now: float) -> list[Envelope]:
        """What earlier processes left, oldest first. Buries what cannot be read or has killed too many processes.

        :raises JournalUnavailable: the store cannot be read
        """
        _, self.dead = await self._at.journal.count(self._at.mailbox)
        return await self._read(await self._at.journal.recover(self._at.mailbox), max_deliveries, now)

    async def adopt(self, max_deliveries: int, *, now: float) -> list[Envelope]:
        """What became this process's own since the last look; otherwise as `recover`."""
        return await self._read(await self._at.journal.adopt(self._at.mailbox), max_deliveries, now)

    async def _read(self, entries: list[Entry], max_deliveries: int, now: float) -> list[Envelope]:
        fresh = [entry for entry in entries if entry.entry_id not in self.known]
        envelopes = [await self._decoded(entry, max_deliveries, now) for entry in fresh]
        return [envelope for envelope in envelopes if envelope is not None]

    async def _decoded(self, entry: Entry, max_deliveries: int, now: float) -> Envelope | None:
        try:
            message = self._at.decode(entry.payload)
        except Exception as error:
            letter = DeadLetter(f"unreadable: {error}", traceback.format_exc(), entry.attempts)
            await self._bury(entry.entry_id, entry.payload, letter)
            return None
        deaths = entry.attempts + 1  # the first delivery was never counted
        if entry.attempts and deaths >= max_deliveries:
            letter = DeadLetter(f"{deaths} attempts ended with the death of the process", "", deaths)
            await self._tell_outcome(message, letter)
            await self._bury(entry.entry_id, entry.payload, letter)
            return None
        self.known.add(entry.entry_id)
        envelope = Envelope(message, enqueued_at=now)
        envelope.entry_id = entry.entry_id
        envelope.recovered = True
        return envelope

    async def begin(self, envelope: Envelope) -> None:
        """Count an attempt at a recovered message before it is made."""
        if not envelope.recovered or envelope.entry_id is None:
            return
        envelope.recovered = False  # further attempts of this process are counted in memory
        try:
            await self._at.journal.begin(self._at.mailbox, envelope.entry_id)
        except JournalUnavailable as error:
            log.warning("attempt not counted", mailbox=self._at.mailbox, error=str(error))

    async def bury(self, envelope: Envelope, error: Exception) -> None:
        """Move a message that failed for good to the dead letters. While no store can be reached it stays pending."""
        if envelope.entry_id is None:
            return
        text = "".join(traceback.format_exception(error))
        letter = DeadLetter(f"{type(error).__name__}: {error}", text, envelope.attempts)
        await self._tell_outcome(envelope.message, letter)
        try:
            await self._bury(envelope.entry_id, self._at.encode(envelope.message), letter)
        except JournalUnavailable as unavailable:
            log.error("dead letter not stored", mailbox=self._at.mailbox, error=str(unavailable))

    async def _tell_outcome(self, message: Any, letter: DeadLetter) -> None:
        if self._at.on_bury is None:
            return
        try:
            await self._at.on_bury(message, letter)
        except Exception as error:
            # The dead letter still says what happened; a message that cannot be given up would block its key forever.
            log.error("outcome of a buried message not told", mailbox=self._at.mailbox, exc_info=error)

    async def _bury(self, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        await self._at.journal.bury(self._at.mailbox, entry_id, payload, letter)
        self.known.discard(entry_id)
        self.dead += 1
        log.error("message buried", mailbox=self._at.mailbox, entry_id=entry_id, cause=letter.cause)

    def settle_soon(self, entry_id: str, announce: tuple[Announcement, ...]) -> None:
        """Settle in the background: the effect is committed, so nobody needs to wait for the journal to forget it."""
        self._settlements.append((entry_id, announce))
        self._wake.set()

    async def run_settlements(self) -> None:
        """Work off settlements, one at a time and in order, until cancelled."""
        while True:
            await self._wake.wait()
            await self.flush()

    async def flush(self) -> None:
        """Settle all that is due."""
        self._wake.clear()
        while self._settlements:
            entry_id, announce = self._settlements.popleft()
            try:
                await self._at.journal.settle(self._at.mailbox, entry_id, announce=announce)
            except JournalUnavailable as error:
                # It stays in the journal and is delivered again after a restart; the handler's effect is idempotent.
                log.warning("settlement postponed", mailbox=self._at.mailbox, error=str(error))
            self.known.discard(entry_id)
