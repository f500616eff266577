"""What a mailbox writes to its journal beside the handlers: settlements, and attempts that begin or are survived."""

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
        on_withdrawn: Callable[[str], None],
        on_uncounted: Callable[[Sequence[str], bool], None],
    ) -> None:
        """:param on_settled: called with the id of an entry that the journal has forgotten
        :param on_withdrawn: called with that of one whose attempt was given up before it was counted
        :param on_uncounted: called with those of entries whose attempts were taken back, or perhaps not
        """
        self._journal = journal
        self._mailbox = mailbox
        self._on_settled = on_settled
        self._on_withdrawn = on_withdrawn
        self._on_uncounted = on_uncounted
        self._settlements: deque[Settlement] = deque()
        self._begun: deque[tuple[str, asyncio.Future[bool]]] = deque()
        """Entries whose attempt is to be counted, and who waits for that."""
        self._uncounts: deque[str] = deque()
        """Entries whose attempt is to be taken back."""
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.lost: Fenced | None = None
        """Another process owns the mailbox by now."""

    def settle_soon(self, settlement: Settlement) -> None:
        """Settle in the background."""
        self._settlements.append(settlement)
        self._wake.set()

    async def begin(self, entry_id: str) -> bool:
        """Return when an attempt is counted, or cannot be: whether it is, for certain."""
        counted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        begun = (entry_id, counted)
        self._begun.append(begun)
        self._wake.set()
        try:
            return await counted
        except asyncio.CancelledError:
            if begun in self._begun:  # nobody has asked the journal
                self._begun.remove(begun)
                self._on_withdrawn(entry_id)
            raise

    def uncount_soon(self, entry_id: str) -> None:
        """Take an attempt back in the background."""
        self._uncounts.append(entry_id)
        self._wake.set()

    def keep_count(self, entry_id: str) -> bool:
        """Take it back no more; whether it was still time for that."""
        if entry_id not in self._uncounts:
            return False
        self._uncounts.remove(entry_id)
        return True

    async def at_rest(self) -> None:
        """Return when what the journal is being told now is answered."""
        async with self._flushing:
            pass

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
        while self._settlements or self._begun or self._uncounts:
            if not await self._uncount():
                return False
            due = _first(self._settlements)
            begun = [(entry_id, counted) for entry_id, counted in _first(self._begun) if not counted.done()]
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
                _let_begin(begun, counted=False)  # an attempt that cannot be counted is made all the same
                return False
            except BaseException:
                self._settlements.extendleft(reversed(due))
                self._begun.extendleft(reversed(begun))
                self._wake.set()
                raise
            for settlement in due:
                self._on_settled(settlement.entry_id)
            _let_begin(begun, counted=True)
        return True

    async def _uncount(self) -> bool:
        """Take back the attempts that are due to be; not again when the store is away, which may have done it."""
        due = _first(self._uncounts)
        if not due:
            return True
        try:
            await self._journal.uncount(self._mailbox, due)
        except Fenced as fenced:
            self.lose(fenced)
            return False
        except JournalUnavailable as error:
            log.warning("attempts not taken back", mailbox=self._mailbox, number=len(due), error=text_of(error))
            self._on_uncounted(due, False)
        except BaseException:
            self._uncounts.extendleft(reversed(due))
            self._wake.set()
            raise
        else:
            self._on_uncounted(due, True)
        return True

    def lose(self, error: Fenced) -> None:
        """Another process owns the mailbox by now: `run` is to end."""
        self.lost = error
        self._wake.set()

    def forget(self) -> None:
        """Write nothing of what is due."""
        self._settlements.clear()
        self._begun.clear()
        self._uncounts.clear()
        self.lost = None
        self._wake.clear()


def _let_begin(begun: Sequence[tuple[str, asyncio.Future[bool]]], *, counted: bool) -> None:
    for _, waiter in begun:
        if not waiter.done():
            waiter.set_result(counted)


def _first[T](queue: deque[T]) -> list[T]:
    """Take out as many as a journal takes at once."""
    return [queue.popleft() for _ in range(min(len(queue), SETTLED_AT_ONCE))]
