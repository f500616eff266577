"""The host of one actor: its bounded mailbox, its instances, its counters. It outlives every incarnation."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from trendedge.runtime.accepts import accepted_types
from trendedge.runtime.actor import Actor, Context, Terminated
from trendedge.runtime.ages import Ages
from trendedge.runtime.breaker import NO_BREAKERS, Breakers, BreakerSpec
from trendedge.runtime.clock import clock_of
from trendedge.runtime.delivery import Delivery
from trendedge.runtime.durability import Durability
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.entity import Entity
from trendedge.runtime.errors import (
    ActorStopped,
    DeadlineExceeded,
    Fenced,
    IntensityExceeded,
    MailboxFull,
    MessageDropped,
    MessageRefused,
    MessageWithoutKey,
)
from trendedge.runtime.failures import tell_crash
from trendedge.runtime.instances import Instances
from trendedge.runtime.intensity import Intensity
from trendedge.runtime.latest import LATER, Latest
from trendedge.runtime.mailbox import Envelope, MailboxSpec, Overflow
from trendedge.runtime.retry import RetryPolicy
from trendedge.runtime.room import Room
from trendedge.runtime.stats import Stats, describe
from trendedge.runtime.voice import log
from trendedge.runtime.waits import Node, asking_entity
from trendedge.runtime.watchers import Watchers

if TYPE_CHECKING:
    from trendedge.runtime.supervisor import Supervisor


class Cell:
    """Mailbox and life of one actor."""

    def __init__(
        self,
        path: str,
        start: Callable[[], Actor[Any]],
        *,
        spec: MailboxSpec,
        retry: RetryPolicy,
        durability: Durability | None,
        intensity: Intensity,
        breaker: BreakerSpec | None = None,
        supervisor: "Supervisor",
    ) -> None:
        self.path = path
        self.spec = spec
        self.stats = Stats()
        self.depth = 0
        self.suspended = False
        self.stopping = False
        self.now: Callable[[], float] = lambda: clock_of(asyncio.get_running_loop())()
        """The event loop's clock, seconds."""
        self.closed = False
        self.released = False
        """It belongs to no supervisor any more, and its address is free."""
        self.log = None if durability is None else DurableLog(durability, self._checked_place, outage=retry.outage)
        self._delivery = None if self.log is None else Delivery(self, self.log)
        self._instances = None if spec.key is None else Instances(self)
        self.entities: dict[str | None, Entity] = {}
        self.breakers = NO_BREAKERS if breaker is None else Breakers(breaker, self._has_in_hand)
        self.watchers = Watchers()
        self.supervisor = supervisor
        self._accepts: tuple[type, ...] | None = None
        self._latest = None if spec.coalesce is None else Latest(path, spec.coalesce, spec.key, self._wake_line)
        keyed_dropping = spec.overflow is Overflow.DROP_OLDEST and spec.key is not None
        self._ages = Ages() if keyed_dropping else None
        self._listed: Latest | Ages | None = self._latest or self._ages
        """Where the messages are listed that wait, if they are."""
        self._start = start
        self.retry = retry
        self.intensity = intensity
        self.was_ready = False
        """It has started once: an outage at a later start is waited for, and no failure of its supervisor's start."""
        self._room: Room | None = None
        """Senders that wait for room; None until there is one."""
        self._on_ready: Callable[[], None] | None = None

    # -- what the supervisor calls ------------------------------------------------------------------------------

    def run(self, on_ready: Callable[[], None]) -> Coroutine[Any, Any, None]:
        """Host one incarnation (of a keyed cell: the instances) until stopped. Raises what it crashed of."""
        self._on_ready = on_ready
        self.intensity.begin_anew()
        self.now = clock_of(asyncio.get_running_loop())
        serve = self._run_single if self._instances is None else self._instances.run
        return serve() if self._delivery is None else self._delivery.host(serve, self.retry)

    def request_stop(self) -> None:
        """Finish the message in hand (with `drain`, all that wait), then end. Overtakes all mail."""
        self.stopping = True
        if self._delivery is not None:
            self._delivery.request_stop()
        if self._instances is not None:
            self._instances.request_stop()
        for entity in list(self.entities.values()):
            entity.not_before = 0.0  # a stop waits for no pause before a restart
            entity.wake()
        self._wake_senders()

    @property
    def drains(self) -> bool:
        """Whether what waits is handled before an orderly stop."""
        return self.spec.drain and not self.suspended

    @property
    def has_to_drain(self) -> bool:
        """Whether mail waits that is to be handled before an orderly stop."""
        waits = any(entity.mail for entity in self.entities.values())
        return self.drains and self.was_ready and waits and not self.closed

    async def leave(self) -> None:
        """It has been stopped, and is about to be closed: let its journal know what that was not."""
        if self._delivery is not None:
            await self._delivery.leave()

    @property
    def ending(self) -> bool:
        """Whether it takes nothing any more: it is about to end, or has ended."""
        return self.closed or self.stopping

    def close(self) -> None:
        """The actor has ended: settle every ask that still waits. What is journalled stays there."""
        self.closed = True
        left = [envelope for entity in self.entities.values() for envelope in entity.mail]
        for envelope in left:
            envelope.abandon(self.path)
        self.stats.dropped += sum(envelope.entry_id is None for envelope in left)
        if self._delivery is not None:
            self._delivery.close(left)
        for entity in self.entities.values():
            entity.mail.clear()
        self.entities.clear()
        if self._listed is not None:
            self._listed.clear()
        self.depth = 0
        self._wake_senders()

    def reopen(self) -> None:
        """Be ready for another incarnation after a stop; after a mere crash the mail is still here."""
        if self.closed:
            self.closed = self.stopping = False
            self.watchers.revive()
            if self._instances is not None:
                self._instances.reopen()

    def succeed(self, former: "Cell") -> None:
        """Take the place of the actor's cell below a supervisor that was restarted: what is known of it stays known."""
        self.suspended = former.suspended
        self.was_ready = former.was_ready
        self.stats = former.stats
        self.breakers.by_key = former.breakers.by_key
        self.watchers = former.watchers
        self.watchers.revive()
        if self.log is not None and former.log is not None and self.log.is_of_the_same(former.log):
            self.log = former.log  # it knows what is still to be settled, buried and answered
            self._delivery = Delivery(self, former.log)

    def terminate(self, cause: str | None) -> None:
        """The actor has ended for good: close, and tell who watches."""
        self.close()
        self.watchers.tell(Terminated(self.path, cause))

    def is_of(self, tree: object) -> bool:
        """Whether the actor belongs to this tree: one that has ended for good may be started again by order."""
        return self.supervisor.tree is tree and not self.released

    def release_address(self) -> None:
        """Nobody knows the actor any more."""
        self.released = True

    def reset_breaker(self, name: str) -> bool:
        """Close one breaker by hand; whether there is one of this name."""
        for key, breaker in self.breakers.by_key.items():
            if breaker.name == name:
                breaker.reset()
                self._wake_line(key)
                return True
        return False

    def _has_in_hand(self, key: str | None) -> bool:
        return key in self.entities and self.entities[key].since is not None

    def _wake_line(self, key: str | None) -> None:
        if key in self.entities:
            self.entities[key].wake()

    def suspend(self) -> None:
        """Take no further message, until `resume`; through restarts."""
        self.suspended = True

    def resume(self) -> None:
        """End a suspension."""
        self.suspended = False
        for entity in list(self.entities.values()):
            entity.wake()

    # -- the sender's side --------------------------------------------------------------------------------------

    def put_nowait(
        self, message: Any, reply: asyncio.Future[Any] | None, deadline: float | None = None, *, own: bool = False
    ) -> None:
        """Deliver, or raise `MailboxFull` when it would have to wait.

        :param deadline: event loop time
        :param own: it is of a handler of this very actor, which would wait for itself: it goes round the capacity
        """
        self.check(message)
        if self.closed or self.stopping:
            raise ActorStopped(self.path)
        key = None if self.spec.key is None else self.place(message)
        envelope = Envelope(message, reply=reply, enqueued_at=self.now())
        if deadline is not None:
            envelope.deadline = deadline
        if self._latest is not None:
            if self._latest.replace(envelope):
                self.stats.dropped += 1
                return
            if (outdated := self._latest.aside(envelope)) is not None:
                self.entities[key].stashed.remove(outdated)
                self.dropped(outdated, LATER)
                own = True  # it has that one's room
        room = self._room
        taken = self.depth if room is None else self.depth + room.coming
        if taken >= self.spec.capacity and not own:
            if self.spec.overflow is not Overflow.DROP_OLDEST:
                raise MailboxFull(self.path, self.spec.capacity)
            self._drop_oldest()
        if self._latest is not None:
            self._latest.add(envelope)
        self.admit(envelope, key)
        self.depth += 1

    async def put(self, message: Any, reply: asyncio.Future[Any] | None, deadline: float | None = None) -> None:
        """Deliver when there is room. Who is refused does not wait, or hands on its turn.

        :raises TellCycle: the sender's handler would wait for itself, over others
        """
        self.check(message)
        key = self.place(message)
        sender = asking_entity()
        if sender is not None and sender.cell is self:
            self.put_nowait(message, reply, deadline, own=True)
            return
        if self._room is None:
            self._room = Room(self)
        await self._room.wait(sender)
        try:
            self.put_nowait(message, reply, deadline)
        except BaseException:
            self._room.let_in()
            raise
        if self._room.waiters and (not self.is_full or self.entities[key].waits_for_others):
            self._room.let_in()

    @property
    def must_wait(self) -> bool:
        """Whether a sender has to `put`, since `put_nowait` would find no room."""
        room = self._room
        taken = self.depth if room is None else self.depth + room.coming
        return taken >= self.spec.capacity and self.spec.overflow is Overflow.BLOCK

    @property
    def waiting(self) -> int:
        """Senders that wait for room."""
        return 0 if self._room is None else self._room.waiting

    def held_up_by(self) -> tuple[int, "Iterator[Node]"]:
        """How many have to go on before there is room for whoever waits for it, and of whom: of all with mail here."""
        if not self.is_full or self.ending or self.coming:
            return 0, iter(())
        line = (one for one in self.entities.values() if one.mail or one.stashed)
        first = next(line, None)
        return (0, iter(())) if first is None else (1, chain((first,), line))

    @property
    def names(self) -> tuple[str, ...]:
        """What it adds to a circle of those who wait: it waits for nobody itself, its instances do."""
        return ()

    @property
    def coming(self) -> int:
        """Senders that have waited for room and were let in, and do not know yet."""
        return 0 if self._room is None else self._room.coming

    @property
    def is_full(self) -> bool:
        """Whether each place is taken, or kept for a sender that has waited for it."""
        taken = self.depth if self._room is None else self.depth + self._room.coming
        return taken >= self.spec.capacity

    def check(self, message: Any) -> None:
        """Raise `MessageRefused` for a type that the actor does not handle."""
        if self._accepts is not None and not isinstance(message, self._accepts):
            raise self._refusal(message)

    @property
    def durable(self) -> Delivery:
        """The way of durable mail. Raises `TypeError` when it has none."""
        if self._delivery is None:
            raise TypeError(f"{self.path} is not durable")
        return self._delivery

    async def adopt(self) -> int:
        """Deliver what became ours since the start; answers how many messages that were."""
        return await self.durable.adopt(self.retry.max_deliveries)

    def _refusal(self, message: Any) -> MessageRefused:
        return MessageRefused(self.path, describe(message), tuple(one.__name__ for one in self._accepts or ()))

    def busy(self) -> list[Entity]:
        """The instances whose handler runs right now."""
        return [entity for entity in self.entities.values() if entity.since is not None]

    def hosted(self) -> list[Entity]:
        """The instances that have begun and not ended."""
        return [entity for entity in self.entities.values() if entity.task is not None and not entity.task.done()]

    def name_of(self, key: str | None) -> str:
        """Path of the actor, with the key of the instance."""
        return self.path if key is None else f"{self.path}[{key}]"

    def key_of(self, message: Any) -> str | None:
        """Key of the instance that a message is for; None in an unkeyed mailbox, and for a message it refuses."""
        if self.spec.key is None or (self._accepts is not None and not isinstance(message, self._accepts)):
            return None
        return self.spec.key(message)

    def place(self, message: Any) -> str | None:
        """Key of the line that the message belongs into. Raises `MessageWithoutKey` when there is none."""
        if self.spec.key is None:
            return None
        key = self.spec.key(message)
        if key is None:
            raise MessageWithoutKey(self.path, describe(message))
        return key

    def _checked_place(self, message: Any) -> str | None:
        """As `place`, of what no sender was here to be refused: raises `MessageRefused`, too."""
        self.check(message)
        return self.place(message)

    # -- the entity's side --------------------------------------------------------------------------------------

    @property
    def idle_s(self) -> float | None:
        """Seconds without mail after which an instance is passivated; None for an unkeyed actor."""
        return self.spec.idle_s if self.spec.key else None

    @property
    def is_cancelled(self) -> bool:
        """Whether a task that hosts its incarnations is to end: no scope around theirs shows it."""
        return self.supervisor.is_cancelled or (self._instances is not None and self._instances.is_cancelled)

    def is_fenced(self, error: BaseException) -> bool:
        """Whether the mail of this very mailbox is another process's by now."""
        return isinstance(error, Fenced) and self.log is not None and error.mailbox == self.log.mailbox

    @property
    def crash_counts(self) -> bool:
        """Whether the last crash of an unkeyed actor counts towards its supervisor's intensity."""
        entity = self.entities.get(None)
        return entity is None or entity.crash_counts

    @property
    def culprit(self) -> str | None:
        """Type of the message over which an unkeyed actor crashed last."""
        entity = self.entities.get(None)
        return None if entity is None else entity.culprit

    def new_actor(self) -> Actor[Any]:
        """A fresh object for the next incarnation."""
        actor = self._start()
        first, self._accepts = self._accepts is None, accepted_types(actor)
        if first:
            self._refuse_early()
        return actor

    def know_accepted(self) -> None:
        """Find out which messages the actor handles, before there is an instance."""
        if self._accepts is None:
            self.new_actor()

    def _refuse_early(self) -> None:
        """Refuse what was sent before anybody knew which messages the actor handles."""
        if self._accepts is None:
            return
        for entity in self.entities.values():
            for envelope in [one for one in entity.mail if not isinstance(one.message, self._accepts)]:
                entity.mail.remove(envelope)
                refusal = self._refusal(envelope.message)
                log.error("message refused", actor=self.path, error=str(refusal))
                envelope.fail(refusal)
                self.dropped(envelope, str(refusal))

    def mark_ready(self) -> None:
        """An unkeyed instance has started."""
        self.was_ready = True
        if self._on_ready is not None:
            self._on_ready()
            self._on_ready = None

    def taken(self, envelope: Envelope) -> None:
        """A message is about to be handled: it can be neither replaced nor dropped any more."""
        if self._listed is not None:
            self._listed.discard(envelope)

    def back_in_line(self, entity: Entity, back: Sequence[Envelope]) -> None:
        """What an instance had in hand when it crashed, or had put aside, waits again.

        :param back: these, in their order; some may have waited all the time
        """
        if self._listed is None or self.entities.get(entity.key) is not entity:
            return
        if self._ages is not None:
            self._ages.add_back(back, entity)
        if self._latest is not None:
            for envelope in self._latest.add_back(back):
                if entity.outage:
                    entity.not_before = max(entity.not_before, envelope.not_before)
                entity.mail.remove(envelope)
                self.dropped(envelope, LATER)

    def put_aside(self, envelope: Envelope) -> bool:
        """The message in hand is to wait for later; False when it was dropped, since a later one waits already."""
        if self._latest is None or self._latest.put_aside(envelope):
            return True
        self.dropped(envelope, LATER)
        return False

    def dropped(self, envelope: Envelope, why: str) -> None:
        """A message was taken out of its line unhandled."""
        self.stats.dropped += 1
        self.taken(envelope)
        envelope.fail(MessageDropped(self.path, why))
        self.release()

    def expired(self, envelope: Envelope) -> None:
        """A message came to its turn after its deadline."""
        self.stats.expired += 1
        self.taken(envelope)
        late_s = self.now() - (envelope.deadline or 0.0)
        envelope.fail(DeadlineExceeded(self.path, describe(envelope.message), late_s))
        self.release()

    def completed(self, key: str | None, envelope: Envelope, context: Context) -> None:
        """A message is done: count it, settle it, make room."""
        self.stats.handled += 1
        announced = context.take_announcements() if context.announcements else ()
        if self.breakers.by_key:
            self.breakers.succeeded(key)
        if self.log is not None and envelope.entry_id is not None:
            self.log.settle_soon(envelope.entry_id, announced)
        self.release()

    # -- hosting ------------------------------------------------------------------------------------------------

    async def _run_single(self) -> None:
        entity, again = self.entities.setdefault(None, Entity(self, None)), False
        while True:
            try:
                if again:
                    await asyncio.sleep(0)
                again = True
                return await entity.run()
            except BaseException as error:
                crash = entity.as_crash(error)
                if not entity.outage and not self._drains_on(entity, crash):
                    # An outage of `on_start` too, at first: the supervisor's backoff applies.
                    if crash is error:
                        raise
                    raise crash from error

    def _drains_on(self, entity: Entity, error: Exception) -> bool:
        """Whether a crash during the stop keeps what waits from nothing: no supervisor restarts the actor for it."""
        if self.is_fenced(error) or not (self.stopping and self.spec.drain and entity.mail) or self.suspended:
            return False
        if entity.crash_counts:
            try:
                self.intensity.record(self.path, self.path, self.now())
            except IntensityExceeded:
                return False
        if entity.culprit is None:
            tell_crash(self, None, error)
        return True

    # -- room ---------------------------------------------------------------------------------------------------

    def admit(self, envelope: Envelope, key: str | None) -> None:
        """Put a message into its line. Its room is the caller's to count."""
        entity = self.entities.get(key)
        if entity is None:
            entity = self.entities[key] = Entity(self, key)
            if self._instances is not None:
                self._instances.begin(entity)
        entity.append(envelope)
        if self._ages is not None:
            self._ages.add(envelope, entity)

    def release(self) -> None:
        """A message has left: there is room for another one."""
        if self.depth:  # a handler that outlives a `close` has lost its place with it
            self.depth -= 1
        if self._room is not None and self._room.waiters:
            self._room.let_in()

    def _wake_senders(self) -> None:
        if self._room is not None:
            self._room.send_away()

    def _drop_oldest(self) -> None:
        found = self._oldest() if self._ages is None else self._ages.oldest()
        if found is None:
            raise MailboxFull(self.path, self.spec.capacity)
        envelope, entity = found
        entity.mail.remove(envelope)  # it is never far from the head
        entity.wake()  # it may have waited for that one's retry
        self.dropped(envelope, "the mailbox was full, and it waited longest")

    def _oldest(self) -> tuple[Envelope, Entity] | None:
        """The oldest message of the only line that may be dropped: neither in hand, nor of the instance to itself."""
        for entity in self.entities.values():
            for envelope in entity.mail:
                if envelope.origin is None and envelope is not entity.in_hand:
                    return envelope, entity
        return None
