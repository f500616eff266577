"""What a process knows of its own mail: what is unsettled, which appends are in doubt, when to say "alive"."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes

DOUBT_S = 5.0
"""Age at which an append has surely been answered or given up: well over the time-outs of the clients."""


class Pending:
    """The unsettled entries of one process in one store, by mailbox."""

    def __init__(self, *, doubt_s: float = DOUBT_S, late_s: float = 0.0, times: LeaseTimes = DEFAULT_TIMES) -> None:
        """:param late_s: how long after it was given up the store may still do what it was asked, if for longer"""
        self.doubt_s = doubt_s
        self._late_s = max(late_s, doubt_s)
        self.times = times
        self._entries: defaultdict[str, set[str]] = defaultdict(set)
        self._in_doubt: dict[str, float] = {}
        self._strange: dict[str, dict[str, float]] = {}
        """Entries that nobody here knows, with when a look has found them first, by mailbox."""
        self._renewed_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))
        self._mail = asyncio.Event()

    def remember(self, mailbox: str, entry_id: str) -> None:
        """The entry is ours and unsettled."""
        self._entries[mailbox].add(entry_id)
        self._mail.set()

    def forget(self, mailbox: str, entry_id: str) -> None:
        """The entry is settled or buried."""
        self._entries[mailbox].discard(entry_id)

    def forget_all(self, mailbox: str) -> None:
        """The mailbox was lost: what is still ours will be read anew."""
        self._entries.pop(mailbox, None)
        self._strange.pop(mailbox, None)
        self._renewed_at.pop(mailbox, None)

    def entries(self, mailbox: str) -> set[str]:
        """Ids of the unsettled entries."""
        return self._entries[mailbox]

    def left(self) -> list[str]:
        """The mailboxes that have unsettled mail, or may have some."""
        return sorted({*(mailbox for mailbox, entries in self._entries.items() if entries), *self._in_doubt})

    @contextmanager
    def doubting(self, mailbox: str) -> Generator[None]:
        """Around an append or a recovery: without an answer, the store may hold entries that we do not know of."""
        try:
            yield
        except BaseException:
            self.doubt(mailbox)
            raise

    def doubt(self, mailbox: str) -> None:
        """The store may hold entries that we do not know of."""
        self._in_doubt[mailbox] = time.monotonic()
        self._mail.set()

    def in_doubt(self, mailbox: str) -> bool:
        """The store may hold entries that this process never heard of."""
        return mailbox in self._in_doubt

    def unanswered(self, mailbox: str, unknown: Collection[str]) -> set[str]:
        """Those of all unknown entries that an earlier look has found, so long ago that their appends cannot still be
        answered. By our own clock: by the store's an entry stays young if that is set back."""
        now, found = time.monotonic(), self._strange.get(mailbox, {})
        self._strange[mailbox] = {entry_id: found.get(entry_id, now) for entry_id in unknown}
        return {entry_id for entry_id, at in self._strange[mailbox].items() if now - at >= self.doubt_s}

    def settle_doubt(self, mailbox: str) -> None:
        """The store was searched. A doubt that is too young stays: the append may still be on its way."""
        if time.monotonic() - self._in_doubt.get(mailbox, 0.0) >= self._late_s:
            self._in_doubt.pop(mailbox, None)

    def lease_due(self, mailbox: str) -> bool:
        """It is time to renew the lease along with whatever is sent next."""
        return time.monotonic() - self._renewed_at[mailbox] >= self.times.heartbeat_s / 2

    def renewed(self, mailbox: str, at: float) -> None:
        """The lease was renewed by a command sent `at` (monotonic seconds)."""
        self._renewed_at[mailbox] = at

    async def beat(self, renew: Callable[[str], Awaitable[None]], *, again_s: float | None = None) -> None:
        """Call `renew` for each mailbox that has or may have unsettled mail about every heartbeat, until cancelled.

        :param again_s: how soon after it was unavailable, if sooner
        """
        pause_s = self.times.heartbeat_s
        while True:
            await self._mail.wait()
            await asyncio.sleep(pause_s)
            pause_s = self.times.heartbeat_s
            left = self.left()
            if not left:
                self._mail.clear()
            for mailbox in filter(self.lease_due, left):
                try:
                    await renew(mailbox)
                except Fenced:
                    pass  # whoever does something for the mailbox is told so
                except JournalUnavailable:  # appends, settlements and looks say so
                    pause_s = min(pause_s, again_s or pause_s)


@contextmanager
def journal_unavailable() -> Generator[None]:
    """Say in the runtime's words that a store is away."""
    try:
        yield
    except StoreUnavailable as error:
        raise JournalUnavailable(error.store, error.reason) from error
