"""Any actor under test, from plain code: a virtual clock, mailboxes to look into, dead letters and SIGKILL.

The actors and their supervisor are the real ones; the event loop is the simulated one, so time passes only when a test
says so. Every call works off all that can happen now before it returns. Use it through the pytest fixture `actors`.
"""

import pickle
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, NoReturn, overload

import structlog

from trendedge.runtime.actor import Actor
from trendedge.runtime.breaker import BreakerSpec
from trendedge.runtime.cell import Cell
from trendedge.runtime.durability import Durability
from trendedge.runtime.entity import Entity
from trendedge.runtime.errors import ActorStopped, AskTimeout
from trendedge.runtime.journal import Appended, Duplicate, Unique
from trendedge.runtime.mailbox import Envelope, MailboxSpec
from trendedge.runtime.ref import ActorRef, Asked, DurableRef, Request
from trendedge.runtime.retry import RetryPolicy
from trendedge.runtime.simulation.boundary import sealed
from trendedge.runtime.simulation.errors import NoAnswer
from trendedge.runtime.simulation.journal import MemoryJournal, MemoryServer
from trendedge.runtime.simulation.loop import SimulatedLoop
from trendedge.runtime.simulation.process import SimulatedProcess
from trendedge.runtime.simulation.running import processed, seeded
from trendedge.runtime.specs import ChildSpec, Restart, SupervisorSpec
from trendedge.runtime.supervisor import Supervisor

