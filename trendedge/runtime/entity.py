"""One instance's life: incarnation after incarnation, which serve its line one message at a time."""

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from trendedge.runtime.actor import Actor, Context
from trendedge.runtime.crashes import crash_of
from trendedge.runtime.dependent import Dependent
from trendedge.runtime.failures import failed, start_failed
from trendedge.runtime.line import OWN
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.suspects import LOOK_S
from trendedge.runtime.waits import current_entity

if TYPE_CHECKING:
    from collections.abc import Mapping

    import anyio

    from trendedge.runtime.cell import Cell


THROUGHPUT = 64
"""After so many messages the event loop turns once, though more are at hand and no handler has waited (Akka's
`throughput`): an actor that tells itself its next step would keep it from everybody else."""

LOOK_AGAIN_S = 1.0
"""Seconds at least before an instance that was to be passivated, and had something under way, looks again."""


class Entity(Dependent):
    """The incarnation that serves the line of one key, or of a whole unkeyed actor.

    A message is peeked first and popped when it is done: after a crash the same one is at the head of the line, with
    one more attempt on it.
    """

    __slots__ = (
        "begun",
        "crash_counts",
        "culprit",
        "fresh",
        "not_before",
        "outage",
        "outages",
        "over",
        "passivated",
        "reported",
        "scope",
        "since",
        "stopping",
        "task",
    )

    def __init__(self, cell: "Cell", key: str | None) -> None:
        super().__init__(cell, key)
        self.not_before = 0.0
        """Event loop time before which no incarnation is to begin: `on_start` found an outage, or a keyed instance has
        crashed."""
        self.crash_counts = True
        """Whether the last crash counts towards the intensity: a message counts once, however often it kills."""
        self.culprit: str | None = None
        """Type of the message over which the last incarnation crashed; None when it was none."""
        self.outage = False
        """The last incarnation has found an outage, which is waited for: that counts as no crash."""
        self.outages = 0
        """Consecutive failures for reasons that lie outside the message."""
        self.begun = False
        """The last incarnation had come past its `on_start`."""
        self.fresh = True
        """The last incarnation has taken no message yet."""
        self.passivated = False
        """The last incarnation has ended since it was idle, or wanted to."""
        self.stopping = False
        """The incarnation has asked for its own end."""
        self.over = False
        """The last incarnation had come to its `on_stop`: without mail there is nothing to restart it for."""
        self.since: float | None = None
        """Event loop time at which the handler of the message in hand began; None while none runs."""
        self.reported = False
        """The watchdog has named that handler."""
        self.scope: anyio.CancelScope | None = None
        """Around all incarnations of a keyed instance; an unkeyed one has its supervisor's."""
        self.task: asyncio.Task[Any] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether a crashed instance of a keyed actor has something to begin again for. Without mail, and without ever
        having been there, it has not: the next message begins it."""
        return bool(self.mail) or self.outage or (self.begun and not self.over)

    async def run(self) -> None:
        """Serve one incarnation until stopped or passivated. Raises what `on_start` or `receive` raised."""
        structlog.contextvars.clear_contextvars()
        # Whatever the incarnation before it died of:
        self.crash_counts, self.culprit, self.outage = True, None, False
        self.begun = self.passivated = self.over = self.stopping = False
        self.fresh = True
        if not await self._due():
            return
        self.task, self._escalated = asyncio.current_task(), None
        current_entity.set(self)
        actor = self.cell.new_actor()
        actor.context = context = Context(self)
        try:
            try:
                try:
                    await actor.on_start()
                except Exception:
                    raise
                except BaseException as error:
                    raise self.as_crash(error) from error
            except Exception as error:
                await start_failed(self.cell, self, error)
                raise
            self.begun = True
            self._put_aside(context)
            self.cell.mark_ready()
            served = 0
            while (envelope := self._at_hand() or await self._next(context)) is not None:
                await self._serve(actor, envelope)
                served += 1
                if served == THROUGHPUT:
                    served = 0
                    await asyncio.sleep(0)
            await self._stop_children()
            self.over = True
            await actor.on_stop()
            context.close()
            await context.pipes_ended()  # who is stopped after this one may be what they need to end in good order
        finally:
            context.close()
            self._tell_escalated()
            self._unstash()
            self._drop_own()
            await self._stop_children()

    def as_crash(self, error: BaseException) -> Exception:
        """What the incarnation has crashed of, when `error` has ended it.

        :raises BaseException: `error` itself: its host has asked for that, or it is meant for the whole process
        """
        if isinstance(error, asyncio.CancelledError) and self.cell.is_cancelled:
            raise error
        crash = crash_of(error, self.task)
        if crash is not error:
            self.crash_counts, self.culprit = True, None
        return crash

    # -- the line -----------------------------------------------------------------------------------------------

    async def _due(self) -> bool:
        """Wait for the delay of a retry before the restart, so that `on_start` loads the state after it, not before."""
        while (
            delay_s := max(self.not_before - self.cell.now(), self._delay_s(self.mail[0] if self.mail else None))
        ) > 0:
            if self._leaves_what_is_delayed():
                return False
            self.cell.mark_ready()  # to wait is what it is there for now: nobody else's start or stop waits with it
            await self._wait(delay_s)
        drains = self.cell.spec.drain and not self.cell.suspended and bool(self.mail)
        return not self.cell.stopping or drains

    def _leaves_what_is_delayed(self) -> bool:
        # What is journalled waits for the next process: trying it at once would burn its attempts within a moment. And
        # no stop is as long as a breaker is open, or as a suspension.
        cell = self.cell
        left = cell.log is not None or not (cell.spec.drain and self.mail) or cell.suspended
        return cell.stopping and (left or cell.breakers.delay_s(self.key, cell.now()) > 0)

    def _at_hand(self) -> Envelope | None:
        """The head of the line, if nothing at all stands against handling it now: the short way of `_next`."""
        if not self.mail or self._escalated is not None or self.stopping or self.cell.stopping or self.cell.suspended:
            return None
        head = self.mail[0]
        conditional = head.recovered or head.not_before or head.deadline is not None or head.origin is not None
        return None if conditional or self.cell.breakers.by_key else head

    async def _next(self, context: Context) -> Envelope | None:
        cell = self.cell
        while True:
            if self._escalated is not None:
                error, self._escalated = self._escalated, None
                raise error
            # Its supervisor's stop goes before, with what that drains; and an instance that was begun for its mail
            # takes a message first, or it would be begun for that for ever.
            if self.stopping and not cell.stopping and not (self.fresh and self.key is not None and self.mail):
                self.passivated = True
                return None
            if cell.stopping and (not cell.spec.drain or not self.mail or cell.suspended):
                return None
            if self.mail and not cell.suspended:
                head = self.mail[0]
                if (delay_s := self._delay_s(head)) > 0:
                    if self._leaves_what_is_delayed():
                        return None
                    await self._wait(delay_s)
                elif cell.log is not None and cell.log.suspects.must_wait(head.entry_id, self.wake):
                    if self._leaves_what_is_delayed():
                        return None
                    await self._wait(LOOK_S)
                elif not self._outdated(head, context):
                    cell.breakers.pass_on(self.key, cell.now())
                    return head
            elif await self._is_over(context):
                self.passivated = True
                return None

    async def _is_over(self, context: Context) -> bool:
        """Wait for mail; whether it has been idle for so long that it is to be passivated."""
        idle_s = self.cell.idle_s
        while not await self._wait(idle_s):
            if self._idle(context):
                return True
            if self._has_something_to_do:  # it came when the time was up already: nobody wakes it for that
                return False
            idle_s = max(idle_s or 0.0, LOOK_AGAIN_S)  # it is not told when that changes
        return False

    @property
    def _has_something_to_do(self) -> bool:
        takes_first = self.fresh and self.key is not None and bool(self.mail)  # a message, before it stops by itself
        told = self._escalated is not None or (self.stopping and not takes_first) or self.cell.stopping
        return told or (bool(self.mail) and not self.cell.suspended)

    def _idle(self, context: Context) -> bool:
        return not (
            self.mail
            or self._stashed
            or (self.offspring and self.offspring.supervisor.children)
            or context.expects_mail
        )

    def _unstash(self) -> None:
        back = [*self.stashed, *islice(self.mail, 1)]  # the head may have been in hand
        if self._stashed:
            self._stashed.extend(self.mail)
            self.mail = self._stashed
        self._stashed = None
        self.cell.back_in_line(self, back)

    def unstash_now(self) -> None:
        """Take what was put aside again; no message is in hand."""
        self._unstash()
        self.wake()

    def _put_aside(self, context: Context, envelope: Envelope | None = None) -> bool:
        """Do what the handler said about stashed messages; whether `envelope` is one now."""
        stashed = context.stashing and envelope is not None
        if stashed and envelope is not None:
            context.take_announcements()
            if self.cell.log is not None:
                self.cell.log.survived(envelope)
            self.mail.popleft()
            if self.cell.put_aside(envelope):
                if self._stashed is None:
                    self._stashed = deque()
                self._stashed.append(envelope)
        if context.unstashing:
            self._unstash()
        context.stashing = context.unstashing = False
        return stashed

    # -- one message --------------------------------------------------------------------------------------------

    async def _serve(self, actor: Actor[Any], envelope: Envelope) -> None:
        cell, message = self.cell, envelope.message
        bound: Mapping[str, Any] = {}
        self.in_hand = envelope
        self.fresh = False
        self.since = now = cell.now()
        cell.stats.began(now - envelope.enqueued_at)
        begun = not envelope.recovered
        try:
            try:
                # Whatever a message does when it is looked at is over that message, as what its handler does.
                cell.taken(envelope)
                if (request_id := getattr(message, "request_id", None)) is not None:
                    bound = structlog.contextvars.bind_contextvars(request_id=request_id)
                if not begun and cell.log is not None:
                    await cell.log.begin(envelope)
                    begun = True
                answer = await actor.receive(message)
            except Exception:
                raise
            except BaseException as error:
                raise self.as_crash(error) from error
        except Exception as error:
            if not (begun and isinstance(error, actor.declared)):
                await failed(cell, self, envelope, error)
                raise
            actor.context.stashing = False
            self._done(actor, envelope, now)
            envelope.fail(error)
        except asyncio.CancelledError:
            if cell.log is not None:
                cell.log.survived(envelope)
            raise
        else:
            context = actor.context
            if context.stashing and self._put_aside(context, envelope):
                return
            self._done(actor, envelope, now)
            envelope.answer(answer)
        finally:
            self.since, self.in_hand, self.reported = None, None, False
            if bound:
                structlog.contextvars.reset_contextvars(**bound)

    def _drop_own(self) -> None:
        """What the incarnation has sent to itself ends with it: it keeps none waiting, and begins none again."""
        for envelope in [one for one in self.mail if one.origin is not None]:
            if self.outage:
                self.not_before = max(self.not_before, envelope.not_before)
            self.mail.remove(envelope)
            self.cell.dropped(envelope, OWN)

    def _done(self, actor: Actor[Any], envelope: Envelope, began: float) -> None:
        self.cell.stats.ended(self.cell.now() - began)
        self.outages = 0
        self.mail.popleft()
        self.cell.completed(self.key, envelope, actor.context)
        if actor.context.unstashing:
            self._put_aside(actor.context)

    # -- what the context asks for ------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the incarnation when the message in hand is done; see `Context.stop`."""
        self.stopping = True
        self.wake()
