"""What the author of an actor writes, and what an actor knows of its surroundings."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from trendedge.runtime.errors import ActorStopped, NoMessageInHand, StashFull
from trendedge.runtime.journal import Announcement
from trendedge.runtime.latch import Latch
from trendedge.runtime.piped import PipedWork

if TYPE_CHECKING:
    import anyio

    from trendedge.runtime.entity import Entity
    from trendedge.runtime.ref import ActorRef, DurableRef
    from trendedge.runtime.specs import Spec
    from trendedge.runtime.watchers import Watchers


@dataclass(frozen=True, slots=True)
class Terminated:
    """Death notice of an actor that was watched: it has ended for good. A restart is no death."""

    path: str
    cause: str | None
    """What it crashed of, or None after an orderly end."""


class Timer:
    """A message to oneself that is still to come."""

    __slots__ = ("_armed", "_handle")

    def __init__(self, armed: "set[Timer]") -> None:
        """:param armed: the timers of an incarnation that have still something to send"""
        self._armed = armed
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, delay_s: float, fire: Callable[[], None]) -> None:
        """Call `fire` after `delay_s` seconds."""

        def go_off() -> None:
            self._handle = None
            self._armed.discard(self)
            fire()

        self._handle = asyncio.get_running_loop().call_later(delay_s, go_off)
        self._armed.add(self)

    @property
    def pending(self) -> bool:
        """It has still something to send."""
        return self._handle is not None

    def cancel(self) -> None:
        """Send nothing any more. Harmless when it has fired."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._armed.discard(self)


