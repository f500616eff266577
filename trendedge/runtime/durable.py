"""A durable mailbox's side of the journal: append before delivery, settle after commit, bury what cannot be handled."""

import asyncio
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trendedge.runtime.burials import Burials
from trendedge.runtime.durability import Durability, check_key
from trendedge.runtime.errors import Fenced, JournalUnavailable, UnknownDeadLetter, UnreadableDeadLetter, text_of
from trendedge.runtime.journal import Announcement, Appended, Buried, Duplicate, Entry, Journal, Settlement, Unique
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.marks import Marks
from trendedge.runtime.suspects import Suspects
from trendedge.runtime.underway import Underway
from trendedge.runtime.voice import log
from trendedge.runtime.writing import AGAIN_S, Writing


class DurableLog:
    """One mailbox's journal, and what this process knows of it."""

    def __init__(
        self,
        durability: Durability,
        place: Callable[[Any], object],
        *,
        outage: tuple[type[Exception], ...] = (),
    ) -> None:
        """:param place: of a message in the mailbox; raises for one that has none, or that the actor does not handle
        :param outage: what `on_bury` raises when it cannot tell an outcome now
        """
        self._at = durability
        self._place = place
        self._away: tuple[type[Exception], ...] = (JournalUnavailable, *outage)
        self.known: dict[str, float] = {}
        """Entries that are in memory or being settled: recovery must not deliver them a second time. With the loop's
        time of their append."""
        self._writing = Writing(durability.journal, durability.mailbox, on_settled=self._forget)
        self._marks = Marks(durability.journal, durability.mailbox)
        self.on_survived: Callable[[], None] = lambda: None
        """Called when there is something for `take_back`, which is to be done beside the mailbox."""
        self._burials = Burials(durability, place, away=self._away, known=self.known, on_buried=self._forget)
        self.underway = Underway()
        self.recovered = False
        """The journal was read once by this process: it was there, and so it will be again."""
        self.suspects = Suspects(self.known)
        self._replayed: set[str] = set()
        """Recovered entries that are replays: `on_replay` is to be called before they are handled, perhaps again."""

    def is_of_the_same(self, other: "DurableLog") -> bool:
        """Whether both are of one mailbox in one journal."""
        return self._at is other._at

    @property
    def mailbox(self) -> str:
        """Name in the journal."""
        return self._at.mailbox

    @property
    def journal(self) -> Journal:
        """Where the mailbox is journalled."""
        return self._at.journal

    @property
    def lost(self) -> bool:
        """Another process owns the mailbox by now."""
        return self._writing.lost is not None

    @property
    def pending(self) -> int:
        """Messages that are remembered and not yet settled."""
        return len(self.known)

    @property
    def dead(self) -> int:
        """Dead letters, as they were counted last."""
        return self._burials.dead

    def oldest_age_s(self, now: float) -> float:
        """Seconds since the oldest of them was appended; 0 when there is none."""
        since = min(self.known.values(), default=now)  # what is adopted comes late and is old
        return max(0.0, now - since)

    async def append(self, message: Any, unique: Unique | None) -> Appended | Duplicate:
        """Journal a message.

        :raises JournalUnavailable: no store took it
        """
        outcome = await self._at.journal.append(self._at.mailbox, self._at.encode(message), unique=unique)
        if isinstance(outcome, Appended):
            self.known[outcome.entry_id] = asyncio.get_running_loop().time()
            self._marks.make(outcome.entry_id)
        return outcome

    async def recover(self, max_deliveries: int, *, now: float) -> list[Envelope]:
        """What earlier processes left, oldest first.

        What cannot be read, or has killed too many processes, waits for `bury_doomed`.

        :raises JournalUnavailable: the store cannot be read
        """
        self.suspects.none_in_hand()
        await self._burials.count()
        entries = await self._at.journal.recover(self._at.mailbox)
        self._writing.lost = None  # whatever was refused before says nothing about the new epoch
        again, self.recovered = self.recovered, True
        if self._marks.left:  # an ordered restart could not take them back
            self.on_survived()
        return self._read(entries, max_deliveries, now, again=again)

    async def adopt(self, max_deliveries: int, *, now: float) -> list[Envelope]:
        """What became this process's own since the last look. What cannot be delivered waits for `bury_doomed`."""
        if self._burials.uncounted:
            await self._burials.count()
        entries = await self._at.journal.adopt(self._at.mailbox)
        if entries:
            self._burials.uncounted = True  # one may be of a replay whose answer was lost
        return self._read(entries, max_deliveries, now)

    def _read(self, entries: list[Entry], max_deliveries: int, now: float, *, again: bool = False) -> list[Envelope]:
        # Without a pause, so that nothing can come between the journal's answer and the delivery.
        fresh = [entry for entry in entries if entry.entry_id not in self.known]
        for entry in fresh:
            if again or not entry.first_open:  # it was marked before a fence, or by an append without an answer
                self._marks.suspect(entry.entry_id)
        envelopes = [self._decoded(entry, max_deliveries, now) for entry in fresh]
        return [envelope for envelope in envelopes if envelope is not None]

    def _decoded(self, entry: Entry, max_deliveries: int, now: float) -> Envelope | None:
        self.known[entry.entry_id] = now - entry.age_s
        try:
            message = self._readable(entry.payload)
        except Exception as error:
            cause, trace = f"unreadable: {text_of(error)}", traceback.format_exc()
            self._burials.doom(entry.entry_id, entry.payload, cause, attempts=entry.attempts, trace=trace)
            return None
        deaths = entry.attempts + entry.first_open
        # None of those who only were first: that would be all that a process had accepted and not come to.
        if entry.attempts and deaths >= max_deliveries:
            cause = f"{deaths} attempts ended with the death of the process"
            self._burials.doom(entry.entry_id, entry.payload, cause, attempts=deaths, message=message)
            return None
        if entry.attempts:
            self.suspects.add(entry.entry_id)
        if entry.replayed:
            self._replayed.add(entry.entry_id)
        envelope = Envelope(message, enqueued_at=now)
        envelope.entry_id = entry.entry_id
        envelope.recovered = True
        return envelope

    def read(self, buried: Buried) -> Any:
        """The message of a dead letter.

        :raises UnreadableDeadLetter: this release cannot read it, or does not handle it
        """
        try:
            return self._readable(buried.payload)
        except Exception as error:
            raise UnreadableDeadLetter(buried.dead_id, text_of(error)) from error

    def _readable(self, payload: bytes) -> Any:
        """The message, as one that can be delivered: it has a place, and the actor handles it. Raises whatever it likes
        when it is none."""
        message = self._at.decode(payload)
        check_key(self._place(message))
        return message

    async def replay(self, dead_id: str, *, now: float) -> Envelope:
        """Take a dead letter back into the mailbox, with all its attempts before it.

        :raises UnknownDeadLetter: there is none of this id
        :raises UnreadableDeadLetter: this release cannot read it
        :raises JournalUnavailable: its store cannot be reached; when the answer was lost, `adopt` delivers it
        """
        buried = await self._at.journal.dead_letter(self._at.mailbox, dead_id)
        if buried is None:
            raise UnknownDeadLetter(dead_id)
        message = self.read(buried)
        await self._burials.count()
        # First: who takes the letter decides what becomes of the message, and of several operators one takes it.
        entry = await self._at.journal.replay(self._at.mailbox, dead_id)
        if entry is None:
            raise UnknownDeadLetter(dead_id)
        self._burials.one_is_gone()
        self.known[entry.entry_id] = now - entry.age_s
        self._marks.make(entry.entry_id)
        await self._burials.withdraw(entry.entry_id, buried, message)
        log.warning("dead letter replayed", mailbox=self._at.mailbox, dead_id=dead_id, entry_id=entry.entry_id)
        envelope = Envelope(message, enqueued_at=now)
        envelope.entry_id = entry.entry_id
        return envelope

    async def discard(self, dead_id: str) -> None:
        """Remove a dead letter for good.

        :raises UnknownDeadLetter: there is none of this id
        :raises JournalUnavailable: its store cannot be reached
        """
        buried = await self._at.journal.dead_letter(self._at.mailbox, dead_id)
        if buried is None:
            raise UnknownDeadLetter(dead_id)
        await self._burials.count()
        if not await self._at.journal.discard(self._at.mailbox, dead_id):
            raise UnknownDeadLetter(dead_id)
        self._burials.one_is_gone()
        log.warning("dead letter discarded", mailbox=self._at.mailbox, dead_id=dead_id)
        # It was told at the burial, and nothing has taken it back: but of what could not be read or told then, it was
        # not. Never before the letter is gone: who replays it meanwhile has taken the outcome back.
        try:
            with suppress(UnreadableDeadLetter):
                await self._burials.tell_outcome(self.read(buried), buried.letter)
        except self._away as error:
            log.error("outcome of a discarded message not told", mailbox=self._at.mailbox, error=text_of(error))

    async def begin(self, envelope: Envelope) -> None:
        """Mark a message before it is attempted, unless it still is marked by its append; a suspect is the one that is
        tried from now on."""
        if not envelope.recovered or envelope.entry_id is None:
            return
        self.suspects.begin(envelope.entry_id)
        if envelope.entry_id in self._replayed:
            if self._at.on_replay is not None:
                await self._at.on_replay(envelope.message)
            self._replayed.discard(envelope.entry_id)
        self._marks.make(envelope.entry_id)  # before it is: when the answer is lost, it may be
        await self._writing.begin(envelope.entry_id)
        envelope.recovered = False

    def survived(self, envelope: Envelope, *, outage: bool = False) -> None:
        """An attempt has failed, and the process lives: whoever waits for its turn may try. Of what ends the process
        until it is tried again, the message is innocent.

        :param outage: it is tried again every few seconds, perhaps for hours: no command is spent on each
        """
        if envelope.tried_at is None:
            envelope.tried_at = asyncio.get_running_loop().time()
        # Of a suspect it is taken back after an outage, too: it has to wait for its turn again, and be marked then.
        suspected = self.suspects.survived(envelope.entry_id)
        if (suspected or not outage) and envelope.entry_id is not None and self._marks.outlive(envelope.entry_id):
            envelope.recovered = True
            self.on_survived()

    async def take_back(self) -> None:
        """Take back the marks on what this process has survived; returns when that is done, however often it takes."""
        while self._marks.left and not self.lost:
            try:
                await self._marks.take_back()
            except Fenced as fenced:
                self.lose(fenced)
            except JournalUnavailable:
                await asyncio.sleep(AGAIN_S)

    async def bury(self, envelope: Envelope, error: Exception) -> None:
        """Move a message that failed for good to the dead letters."""
        try:
            await self._burials.bury(envelope, error)
        except Fenced as fenced:
            self.lose(fenced)

    async def bury_doomed(self) -> None:
        """Bury what is given up and could not be buried before.

        :raises Fenced: it is another process's by now
        """
        await self._burials.bury_doomed()

    def settle_soon(self, entry_id: str, announce: tuple[Announcement, ...]) -> None:
        """Settle in the background: the effect is committed, so nobody needs to wait for the journal to forget it."""
        self._writing.settle_soon(Settlement(entry_id, announce))

    async def run_settlements(self) -> None:
        """Work off settlements in order, together what came together, until cancelled.

        :raises Fenced: the mailbox is another process's by now
        """
        await self._writing.run()

    async def flush(self) -> bool:
        """Settle all that is due; False when the store was away, and some of it is still to be done."""
        return await self._writing.flush()

    async def leave(self) -> None:
        """After a stop: settle what is due, and take back the marks on what is left, in hand or not. This process has
        outlived it, and whoever comes next would take each for a death."""
        if self.lost:
            return
        await self.flush()
        self._marks.outlive_all()
        left = self._marks.left
        try:
            await self._marks.take_back()
        except Fenced as fenced:
            self.lose(fenced)
        except JournalUnavailable as error:
            log.warning("attempts not taken back", mailbox=self._at.mailbox, number=left, error=text_of(error))

    def lose(self, error: Fenced) -> None:
        """Another process owns the mailbox by now: the incarnation is to end, which `run_settlements` sees to.

        What a hook was told of another mailbox's fence says nothing about this one.
        """
        if error.mailbox == self._at.mailbox:
            self._writing.lose(error)

    def forget(self) -> None:
        """Know of nothing any more. What is committed and not settled comes again, here or elsewhere: harmless."""
        self.known.clear()
        self.suspects.forget()
        self._replayed.clear()
        self._marks.forget()
        self._burials.forget()
        self._writing.forget()

    def _forget(self, entry_id: str) -> None:
        self.known.pop(entry_id, None)
        self._marks.drop(entry_id)
        self.suspects.over(entry_id)
