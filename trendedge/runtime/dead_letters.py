"""The dead letters of a running tree: to look at, to replay, to discard."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from trendedge.runtime.cell import Cell
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.errors import UnknownDeadLetter
from trendedge.runtime.journal import Buried
from trendedge.runtime.redaction import redacted
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.watchdog import cells


class DeadLetters:
    """Those of all durable mailboxes of the tree below `root`.

    An id is `mailbox:id in its journal`. Everything that asks a journal raises `JournalUnavailable` while its store is
    down; what takes an id raises `UnknownDeadLetter`.
    """

    def __init__(self, root: Supervisor) -> None:
        self._root = root

    def mailboxes(self) -> list[str]:
        """Names of the durable mailboxes, in the order of the tree."""
        return [log.mailbox for _, log in self._durable()]

    async def page(
        self, *, mailbox: str | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        """(letters, the id to go on after), mailbox by mailbox, in each the newest first; None after the last page.

        Of each letter `id`, `mailbox`, `cause`, `attempts`, `buried_at` and `accepted_at` (RFC 3339, UTC),
        `request_id`, `facts` and `traceback` (as in `DeadLetter`), `payload` if it is JSON, without secrets, and
        `payload_bytes`.

        :raises UnknownDeadLetter: `after` names no mailbox of this tree
        """
        found: list[dict[str, Any]] = []
        begin, _, after_id = (after or "").partition(":")
        if after is not None and begin not in self.mailboxes():
            raise UnknownDeadLetter(after)
        for _, log in self._durable():
            if mailbox not in (None, log.mailbox) or (begin and log.mailbox != begin):
                continue
            wanted = limit + 1 - len(found)  # one more tells whether there is a next page
            place = after_id if begin else None
            letters = await log.journal.dead_letters(log.mailbox, after=place, limit=wanted)
            found += [shown(log.mailbox, letter) for letter in letters]
            begin = ""
            if len(found) > limit:
                return found[:limit], found[limit - 1]["id"]
        return found, None

    async def find(self, id: str) -> dict[str, Any]:
        """One letter, as in `page`."""
        log, letter = await self._letter(id)
        return shown(log.mailbox, letter)

    async def message(self, id: str) -> Any:
        """What a letter says, decoded.

        :raises UnreadableDeadLetter: this release cannot read it
        """
        log, letter = await self._letter(id)
        return log.read(letter)

    async def replay(self, id: str) -> None:
        """Take a letter back into its mailbox, to be handled by this process now. As `DurableRef.redeliver`.

        Of several who replay or discard one letter, one does it. The others get `UnknownDeadLetter`.
        """
        cell, _, dead_id = self._cell(id)
        await cell.durable.redeliver(dead_id)

    async def discard(self, id: str) -> None:
        """Remove a letter for good."""
        _, log, dead_id = self._cell(id)
        await log.discard(dead_id)

    async def _letter(self, id: str) -> tuple[DurableLog, Buried]:
        _, log, dead_id = self._cell(id)
        letter = await log.journal.dead_letter(log.mailbox, dead_id)
        if letter is None:
            raise UnknownDeadLetter(id)
        return log, letter

    def _cell(self, id: str) -> tuple[Cell, DurableLog, str]:
        mailbox, _, dead_id = id.partition(":")
        for cell, log in self._durable():
            if log.mailbox == mailbox:
                return cell, log, dead_id
        raise UnknownDeadLetter(id)

    def _durable(self) -> Iterator[tuple[Cell, DurableLog]]:
        for cell in cells(self._root):
            if cell.log is not None:
                yield cell, cell.log


def shown(mailbox: str, buried: Buried) -> dict[str, Any]:
    """A letter as operators see it: for JSON, its payload decoded if that is JSON, without secrets."""
    payload = _decoded(buried.payload)
    fields = payload if isinstance(payload, dict) else {}
    return {
        "id": f"{mailbox}:{buried.dead_id}",
        "mailbox": mailbox,
        "cause": buried.letter.cause,
        "attempts": buried.letter.attempts,
        "buried_at": datetime.fromtimestamp(buried.buried_at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "accepted_at": fields.get("received_at"),
        "request_id": fields.get("request_id", buried.letter.facts.get("request_id")),
        "facts": dict(buried.letter.facts),
        "payload": redacted(payload),
        "payload_bytes": len(buried.payload),
        "traceback": buried.letter.traceback,
    }


def _decoded(payload: bytes) -> Any:
    """None for what is not JSON: bytes that nobody can read might hold anything."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