class Context:
    """An incarnation's view of the runtime: valid from `on_start` until the incarnation ends.

    Everything that is begun here ends with the incarnation: timers, watches, piped work and spawned children. A
    message that one of them left in the mailbox of a crashed incarnation is not handled by the next.
    """

    __slots__ = (
        "_host",
        "_pipes",
        "_pipes_over",
        "_timers",
        "_watched",
        "announcements",
        "ended",
        "key",
        "path",
        "stashing",
        "unstashing",
    )

    def __init__(self, host: "Entity") -> None:
        self.path: str = host.cell.path
        """Where the actor stands in the tree, as `Inspector` shows it."""
        self.key: str | None = host.key
        """The key of this instance of a keyed actor; None where there is one instance for all messages."""
        self.stashing = self.unstashing = False
        self.ended = False
        """The incarnation has ended: what it began has no say in the next one."""
        self._host = host
        # None until they are used: ten thousand idle actors should not hold forty thousand empty sets.
        self._timers: set[Timer] | None = None
        self._watched: set[Watchers] | None = None
        self._pipes: dict[anyio.CancelScope, None] | None = None
        self._pipes_over: Latch | None = None
        self.announcements: list[Announcement] | None = None

    # -- timers -------------------------------------------------------------------------------------------------

    def tell_self_after(self, delay_s: float, message: Any) -> Timer:
        """Put `message` into the own mailbox after `delay_s` seconds, unless this incarnation has ended by then."""

        return self._timer(delay_s, lambda: self._host.deliver(message, self))

    def tell_self_every(self, interval_s: float, message: Any) -> Timer:
        """Put `message` into the own mailbox every `interval_s` seconds, until cancelled or the incarnation ends.

        While one tick waits to be handled no other is sent: a slow actor is not buried under its own clock.
        """

        def fire() -> None:
            if not self._host.waits(message):
                self._host.deliver(message, self)
            timer.arm(interval_s, fire)

        timer = self._timer(interval_s, fire)
        return timer

    def _timer(self, delay_s: float, fire: Callable[[], None]) -> Timer:
        if self._timers is None:
            self._timers = set()
        timer = Timer(self._timers)
        if not self.ended:  # else nobody would cancel it any more
            timer.arm(delay_s, fire)
        return timer

    # -- others -------------------------------------------------------------------------------------------------

    def watch(self, ref: "ActorRef[Any] | DurableRef[Any]") -> None:
        """Get a `Terminated` when that actor has ended for good; at once when it has already. While one waits to be
        handled there comes no second one.

        :raises ActorStopped: no supervisor has ever known this address
        """
        watchers = ref.cell.watchers
        if self.ended:
            return  # a task that the incarnation has left behind: nobody would hear of it
        if self._watched is None:
            self._watched = set()
        self._watched.add(watchers)

        def notify(notice: Terminated) -> None:
            if self._watched is not None:
                self._watched.discard(watchers)
            if not self._knows(notice):
                self._host.deliver(notice, self)

        watchers.add(self, notify)

    def _knows(self, notice: Terminated) -> bool:
        """Whether this death notice is still to be handled."""
        host = self._host
        waiting = (*host.mail, *host.stashed)
        return any(one.message is notice and one.origin is self and one is not host.in_hand for one in waiting)

    def unwatch(self, ref: "ActorRef[Any] | DurableRef[Any]") -> None:
        """Get no death notice of that actor any more, not even one that waits in the mailbox already."""
        watchers = ref.cell.watchers
        if self._watched is not None and watchers in self._watched:
            self._watched.remove(watchers)
            watchers.remove(self)
        self._host.withdraw_notices(ref.cell.path, self)

    async def spawn(self, spec: "Spec") -> None:
        """Start a child of this incarnation; returns when the child is ready, and `spec.ref` reaches it then.

        The children are supervised one for one. They stop, in reverse order, before this incarnation's `on_stop`, and
        after its crash; when they crash too often, this incarnation crashes with `IntensityExceeded`, and when one ends
        that is `significant`, with `SignificantChildEnded`.

        :raises StartFailed: it did not become ready
        :raises ActorStopped: another child has ended them all before it was ready, or this incarnation has ended
        :raises DuplicateChild: there is a child of this id, or one that was stopped has not ended yet
        :raises DuplicateRef: its address, or one below it, is that of an actor of the tree
        """
        if self.ended:
            raise ActorStopped(self._host.name)
        await self._host.spawn(spec)

    async def stop_child(self, child_id: str) -> None:
        """Stop a spawned child in good order, and forget it.

        :raises UnknownChild: there is none of this id
        """
        await self._host.stop_child(child_id)

    def pipe_to_self[T](
        self,
        work: Awaitable[T],
        to_message: Callable[[T], Any],
        *,
        on_error: Callable[[Exception], Any] | None = None,
    ) -> None:
        """Let `work` run beside the mailbox, and get its result as a message.

        An error becomes the message that `on_error` makes of it, and so does a cancellation by somebody else, as
        `StrayCancellation`; without `on_error` it crashes this incarnation. At the end of the incarnation the work is
        cancelled; a stop waits for its end, within `shutdown_s`, and a restart after a crash does not.
        """
        if self._pipes is None:
            self._pipes = {}  # a set's order would change from run to run
        piped = PipedWork(self._host, self, work, to_message, on_error)
        self._pipes[piped.scope] = None
        piped.begin()

    @property
    def expects_mail(self) -> bool:
        """A timer, a watch or piped work is under way: this incarnation is not idle."""
        return bool(self._pipes or self._watched or self._timers)

    def stop(self) -> None:
        """End this incarnation in good order when the message in hand is done (OTP's `{stop, normal}`).

        An instance of a keyed actor is passivated at once: the next message of its key starts a new one, also one that
        waits already. One that asks for it in `on_start` takes a message first, if one waits. An unkeyed actor has
        ended then, as if its supervisor had stopped it: what waits in memory is dropped, drain or not, what is
        journalled stays there. It is started again if it is PERMANENT, which counts as a restart; otherwise it has
        ended for good.
        """
        if not self.ended:
            self._host.stop()

    # -- the message in hand ------------------------------------------------------------------------------------

    def stash(self) -> None:
        """Put the message being handled aside: it is neither done nor answered until it was handled once more.

        A stashed message keeps its place in the journal and counts towards the mailbox's capacity.

        :raises NoMessageInHand: the handler of a message is not who calls this: work beside it has none to put aside
        :raises StashFull: the mailbox would be full of what this instance has put aside, and it has no timer, watch or
            piped work under way: nobody could ever tell it to take them again
        """
        host = self._host
        if host.in_hand is None or host.task is not asyncio.current_task():
            raise NoMessageInHand(host.name)
        alone = len(host.mail) <= 1  # nothing waits that could say so: what is its own goes round the capacity
        full = len(host.stashed) + 1 >= host.cell.spec.capacity
        if full and alone and not (self.expects_mail or self.unstashing):
            raise StashFull(host.name, host.cell.spec.capacity)
        self.stashing = True

    def unstash_all(self) -> None:
        """Take the stashed messages again, in their order, before all that wait: as soon as none is being handled."""
        if self._host.in_hand is None and not self.ended:
            self._host.unstash_now()
        else:
            self.unstashing = True

    def announce_on_settle(self, channel: str, payload: bytes) -> None:
        """Publish through the journal's store in the step that settles the message being handled.

        Outside a durable mailbox there is nothing to settle, and nothing is published.
        """
        if self.announcements is None:
            self.announcements = []
        self.announcements.append(Announcement(channel, payload))

    def has_piped(self, scope: "anyio.CancelScope") -> bool:
        """Whether this piped work is not over yet."""
        return self._pipes is not None and scope in self._pipes

    def pipe_ended(self, scope: "anyio.CancelScope") -> None:
        """Piped work is over."""
        if self._pipes is not None:
            self._pipes.pop(scope, None)
            if not self._pipes and self._pipes_over is not None:
                self._pipes_over.set()

    async def pipes_ended(self) -> None:
        """Return when no piped work is under way any more."""
        while self._pipes:
            self._pipes_over = Latch()
            await self._pipes_over.wait()

    def take_announcements(self) -> tuple[Announcement, ...]:
        """Hand over what the handler announced, once."""
        if not self.announcements:
            return ()
        taken = tuple(self.announcements)
        self.announcements.clear()
        return taken

    def close(self) -> None:
        """End what an incarnation began that has ended."""
        self.ended = True
        for timer in tuple(self._timers or ()):
            timer.cancel()
        for watchers in self._watched or ():
            watchers.remove(self)
        for scope in tuple(self._pipes or ()):
            scope.cancel()
        self._timers = self._watched = None


