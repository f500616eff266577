"""Between a durable mailbox's journal and its lines: what the journal gives is delivered once, and in order."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from trendedge.runtime.durability import check_key
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.errors import ActorStopped, Fenced, JournalUnavailable, MailboxFull, text_of
from trendedge.runtime.journal import Appended, Duplicate, Unique
from trendedge.runtime.latch import Latch
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.retry import RetryPolicy
from trendedge.runtime.voice import log
from trendedge.runtime.writers import Writers

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell


class Delivery:
    """Appends, recovers, adopts and replays for one cell.

    While the journal is asked, the mailbox may be closed and begun anew. Then the answer is not this incarnation's to
    deliver but the next one's, or the next process's: a recovery reads the journal when the answer has come
    (`Underway`), and finds it there. What is sent during a recovery waits for it, since what that finds is older.
    """

    def __init__(self, cell: "Cell", log: DurableLog) -> None:
        self.log = log
        self._cell = cell
        self._closings = 0
        self._recovered = False
        self._recovery: Latch | None = None
        """Set when the recovery that is under way has ended; None while none is."""
        self._pause: Latch | None = None
        """Set to end the pause before another recovery; None while there is none."""
        self._beside: dict[anyio.CancelScope, None] = {}
        """Around what is to end with the incarnation, in whatever task it is done."""
        self._early: list[Envelope] = []
        """Messages that were sent before the first recovery: what it finds is older."""
        self._takes_back = False
        log.on_survived = self._take_back_soon

    async def host(self, serve: Callable[[], Awaitable[None]], retry: RetryPolicy) -> None:
        """Recover, then serve, and write to the journal beside that, until stopped.

        :raises JournalUnavailable: the store cannot be read, and never could
        :raises Fenced: the mail is another process's by now
        """
        try:
            if await self._recover_when_possible(retry):
                await self._serve(serve)
        except Fenced as error:
            if self._cell.is_fenced(error):
                self._disown()
            raise
        if self.log.lost:
            self._disown()

    async def leave(self) -> None:
        """The incarnation was stopped, or waited for its restart: none of its attempts was the death of the process."""
        await self.log.leave()
        if self.log.lost:
            self._disown()

    def _take_back_soon(self) -> None:
        """Beside the mailbox, and beside its incarnation: that may end of what the process has survived."""
        closings = self._closings

        async def take_back() -> None:
            try:
                if self._closings == closings:  # or else `leave` has done it
                    with self._until_closed():
                        await self.log.take_back()
            except Exception as error:  # a defect of the journal: nobody waits for this who could fail of it
                log.error("attempts not taken back", mailbox=self.log.mailbox, exc_info=error)
            finally:
                self._takes_back = False

        if self._takes_back or self._cell.closed:
            return
        with suppress(ActorStopped):  # as well
            self._cell.supervisor.foster(take_back, name=f"{self._cell.path} survives")
            self._takes_back = True

    def request_stop(self) -> None:
        """A stop waits for no store."""
        if self._pause is not None:
            self._pause.set()

    async def _recover_when_possible(self, retry: RetryPolicy) -> bool:
        """Wait out an outage, unless it is the first start, which fails of it; False when a stop came first."""
        outages = 0
        while True:
            try:
                await self.recover(retry.max_deliveries)
            except Fenced:
                raise
            except JournalUnavailable as error:
                if not self.log.recovered:
                    raise
                outages += 1
                delay_s = retry.outage_delay_s(outages)
                log.warning("mail not recovered yet", actor=self._cell.path, retry_in_s=delay_s, error=text_of(error))
                self._cell.mark_ready()  # to wait is what it is there for now: nobody else's start waits with it
                await self._wait(delay_s)
            else:
                return True
            if self._cell.stopping:
                return False

    async def _wait(self, delay_s: float) -> None:
        if self._cell.stopping:
            return
        self._pause = Latch()
        try:
            with anyio.move_on_after(delay_s):
                await self._pause.wait()
        finally:
            self._pause = None

    async def _serve(self, serve: Callable[[], Awaitable[None]]) -> None:
        scope = anyio.CancelScope()  # until the handler in hand ends, where a task group would cancel it once
        works = (self.log.run_settlements, self.log.bury_doomed)
        writers = Writers(works, name=f"{self._cell.path} journal", on_failure=scope.cancel)
        try:
            with scope:
                await serve()
                await self.log.flush()
        finally:
            await writers.end()

    def _disown(self) -> None:
        """Another process has adopted the mail: what is in memory is not ours any more. The restart recovers."""
        cell = self._cell
        log.error("mailbox fenced", alert="mailbox_fenced", actor=cell.path, forgotten=cell.depth)
        cell.close()
        self.log.forget()

    async def append(self, message: Any, unique: Unique | None) -> Appended | Duplicate:
        """Journal and deliver. Room is reserved before the journal is asked, so that what is durable is also taken."""
        cell = self._cell
        if not self._recovered:
            cell.know_accepted()
        cell.check(message)
        while self._recovery is not None:  # it is not to be read twice
            await self._recovery.wait()
        self._check_open()
        key = cell.place(message)  # before anything is durable: a message without a place must not be acknowledged
        check_key(key)
        cell.depth += 1
        closings = self._closings
        try:
            with self.log.underway:
                outcome = await self.log.append(message, unique)
        except BaseException as error:
            self._give_back(closings)
            if isinstance(error, Fenced):
                self._lose(error, closings)
            raise
        if isinstance(outcome, Duplicate):
            self._give_back(closings)
        elif self.delivers(closings):
            envelope = Envelope(message, enqueued_at=cell.now())
            envelope.entry_id = outcome.entry_id
            if self._recovered:
                cell.admit(envelope, key)
            else:
                self._early.append(envelope)
        else:
            self._give_back(closings)
            self.log.known.pop(outcome.entry_id, None)
        return outcome

    async def recover(self, max_deliveries: int) -> None:
        """Deliver what earlier processes and incarnations have left, unless it is here already.

        :raises JournalUnavailable: the store cannot be read
        :raises Fenced: the mail is another process's by now
        """
        if self._recovered:
            return
        cell, recovery = self._cell, Latch()
        cell.know_accepted()  # what earlier releases have left may be of a type that this one does not handle
        self._recovery = recovery
        try:
            await self.log.underway.over()  # lest the store does it after it was read: nobody would deliver that
            self._forget_what_is_lost()
            try:
                envelopes = await self.log.recover(max_deliveries, now=cell.now())
            except Fenced as error:  # since it was ours; or the registry of epochs was restored, and is behind
                if not cell.is_fenced(error):
                    raise
                log.error("mailbox fenced", alert="mailbox_fenced", actor=cell.path, forgotten=len(self._early))
                self.log.lose(error)
                self._forget_what_is_lost()
                envelopes = await self.log.recover(max_deliveries, now=cell.now())
        finally:
            self._recovery = None
            recovery.set()
        cell.depth -= len(self._early)
        self._admit([*envelopes, *self._early])
        self._early.clear()
        self._recovered = True

    def _forget_what_is_lost(self) -> None:
        """What is not in a line yet is another's, too."""
        if self.log.lost:
            self.log.forget()
            self._cell.depth -= len(self._early)
            self._early.clear()

    async def adopt(self, max_deliveries: int) -> int:
        """Deliver what became ours since the start; answers how many messages that were."""
        if not self._recovered or self._cell.ending:
            return 0
        closings = self._closings
        try:
            with self.log.underway:
                envelopes = await self.log.adopt(max_deliveries, now=self._cell.now())
            delivered = self._deliver(envelopes, closings)
            with self._until_closed():
                await self.log.bury_doomed()
        except Fenced as error:
            self._lose(error, closings)
            return 0
        return delivered

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        """Around what is done beside the incarnation: it must not go on under the next one's epoch. The rest of it is
        the next one's.
        """
        with anyio.CancelScope() as scope:
            self._beside[scope] = None
            try:
                yield
            finally:
                del self._beside[scope]

    async def redeliver(self, dead_id: str) -> None:
        """Take a dead letter back into the mailbox, in the journal and here."""
        if not self._recovered:
            raise ActorStopped(self._cell.path)
        self._check_open()
        closings = self._closings
        try:
            with self.log.underway:
                envelope = await self.log.replay(dead_id, now=self._cell.now())
        except Fenced as error:
            self._lose(error, closings)
            raise
        self._deliver([envelope], closings)

    def close(self, left: Sequence[Envelope]) -> None:
        """The mailbox is closed over what is left in its lines: that stays in the journal, for whoever comes next."""
        self._closings += 1
        self._recovered = False
        for scope in self._beside:
            scope.cancel()
        for envelope in (*left, *self._early):
            if envelope.entry_id is not None:
                self.log.known.pop(envelope.entry_id, None)
        self._early.clear()

    def delivers(self, closings: int) -> bool:
        """Whether what the journal has answered is this incarnation's to deliver."""
        return not self._cell.ending and closings == self._closings

    def _check_open(self) -> None:
        cell = self._cell
        if cell.ending:
            raise ActorStopped(cell.path)
        if cell.depth >= cell.spec.capacity:
            raise MailboxFull(cell.path, cell.spec.capacity)

    def _give_back(self, closings: int) -> None:
        """Give up the room of an append. When the mailbox was closed meanwhile, the count has begun anew without it."""
        if closings == self._closings:
            self._cell.release()

    def _lose(self, error: Fenced, closings: int) -> None:
        """The journal has refused us. What was asked before the last closing says nothing about what is owned now."""
        if closings == self._closings:
            self.log.lose(error)

    def _deliver(self, envelopes: Sequence[Envelope], closings: int) -> int:
        """Put what the journal has given into its lines; answers how many messages that were."""
        if self.delivers(closings):
            self._admit(envelopes)
            return len(envelopes)
        for envelope in envelopes:
            if envelope.entry_id is not None:
                self.log.known.pop(envelope.entry_id, None)
        return 0

    def _admit(self, envelopes: Sequence[Envelope]) -> None:
        """What the journal gave has a place, full or not."""
        for envelope in envelopes:
            self._cell.admit(envelope, self._cell.place(envelope.message))
            self._cell.depth += 1