STOP_S = 60.0
"""Virtual seconds for the orderly stop at the end of a test."""


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that was given up."""

    actor: str
    key: str | None
    message: Any
    error: BaseException
    attempts: int


@dataclass(eq=False, slots=True)
class _Life:
    """One process, from its start to its end."""

    process: SimulatedProcess
    root: Supervisor
    main: Any
    """The task that runs the supervisor."""
    mourned: bool = False
    """The test has been told that the supervisor gave up."""


def _pickled(message: Any) -> bytes:
    try:
        return pickle.dumps(message)
    except Exception as error:
        error.add_note(
            "the test kit pickles the messages of a durable mailbox: declare their types at the top of a module, "
            "or give `encode` and `decode`"
        )
        raise


class Actors:
    """The actors of one test, in a simulated process of their own."""

    def __init__(self, seed: int = 0) -> None:
        self.loop = SimulatedLoop(seed)
        self.log: list[dict[str, Any]] = []
        """What the runtime and the actors have logged, with `event` and `level`."""
        self.dead_letters: list[Dead] = []
        """Messages that were given up by their retry policy, oldest first."""
        self.server = MemoryServer(self.loop.time, self.loop.time)
        """What the durable mailboxes are journalled in."""
        self._specs: list[Callable[[], ChildSpec[Any]]] = []
        self._instances = 0
        self._stack = ExitStack()
        self._running: _Life | None = None

    # -- the test's own life ------------------------------------------------------------------------------------

    def __enter__(self) -> "Actors":
        self._stack.enter_context(seeded(self.loop.random.getrandbits(32)))
        self._stack.enter_context(self._logged())
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self._life.main.done():
                self.stop()
        finally:
            self.loop.dispose()
            self._stack.close()

    # -- who takes part -----------------------------------------------------------------------------------------

    def start[M](
        self,
        start: Callable[[], Actor[M]],
        *,
        name: str | None = None,
        ref: ActorRef[M] | None = None,
        mailbox: MailboxSpec = MailboxSpec(),
        retry: RetryPolicy = RetryPolicy(),
        breaker: BreakerSpec | None = None,
        restart: Restart = Restart.PERMANENT,
    ) -> "Started[M]":
        """Start an actor under a supervisor; returns when it is ready.

        :param start: as in `ChildSpec`: called afresh for each incarnation
        :param name: what errors and log lines call it; if None what `start` is called, with a number
        :param ref: an address that others know already
        :raises StartFailed: `on_start` raised
        """
        name = self._name(start, name)
        ref = ref or ActorRef(name)
        self._add(
            lambda: ChildSpec(name, start, ref, restart, mailbox=mailbox, retry=retry, breaker=breaker),
        )
        return Started(self, ref)

    def start_durable[M](
        self,
        start: Callable[[], Actor[M]],
        *,
        name: str | None = None,
        encode: Callable[[M], bytes] = _pickled,
        decode: Callable[[bytes], M] = pickle.loads,
        durability: Durability | None = None,
        mailbox: MailboxSpec = MailboxSpec(),
        retry: RetryPolicy = RetryPolicy(),
        breaker: BreakerSpec | None = None,
    ) -> "StartedDurable[M]":
        """As `start`, with a journalled mailbox: what was told survives `kill`.

        :param encode: makes bytes of a message, and `decode` the message of them; they pickle, unless told otherwise
        :param durability: instead of `encode` and `decode`, with a journal of the test's own
        """
        name = self._name(start, name)
        ref = DurableRef[M](name)
        self._add(
            lambda: ChildSpec(
                name,
                start,
                ref,
                mailbox=mailbox,
                retry=retry,
                durability=durability or Durability(self.journal(), name, encode, decode),
                breaker=breaker,
            )
        )
        return StartedDurable(self, ref)

    def probe(self, name: str = "probe") -> "Probe":
        """An actor that stands for somebody else: it keeps what it is told, and answers as it was told to."""
        return Probe(self, name)

    def journal(self) -> MemoryJournal:
        """A view of the test's journal, as a process opens one."""
        return MemoryJournal(self.server, node="test")

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The virtual clock, in seconds since the test began; `asyncio`'s and `anyio`'s clock within the actors."""
        return self.loop.time()

    def settle(self) -> None:
        """Work off all that can happen without time passing."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let time pass: every timer that comes due goes off, in its order."""
        self._pass(seconds)
        while self.loop.busy:
            self._pass(0.0)

    def _pass(self, seconds: float) -> None:
        passed = self.loop.create_future()
        self.loop.call_later(seconds, passed.set_result, None)
        self.drive(passed)

    def expect(self, true: Callable[[], bool], *, within_s: float = 60.0) -> None:
        """Let time pass until something has become true.

        :raises AssertionError: it has not after `within_s` virtual seconds
        """
        ends = self.now + within_s
        self.settle()
        while not true():
            wakes = self.loop.next_timer()
            if wakes is None or wakes > ends:
                raise AssertionError(f"not within {within_s:g} s: {self.happened()}")
            self.advance(wakes - self.now)

    # -- what may happen to all of them -------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL, and the next process: no `finally` runs, memory is lost, what is journalled comes back.

        Refs stay valid, and point at the new actors.
        """
        self._life.process.kill()
        self._begin()
        for make in self._specs:
            self._start(make())

    def stop(self) -> None:
        """SIGTERM: stop all in good order, the last one first.

        :raises AssertionError: it takes more than `STOP_S` virtual seconds
        """
        life = self._life
        life.process.signal(life.root.request_stop)
        self.expect(life.main.done, within_s=STOP_S)

    def call(self, act: Callable[[], object]) -> None:
        """Call something in the actors' process, and work off what comes of it."""
        self._life.process.signal(act)
        self.settle()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine beside the actors, in their process, and give what it returns or raises."""
        answer: T = self.drive(self._life.process.start(lambda: work, name="test"))
        self.settle()
        return answer

    # -- how it is done -----------------------------------------------------------------------------------------

    def drive(self, future: Any) -> Any:
        """Run the loop until a future is done; raises what has ended the supervisor meanwhile, if anything has."""
        with sealed():
            answer = self.loop.run_until_complete(future)
        life = self._running
        if life is not None and not life.mourned and life.main.done() and life.main.exception() is not None:
            life.mourned = True
            raise life.main.exception()
        return answer

    @property
    def _life(self) -> _Life:
        if self._running is None:
            raise RuntimeError("actors live within `with Actors() as actors:`")
        return self._running

    def _begin(self) -> None:
        process, ready = self.loop.process("test"), self.loop.create_future()
        root = Supervisor(SupervisorSpec("test", (), intensity=1_000_000), on_given_up=self._mourn)
        main = process.start(lambda: root.run(lambda: ready.set_result(None)), name="root")
        self._running = _Life(process, root, main)
        self.drive(ready)

    def _add(self, spec: Callable[[], ChildSpec[Any]]) -> None:
        self._start(spec())
        self._specs.append(spec)

    def _start(self, spec: ChildSpec[Any]) -> None:
        self.run(self._life.root.start_child(spec))

    def _name(self, start: Callable[[], Any], given: str | None) -> str:
        if isinstance(start, Actor):
            raise TypeError(
                f"expected what makes the actor, as `lambda: {type(start).__name__}(...)`, and not an actor"
            )
        if given:
            return given
        self._instances += 1
        return f"{getattr(start, '__name__', 'actor').strip('<>').lower()}-{self._instances}"

    @contextmanager
    def _logged(self) -> Iterator[None]:
        def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> NoReturn:
            self.log.append({"level": level, **event})
            raise structlog.DropEvent

        with processed(structlog.contextvars.merge_contextvars, keep):
            yield

    def _mourn(self, entity: Entity, envelope: Envelope, error: Exception) -> None:
        dead = Dead(entity.cell.path, entity.key, envelope.message, error, envelope.attempts)
        self.dead_letters.append(dead)

    def happened(self) -> str:
        """What time it is and what was logged last, for whoever reads why a test failed."""
        told = "".join(f"\n  {_told(line)}" for line in self.log[-5:])
        return f"it is {self.now:g} s, and " + (f"the last log lines are{told}" if told else "nothing was logged")


def _told(line: Mapping[str, Any]) -> str:
    """A log line as one line: what happened, and with what."""
    facts = {name: value for name, value in line.items() if name not in ("event", "level") and value is not None}
    return " ".join([str(line.get("event")), *(f"{name}={value!r}" for name, value in facts.items())])


class _Mailbox[M]:
    """What both kinds of started actors have."""

    def __init__(self, actors: Actors, ref: ActorRef[M] | DurableRef[M]) -> None:
        self._actors = actors
        self._ref = ref

    @property
    def _cell(self) -> Cell:
        return self._ref.cell

    @property
    def path(self) -> str:
        """Where it stands in the tree; what log lines call it."""
        return self._cell.path

    @property
    def mailbox(self) -> list[M]:
        """What waits, with the message in hand and without what is stashed: oldest first within each key."""
        return [envelope.message for entity in self._cell.entities.values() for envelope in entity.mail]

    @property
    def stashed(self) -> list[M]:
        """What the actor has put aside: oldest first within each key."""
        return [envelope.message for entity in self._cell.entities.values() for envelope in entity.stashed]

    @property
    def handled(self) -> int:
        """Messages that were handled to the end."""
        return self._cell.stats.handled

    @property
    def failures(self) -> int:
        """Attempts that ended with an exception."""
        return self._cell.stats.failed

    def suspend(self) -> None:
        """Take no message until `resume`: the mailbox fills, and can be looked into."""
        self._cell.suspend()

    def resume(self) -> None:
        """Go on, and work off what waits."""
        self._actors.call(self._cell.resume)


class Started[M](_Mailbox[M]):
    """An actor under test with a mailbox in memory."""

    def __init__(self, actors: Actors, ref: ActorRef[M]) -> None:
        super().__init__(actors, ref)
        self.ref = ref
        """Its address, for whoever is to write to it."""

    def tell(self, message: M, *, deadline_s: float | None = None) -> None:
        """As `ActorRef.tell`, and work off all that can happen now."""
        self._actors.run(self.ref.tell(message, deadline_s=deadline_s))

    def ask[R](self, request: Asked[M, R], *, timeout_s: float = 60.0) -> R:
        """As `ActorRef.ask`; as much virtual time passes as it takes.

        When nobody answers, a note of the error says what was logged.
        """
        try:
            return self._actors.run(self.ref.ask(request, timeout_s=timeout_s))
        except (ActorStopped, AskTimeout) as error:
            error.add_note(self._actors.happened())
            raise


class StartedDurable[M](_Mailbox[M]):
    """An actor under test with a journalled mailbox."""

    def __init__(self, actors: Actors, ref: DurableRef[M]) -> None:
        super().__init__(actors, ref)
        self.ref = ref
        """Its address, for whoever is to write to it."""

    def tell(self, message: M, *, unique: Unique | None = None) -> Appended | Duplicate:
        """As `DurableRef.tell`, and work off all that can happen now."""
        return self._actors.run(self.ref.tell(message, unique=unique))


class _Stand(Actor[Any]):
    declared = (Exception,)
    """What an answer raises goes to whoever asked, as from the actor that this one stands for."""

    def __init__(self, name: str, received: list[Any], answers: dict[type, Callable[[Any], Any]]) -> None:
        self._name, self._received, self._answers = name, received, answers

    async def receive(self, message: Any) -> Any:
        self._received.append(message)
        how = self._answers.get(type(message))
        if how is not None:
            answer = how(message)
            return await answer if isawaitable(answer) else answer
        if isinstance(message, Request):
            raise NoAnswer(self._name, message)  # nobody hears of it who has not asked
        return None


class Probe:
    """Stands for an actor that the one under test writes to or asks."""

    def __init__(self, actors: Actors, name: str) -> None:
        self.received: list[Any] = []
        """All messages that came and were not yet expected, oldest first."""
        self.ref = ActorRef[Any](name)
        """Its address, to be given to the actor under test."""
        self._actors = actors
        self._answers: dict[type, Callable[[Any], Any]] = {}
        actors.start(lambda: _Stand(name, self.received, self._answers), name=name, ref=self.ref)

    def answer[R](self, request: type[Request[R]], how: Callable[[Any], R | Awaitable[R]]) -> None:
        """From now on, answer requests of this type with what `how` makes of them; what it raises is the answer too.

        `how` may be a coroutine function: one that sleeps answers late, and one that never returns not at all. Who asks
        for something else gets `NoAnswer`.
        """
        self._answers[request] = how

    @overload
    def expect[M](self, message: type[M], *, within_s: float = 60.0) -> M: ...
    @overload
    def expect[M](self, message: M, *, within_s: float = 60.0) -> M: ...
    def expect(self, message: Any, *, within_s: float = 60.0) -> Any:
        """Take out the next message; time passes until there is one.

        :param message: the message, or its type
        :raises AssertionError: another one came, or none within `within_s` virtual seconds
        """
        self._actors.expect(lambda: bool(self.received), within_s=within_s)
        came = self.received.pop(0)
        if not (isinstance(came, message) if isinstance(message, type) else came == message):
            raise AssertionError(f"expected {message!r}, and {came!r} came")
        return came

    def expect_nothing(self, *, for_s: float = 60.0) -> None:
        """Let time pass.

        :raises AssertionError: a message came, or was there already
        """
        self._actors.advance(for_s)
        if self.received:
            raise AssertionError(f"expected nothing, and {self.received!r} came")