class Actor[M]:
    """State that only its own messages touch, one at a time.

    A keyed actor (see `MailboxSpec.key`) has one instance per key. An exception in `receive` ends the incarnation;
    the next begins with a new object and `on_start`, so starting and restarting are one path. The constructor only
    keeps what it is given: what can fail or wait belongs into `on_start`.
    """

    declared: ClassVar[tuple[type[Exception], ...]] = ()
    """Errors that are answers: they go to whoever asked, and do not restart the actor."""

    context: Context
    """What it knows of its surroundings: there from `on_start` on, and not yet in the constructor."""

    def __init_subclass__(cls, **given: Any) -> None:
        """:raises TypeError: `declared` is no tuple: it stands in an `except`, where nothing else would do"""
        super().__init_subclass__(**given)
        if not isinstance(cls.declared, tuple):
            raise TypeError(f"{cls.__name__}.declared is a {type(cls.declared).__name__}, and no tuple of errors")

    async def on_start(self) -> None:
        """Load what the incarnation needs. Messages wait until this returns."""

    async def receive(self, message: M) -> Any:
        """Handle one message. What is returned answers an `ask`."""
        raise NotImplementedError

    async def on_stop(self) -> None:
        """Release what `on_start` took. Called at an orderly end only, never after a crash."""
