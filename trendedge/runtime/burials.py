"""Messages of a mailbox that are given up, and its dead letters."""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trendedge.runtime.durability import Durability
from trendedge.runtime.errors import Fenced, JournalUnavailable, said, text_of
from trendedge.runtime.journal import Buried, DeadLetter
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.stats import describe
from trendedge.runtime.voice import log


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


class Burials:
    """What is given up is doomed until its outcome is told and its letter written, which may take several looks."""

    def __init__(
        self,
        durability: Durability,
        place: Callable[[Any], object],
        *,
        away: tuple[type[Exception], ...],
        known: Mapping[str, float],
        on_buried: Callable[[str], None],
    ) -> None:
        """:param away: what is raised when a store, or whoever is to be told, cannot be reached now
        :param known: entries in memory, with the loop's time of their append
        :param on_buried: called with the id of an entry that is a dead letter now
        """
        self._at = durability
        self._place = place
        self._away = away
        self._known = known
        self._on_buried = on_buried
        self._doomed: dict[str, _Doomed] = {}
        """Entries that are given up and not buried yet: their turn has come, or burying them was cut off."""
        self.dead = 0
        """Dead letters, as they were counted last: at a recovery, a burial, a replay, a discard, and at the look after
        that when a store was away or mail was found. What other processes bury in between is not heard of: asking for
        it would cost an idle process a command at each look."""
        self.uncounted = False
        """There may be more or fewer: the next look counts."""

    async def count(self) -> None:
        """Count the letters anew: other processes bury and replay too."""
        self.uncounted = True
        with suppress(JournalUnavailable):
            _, self.dead = await self._at.journal.count(self._at.mailbox)
            self.uncounted = False

    def one_is_gone(self) -> None:
        """A letter was replayed or discarded here."""
        self.dead = max(0, self.dead - 1)

    def doom(
        self, entry_id: str, payload: bytes, cause: str, *, attempts: int, trace: str = "", message: Any = None
    ) -> None:
        """Let the next look bury an entry.

        :param message: whose outcome is to be told first; None for one that nobody can read
        """
        facts = self._facts(entry_id, message)
        self._doomed[entry_id] = _Doomed(payload, DeadLetter(cause, trace, attempts, facts), message)

    async def bury(self, envelope: Envelope, error: Exception) -> None:
        """Move a message that failed for good to the dead letters.

        :raises Fenced: it is another process's by now
        """
        if envelope.entry_id is None:
            return
        text = "".join(traceback.format_exception(error))
        facts = self._facts(envelope.entry_id, envelope.message)
        if envelope.tried_at is not None:
            facts["tried_for_s"] = f"{asyncio.get_running_loop().time() - envelope.tried_at:.3f}"
        letter = DeadLetter(said(error), text, envelope.attempts, facts)
        self._doomed[envelope.entry_id] = _Doomed(None, letter, envelope.message)
        await self._bury(envelope.entry_id)

    async def bury_doomed(self) -> None:
        """Bury what is given up and could not be buried before.

        :raises Fenced: it is another process's by now
        """
        for entry_id in list(self._doomed):
            await self._bury(entry_id)

    def _facts(self, entry_id: str, message: Any = None) -> dict[str, str]:
        """What a dead letter keeps besides its cause: where to look in the log, and how long it took."""
        now = asyncio.get_running_loop().time()
        facts = {"entry": entry_id, "pending_s": f"{now - self._known.get(entry_id, now):.3f}"}
        if message is None:
            return facts
        facts["message"] = describe(message)
        with suppress(Exception):  # a letter that says less is better than none
            known = {"key": self._place(message), "request_id": getattr(message, "request_id", None)}
            facts |= {name: str(one) for name, one in known.items() if one is not None}
        return facts

    async def tell_outcome(self, message: Any, letter: DeadLetter) -> None:
        """Tell whoever waits for it that a message is given up. Raises `Fenced` and what is an outage: then nobody can
        be told now."""
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
                await self.tell_outcome(doomed.message, letter)
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
        self._on_buried(entry_id)
        log.error("message buried", mailbox=self._at.mailbox, entry_id=entry_id, cause=letter.cause)
        self.dead += 1
        await self.count()

    async def withdraw(self, entry_id: str, buried: Buried, message: Any) -> None:
        """Take back the outcome that was told of a letter. Whatever comes in between, it is one again."""
        if self._at.on_replay is None:
            return
        letter = _Doomed(buried.payload, buried.letter, message, in_hand=True)
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

    def forget(self) -> None:
        """Nothing here is this process's any more."""
        self._doomed.clear()
