"""What a mailbox writes to its journal beside the handlers: settlements, and the attempts that they begin."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from trendedge.runtime.errors import Fenced, JournalUnavailable, text_of
from trendedge.runtime.journal import SETTLED_AT_ONCE, Journal, Settlement
from trendedge.runtime.voice import log

AGAIN_S = 1.0
"""How long after a store was away it is tried again."""


class Writing:
    """Writes in order, together what came together."""

    def __init__(
        self,
        journal: Journal,
        mailbox: str,
        *,
        on_settled: Callable[[str], None],
    ) -> None:
        """:param on_settled: called with the id of an entry that the journal has forgotten"""
        self._journal = journal
        self._mailbox = mailbox
        self._on_settled = on_settled
        self._settlements: deque[Settlement] = deque()
        self._begun: deque[tuple[str, asyncio.Future[None]]] = deque()
        """Entries that are to be marked, and who waits for that."""
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.lost: Fenced | None = None
        """Another process owns the mailbox by now."""

    def settle_soon(self, settlement: Settlement) -> None:
        """Settle in the background."""
        self._settlements.append(settlement)
        self._wake.set()

    async def begin(self, entry_id: str) -> None:
        """Return when an entry is marked, or the journal has given no answer to that."""
        marked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begun.append((entry_id, marked))
        self._wake.set()
        await marked

    async def run(self) -> None:
        """Write what comes until cancelled.

        :raises Fenced: the mailbox is another process's by now
        """
        while True:
            await self._wake.wait()
            written = await self.flush()
            if self.lost is not None:
                raise self.lost
            if not written:
                await asyncio.sleep(AGAIN_S)

    async def flush(self) -> bool:
        """Write all that is due; False when the store was away, and some of it is still to be done."""
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        # One at a time, and what is interrupted goes back: at a stop a settlement may be under way beside this one.
        self._wake.clear()
        while self._settlements or self._begun:
            due = _first(self._settlements)
            begun = [(entry_id, marked) for entry_id, marked in _first(self._begun) if not marked.done()]
            if not (due or begun):
                continue  # whoever wanted to begin has been cancelled
            try:
                await self._journal.settle(self._mailbox, due, begin=[entry_id for entry_id, _ in begun])
            except Fenced as fenced:
                self.lose(fenced)
                return False
            except JournalUnavailable as error:
                what = {"settlements": len(due), "attempts": len(begun)}
                log.warning("not written to the journal yet", mailbox=self._mailbox, error=text_of(error), **what)
                self._settlements.extendleft(reversed(due))
                self._wake.set()  # here: this incarnation may end before it tries again
                _let_begin(begun)  # an attempt that cannot be counted is made all the same
                return False
            except BaseException:
                self._settlements.extendleft(reversed(due))
                self._begun.extendleft(reversed(begun))
                self._wake.set()
                raise
            for settlement in due:
                self._on_settled(settlement.entry_id)
            _let_begin(begun)
        return True

    def lose(self, error: Fenced) -> None:
        """Another process owns the mailbox by now: `run` is to end."""
        self.lost = error
        self._wake.set()

    def forget(self) -> None:
        """Write nothing of what is due."""
        self._settlements.clear()
        self._begun.clear()
        self.lost = None
        self._wake.clear()


def _let_begin(begun: Sequence[tuple[str, asyncio.Future[None]]]) -> None:
    for _, waiter in begun:
        if not waiter.done():
            waiter.set_result(None)


def _first[T](queue: deque[T]) -> list[T]:
    """Take out as many as a journal takes at once."""
    return [queue.popleft() for _ in range(min(len(queue), SETTLED_AT_ONCE))]
