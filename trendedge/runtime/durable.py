"""A durable mailbox's side of the journal: append before delivery, settle after commit, bury what cannot be handled."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trendedge.runtime.errors import Fenced, JournalUnavailable, UnknownDeadLetter, UnreadableDeadLetter, said, text_of
from trendedge.runtime.journal import (
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
from trendedge.runtime.latch import Latch
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.marks import Marks
from trendedge.runtime.stats import describe
from trendedge.runtime.voice import log
from trendedge.runtime.writing import AGAIN_S, Writing

LOOK_S = 1.0
"""How often a suspect looks whether it is its turn, which it is told: whoever was told before may not have taken it."""


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
    """Called with a message that is given up, before it is buried: to tell whoever waits for its outcome. Again when
    its dead letter is discarded: it must do nothing where it was told. While it raises an outage of the retry policy,
    the message is not buried; over any other error it is, untold."""
    on_replay: Callable[[Any], Awaitable[None]] | None = None
    """Called with a message whose dead letter is replayed, before it is delivered: to take back what `on_bury` told.
    What it raises ends the replay, and there is a letter again. When the process dies meanwhile it is called by whoever
    recovers the message, before that is handled, so doing it twice must be harmless."""


def check_key(key: object) -> None:
    """A mailbox has one line for each key, and whoever looks at them sorts them.

    :raises TypeError: it is no text
    """
    if not (key is None or isinstance(key, str)):
        raise TypeError(f"the key of a message must be a text, not {type(key).__name__}")


class Underway:
    """What a journal was asked that may give an entry to deliver, and has not answered.

    Whoever recovers meanwhile waits for the answers.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._answered = Latch()

    def __enter__(self) -> None:
        self._asked += 1

    def __exit__(self, *_: object) -> None:
        self._asked -= 1
        if not self._asked:
            self._answered.set()
            self._answered = Latch()

    async def over(self) -> None:
        """Return when all is answered."""
        while self._asked:
            await self._answered.wait()


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
        self._writing = Writing(durability.journal, durability.mailbox, on_settled=self._forget)
        self._marks = Marks(durability.journal, durability.mailbox)
        self.on_survived: Callable[[], None] = lambda: None
        """Called when there is something for `take_back`, which is to be done beside the mailbox."""
        self._doomed: dict[str, _Doomed] = {}
        """Entries that are given up and not buried yet: their turn has come, or burying them was cut off."""
        self.underway = Underway()
        self.known: dict[str, float] = {}
        """Entries that are in memory or being settled: recovery must not deliver them a second time. With the loop's
        time of their append."""
        self.dead = 0
        """Dead letters, as they were counted last: at a recovery, a burial, a replay, a discard, and at the look after
        that when a store was away or mail was found. What other processes bury in between is not heard of: asking for
        it would cost an idle process a command at each look."""
        self._uncounted = False
        """There may be more or fewer: the next look counts."""
        self.recovered = False
        """The journal was read once by this process: it was there, and so it will be again."""
        self._suspects: set[str] = set()
        """Entries that were in hand when a process died: one of them is tried at a time, lest one that kills take the
        others with it to the dead letters."""
        self._tried: str | None = None
        """The suspect whose turn it is, as long as it is known."""
        self._waiting: dict[str, Callable[[], None]] = {}
        """The others that are at the head of their lines, and how each is told that it may be its turn."""
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
        self._tried = None  # none is in hand: whoever was may be behind another one now
        self._waiting.clear()
        await self._count_dead()
        entries = await self._at.journal.recover(self._at.mailbox)
        self._writing.lost = None  # whatever was refused before says nothing about the new epoch
        again, self.recovered = self.recovered, True
        if self._marks.left:  # an ordered restart could not take them back
            self.on_survived()
        return self._read(entries, max_deliveries, now, again=again)

    async def adopt(self, max_deliveries: int, *, now: float) -> list[Envelope]:
        """What became this process's own since the last look. What cannot be delivered waits for `bury_doomed`."""
        if self._uncounted:
            await self._count_dead()
        entries = await self._at.journal.adopt(self._at.mailbox)
        self._uncounted = self._uncounted or bool(entries)  # one may be of a replay whose answer was lost
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
            facts = self._facts(entry.entry_id)
            letter = DeadLetter(f"unreadable: {text_of(error)}", traceback.format_exc(), entry.attempts, facts)
            self._doomed[entry.entry_id] = _Doomed(entry.payload, letter)
            return None
        deaths = entry.attempts + entry.first_open
        # None of those who only were first: that would be all that a process had accepted and not come to.
        if entry.attempts and deaths >= max_deliveries:
            facts = self._facts(entry.entry_id, message)
            letter = DeadLetter(f"{deaths} attempts ended with the death of the process", "", deaths, facts)
            self._doomed[entry.entry_id] = _Doomed(entry.payload, letter, message)
            return None
        if entry.attempts:
            self._suspects.add(entry.entry_id)
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
        await self._count_dead()
        # First: who takes the letter decides what becomes of the message, and of several operators one takes it.
        entry = await self._at.journal.replay(self._at.mailbox, dead_id)
        if entry is None:
            raise UnknownDeadLetter(dead_id)
        self.dead = max(0, self.dead - 1)
        self.known[entry.entry_id] = now - entry.age_s
        self._marks.make(entry.entry_id)
        await self._withdraw(entry.entry_id, _Doomed(buried.payload, buried.letter, message, in_hand=True))
        log.warning("dead letter replayed", mailbox=self._at.mailbox, dead_id=dead_id, entry_id=entry.entry_id)
        envelope = Envelope(message, enqueued_at=now)
        envelope.entry_id = entry.entry_id
        return envelope

    async def _withdraw(self, entry_id: str, letter: "_Doomed") -> None:
        """Take back the outcome that was told of a letter. Whatever comes in between, it is one again."""
        if self._at.on_replay is None:
            return
        self._doomed[entry_id] = letter
        try:
            await self._at.on_replay(letter.message)
        except Exception:
            letter.in_hand = False
            await self._bury(entry_id)
            raise
        finally:
            letter.in_hand = False  # cancelled: the next look buries it
        self._doomed.pop(entry_id, None)

    async def discard(self, dead_id: str) -> None:
        """Remove a dead letter for good.

        :raises UnknownDeadLetter: there is none of this id
        :raises JournalUnavailable: its store cannot be reached
        """
        buried = await self._at.journal.dead_letter(self._at.mailbox, dead_id)
        if buried is None:
            raise UnknownDeadLetter(dead_id)
        await self._count_dead()
        if not await self._at.journal.discard(self._at.mailbox, dead_id):
            raise UnknownDeadLetter(dead_id)
        self.dead = max(0, self.dead - 1)
        log.warning("dead letter discarded", mailbox=self._at.mailbox, dead_id=dead_id)
        # It was told at the burial, and nothing has taken it back: but of what could not be read or told then, it was
        # not. Never before the letter is gone: who replays it meanwhile has taken the outcome back.
        try:
            with suppress(UnreadableDeadLetter):
                await self._tell_outcome(self.read(buried), buried.letter)
        except self._away as error:
            log.error("outcome of a discarded message not told", mailbox=self._at.mailbox, error=text_of(error))

    async def _count_dead(self) -> None:
        """Anew: other processes bury and replay too."""
        self._uncounted = True
        with suppress(JournalUnavailable):
            _, self.dead = await self._at.journal.count(self._at.mailbox)
            self._uncounted = False

    async def begin(self, envelope: Envelope) -> None:
        """Mark a message before it is attempted, unless it still is marked by its append; a suspect is the one that is
        tried from now on."""
        if not envelope.recovered or envelope.entry_id is None:
            return
        if envelope.entry_id in self._suspects:
            self._tried = envelope.entry_id
            self._suspects.discard(envelope.entry_id)
            self._waiting.pop(envelope.entry_id, None)
        if envelope.entry_id in self._replayed:
            if self._at.on_replay is not None:
                await self._at.on_replay(envelope.message)
            self._replayed.discard(envelope.entry_id)
        self._marks.make(envelope.entry_id)  # before it is: when the answer is lost, it may be
        await self._writing.begin(envelope.entry_id)
        envelope.recovered = False

    def must_wait(self, envelope: Envelope, tell: Callable[[], None]) -> bool:
        """Whether it is another suspect's turn.

        :param tell: is called when that is over, unless somebody else is told
        """
        entry_id = envelope.entry_id
        if entry_id is None or entry_id not in self._suspects or self._tried not in self.known:
            return False
        self._waiting[entry_id] = tell
        return True

    def _end_turn(self) -> None:
        self._tried = None
        if self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()

    def survived(self, envelope: Envelope, *, outage: bool = False) -> None:
        """An attempt has failed, and the process lives: whoever waits for its turn may try. Of what ends the process
        until it is tried again, the message is innocent.

        :param outage: it is tried again every few seconds, perhaps for hours: no command is spent on each
        """
        if envelope.tried_at is None:
            envelope.tried_at = asyncio.get_running_loop().time()
        if envelope.entry_id is not None and envelope.entry_id == self._tried:
            self._suspects.add(envelope.entry_id)  # of its next attempt it is one as well
            self._end_turn()
        if not outage and envelope.entry_id is not None and self._marks.outlive(envelope.entry_id):
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
        if envelope.entry_id is None:
            return
        text = "".join(traceback.format_exception(error))
        facts = self._facts(envelope.entry_id, envelope.message)
        if envelope.tried_at is not None:
            facts["tried_for_s"] = f"{asyncio.get_running_loop().time() - envelope.tried_at:.3f}"
        letter = DeadLetter(said(error), text, envelope.attempts, facts)
        self._doomed[envelope.entry_id] = _Doomed(None, letter, envelope.message)
        try:
            await self._bury(envelope.entry_id)
        except Fenced as fenced:
            self.lose(fenced)

    async def bury_doomed(self) -> None:
        """Bury what is given up and could not be buried before.

        :raises Fenced: it is another process's by now
        """
        for entry_id in list(self._doomed):
            await self._bury(entry_id)

    def _facts(self, entry_id: str, message: Any = None) -> dict[str, str]:
        """What a dead letter keeps besides its cause: where to look in the log, and how long it took."""
        now = asyncio.get_running_loop().time()
        facts = {"entry": entry_id, "pending_s": f"{now - self.known.get(entry_id, now):.3f}"}
        if message is None:
            return facts
        facts["message"] = describe(message)
        with suppress(Exception):  # a letter that says less is better than none
            known = {"key": self._place(message), "request_id": getattr(message, "request_id", None)}
            facts |= {name: str(one) for name, one in known.items() if one is not None}
        return facts

    async def _tell_outcome(self, message: Any, letter: DeadLetter) -> None:
        """Raises `Fenced` and what is an outage: then nobody can be told now."""
        if self._at.on_bury is None:
            return
        try:
            await self._at.on_bury(message, letter)
        except self._away:
            raise
        except Exception as error:
            # The dead letter still says what happened; a message that cannot be given up would block its key forever.
            log.error("outcome of a buried message not told", mailbox=self._at.mailbox, exc_info=error)

    async def _bury(self, entry_id: str) -> None:
        """Move a doomed entry to the dead letters. Until that is done it stays pending, and the next look tries again.

        :raises Fenced: it is another process's by now
        """
        doomed = self._doomed.get(entry_id)
        if doomed is None or doomed.in_hand:
            return  # another look was faster
        letter = doomed.letter
        doomed.in_hand = True
        try:
            payload = self._at.encode(doomed.message) if doomed.payload is None else doomed.payload
            # Once: when the journal's answer was lost there is a letter, and somebody may have replayed it by now.
            if doomed.message is not None and not doomed.told:
                await self._tell_outcome(doomed.message, letter)
                doomed.told = True
            await self._at.journal.bury(self._at.mailbox, entry_id, payload, letter)
        except Exception as error:  # of whatever kind: the other entries are to be buried all the same
            if isinstance(error, Fenced) and error.mailbox == self._at.mailbox:
                raise
            trace = None if isinstance(error, self._away) else error
            names = {"mailbox": self._at.mailbox, "entry_id": entry_id}
            log.error("dead letter not stored yet", **names, error=text_of(error), exc_info=trace)
            return
        finally:
            doomed.in_hand = False
        if self._doomed.pop(entry_id, None) is None:
            return  # it was forgotten
        self._forget(entry_id)
        log.error("message buried", mailbox=self._at.mailbox, entry_id=entry_id, cause=letter.cause)
        self.dead += 1
        await self._count_dead()

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
        self._suspects.clear()
        self._replayed.clear()
        self._marks.forget()
        self._tried = None
        self._waiting.clear()
        self._doomed.clear()
        self._writing.forget()

    def _forget(self, entry_id: str) -> None:
        self.known.pop(entry_id, None)
        self._marks.drop(entry_id)
        if entry_id == self._tried:
            self._end_turn()


@dataclass(slots=True)
class _Doomed:
    """An entry that is given up, and why."""

    payload: bytes | None
    """None when it is to be encoded anew."""
    letter: DeadLetter
    message: Any = None
    """Whose outcome is to be told first; None for one that nobody can read."""
    told: bool = False
    in_hand: bool = False
    """Somebody is at it."""
