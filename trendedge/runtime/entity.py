"""One instance's life: its mail in order, one message at a time, peeked first and popped when done."""

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog

from trendedge.runtime.actor import Actor, Context
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.stats import Handling, describe

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell


class Entity:
    """The line of messages of one key (or of a whole unkeyed actor), and the incarnation that serves it.

    The line outlives incarnations: after a crash the same message is at its head, with one more attempt on it.
    """

    __slots__ = ("_waiter", "cell", "crash_counts", "key", "mail", "outages")

    def __init__(self, cell: "Cell", key: str | None) -> None:
        self.cell = cell
        self.key = key
        self.mail: deque[Envelope] = deque()
        self.crash_counts = True
        """Whether the last crash counts towards the intensity: a message counts once, however often it kills."""
        self.outages = 0
        """Consecutive failures for reasons that lie outside the message."""
        self._waiter: asyncio.Future[bool] | None = None

    def wake(self) -> None:
        """Let the incarnation look at its mail again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    async def run(self) -> None:
        """Serve one incarnation until stopped or passivated. Raises what `on_start` or `receive` raised."""
        structlog.contextvars.clear_contextvars()
        if not await self._due():
            return
        actor = self.cell.new_actor()
        actor.context = context = Context(self.cell.path, self.key, self._deliver_to_self)
        try:
            try:
                await actor.on_start()
            except Exception as error:
                await self.cell.start_failed(self, error)
                raise
            self.cell.mark_ready()
            while (envelope := await self._next()) is not None:
                await self._serve(actor, envelope)
            await actor.on_stop()
        finally:
            context.close()

    async def _due(self) -> bool:
        """Wait for the delay of a retry before the restart, so that `on_start` loads the state after it, not before."""
        while self.mail and not self.cell.stopping:
            delay_s = self.mail[0].not_before - self.cell.now()
            if delay_s <= 0:
                return True
            await self._wait(delay_s)
        drains = self.cell.spec.drain and not self.cell.suspended and bool(self.mail)
        return not self.cell.stopping or drains

    def _deliver_to_self(self, message: Any) -> None:
        # A timer's message must reach the instance that set it, so it goes round the key function. It is the
        # actor's own and few, so it also goes round the capacity.
        if not self.cell.stopping:
            self.mail.append(Envelope(message, enqueued_at=self.cell.now()))
            self.cell.depth += 1
            self.wake()

    async def _next(self) -> Envelope | None:
        while True:
            if self.cell.stopping and (self.cell.suspended or not (self.cell.spec.drain and self.mail)):
                return None  # what is suspended does not drain: it would wait for a resume until it is cancelled
            if self.mail and not self.cell.suspended:
                return self.mail[0]
            if not await self._wait(self.cell.idle_s) and not self.mail:
                return None

    async def _wait(self, timeout_s: float | None) -> bool:
        """Wait to be woken; False when `timeout_s` ran out first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout_s, _expire, waiter) if timeout_s is not None else None
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    async def _serve(self, actor: Actor[Any], envelope: Envelope) -> None:
        cell, message = self.cell, envelope.message
        request_id = getattr(message, "request_id", None)
        if request_id is not None:
            structlog.contextvars.bind_contextvars(request_id=request_id)
        began = perf_counter()  # an event loop's clock may tick in milliseconds, as uvloop's does
        cell.stats.handling[self.key] = Handling(describe(message), self.key, cell.now())
        try:
            if envelope.recovered and cell.log is not None:
                await cell.log.begin(envelope)
            answer = await actor.receive(message)
        except actor.declared as error:
            self._done(actor, envelope, began)
            envelope.fail(error)
        except Exception as error:
            await cell.failed(self, envelope, error)
            raise
        else:
            self._done(actor, envelope, began)
            envelope.answer(answer)
        finally:
            cell.stats.handling.pop(self.key, None)
            if request_id is not None:
                structlog.contextvars.clear_contextvars()

    def _done(self, actor: Actor[Any], envelope: Envelope, began: float) -> None:
        self.outages = 0
        self.mail.popleft()
        self.cell.completed(envelope, actor.context.take_announcements(), perf_counter() - began)


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
