"""The runtime by itself: a random tree of actors that crash, hang and overrun, with senders and an operator."""

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    BreakerSpec,
    ChildSpec,
    Controls,
    IntensityExceeded,
    MailboxSpec,
    Overflow,
    Request,
    Restart,
    RetryPolicy,
    RuntimeFault,
    Strategy,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.cell import Cell
from trendedge.runtime.simulation import SimulatedLoop
from trendedge.runtime.watchdog import cells

TROUBLE_S = 120.0
PATIENCE_S = 600.0
SENDERS = 4
SENT_EACH = 30
INTENSITY, PERIOD_S = 3, 20.0
SHUTDOWN_S = 2.0
DELAYS_S = (0.1, 1.0)
BREAKER_OPEN_S = 15.0
LEAVES_MOST = 9


class BrokerDown(Exception):
    """What the breakers trip on."""


@dataclass(frozen=True)
class Job(Request[int]):
    """One message, and what its handler will do."""

    number: int
    key: str
    behaviour: str
    deadline: float | None = None
    """Event loop time."""


@dataclass(eq=False)
class Line:
    """What is known from outside about one cell."""

    cell: Cell
    accepted: list[Job] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    """Numbers of messages, once for each run of the handler."""
    started: list[tuple[float, str | None]] = field(default_factory=list)
    """Time and key of each incarnation."""
    crashed: list[tuple[float, str | None, int | None]] = field(default_factory=list)
    """Time, key, and the message over which it was; None for a death in `on_start`. Only what counts as a restart."""
    hosted: list[float] = field(default_factory=list)
    """When the cell itself was started."""
    active: Counter[str | None] = field(default_factory=Counter)
    """Handlers at work, by key."""
    inherits_breakers: bool = False
    """From the cell in whose place it was put: it may have to wait from the beginning, and who waits is ready."""


class WatchedRef(ActorRef[Job]):
    """Notes what each of the cells takes in that it is bound to."""

    __slots__ = ("_world", "blocks")

    def __init__(self, name: str, world: "World", *, blocks: bool) -> None:
        super().__init__(name)
        self._world = world
        self.blocks = blocks

    def bind(self, cell: Cell) -> None:
        super().bind(cell)
        line, put, run = Line(cell), cell.put_nowait, cell.run
        line.inherits_breakers = bool(cell.breakers.by_key)
        self._world.lines.append(line)

        def put_nowait(message: Job, *rest: Any) -> None:
            put(message, *rest)
            line.accepted.append(message)

        async def hosted(on_ready: Callable[[], None]) -> None:
            line.hosted.append(self._world.now)
            await run(on_ready)

        cell.put_nowait = put_nowait  # type: ignore[method-assign, assignment]
        cell.run = hosted  # type: ignore[method-assign]


class Worker(Actor[Job]):
    """Does what its messages say, and writes down its life."""

    declared = (LookupError,)

    def __init__(self, world: "World", ref: WatchedRef) -> None:
        self._world, self._ref = world, ref
        self._key: str | None = None

    async def on_start(self) -> None:
        world = self._world
        self.line = next(line for line in reversed(world.lines) if line.cell is self._ref.cell)
        self._key = self.context.key
        self.line.started.append((world.now, self._key))
        world.note("started", self.line)
        if world.ill[self._ref.name] > 0:
            world.ill[self._ref.name] -= 1
            world.loop.trace.note("died at the start", self._ref.name)
            self._crashed(None)
            raise OSError("ill")
        if world.loop.random.random() < 0.05:
            await anyio.sleep(world.loop.random.random() * 3)
        world.note("ready", self.line)

    async def receive(self, message: Job) -> int:
        world, line = self._world, self.line
        cell = line.cell
        if line.active[self._key]:
            world.broken(f"{self._ref.name}[{self._key}] handles two messages at once", "one handler per key at a time")
        if cell.suspended or (cell.stopping and not cell.spec.drain):
            world.broken(f"{self._ref.name} began {message.number} all the same", "control before user mail")
        if message.deadline is not None and world.now > message.deadline:
            world.broken(f"{message.number} was begun too late", "nothing is begun after its deadline")
        line.begun.append(message.number)
        line.active[self._key] += 1
        try:
            return await self._do(message)
        except ArithmeticError:
            self._crashed(message.number)
            raise
        except anyio.get_cancelled_exc_class():
            world.loop.trace.note("overran", self._ref.name)
            raise
        finally:
            line.active[self._key] -= 1

    def _crashed(self, number: int | None) -> None:
        if not self.line.cell.stopping:
            self.line.crashed.append((self._world.now, self._key, number))

    async def _do(self, job: Job) -> int:
        world = self._world
        match job.behaviour:
            case "slow":
                await anyio.sleep(world.loop.random.random())
            case "hang":  # longer than any shutdown
                await anyio.sleep(20 * SHUTDOWN_S)
            case "answer":
                raise LookupError(job.number)
            case "crash":
                raise ArithmeticError(job.number)
            case "crash once" if world.crashed_once(job.number):
                raise ArithmeticError(job.number)
            case "ill":
                world.ill[self._ref.name] = world.loop.random.randint(0, 3)
                if world.crashed_once(job.number):
                    raise ArithmeticError(job.number)
            case "broker":
                await anyio.lowlevel.checkpoint()
                if world.broker_down:
                    raise BrokerDown(job.number)
            case _:
                pass
        return job.number

    async def on_stop(self) -> None:
        if self.line.cell.stopping:  # and is not just passivated
            self._world.note("stopped", self.line)


@dataclass
class World:
    """A tree, who sends to it, who gives it orders, and what is known of it."""

    loop: SimulatedLoop
    change: Callable[[ChildSpec[Any]], ChildSpec[Any]] = lambda spec: spec
    """An ablation may declare the actors otherwise."""
    lines: list[Line] = field(default_factory=list)
    refs: list[WatchedRef] = field(default_factory=list)
    life: list[tuple[str, Line, float]] = field(default_factory=list)
    """`started`, `ready` or `stopped`, whose, and when, in the order in which it happened."""
    ill: Counter[str] = field(default_factory=Counter)
    """How many more starts fail."""
    broker_down: bool = False
    gave_up: IntensityExceeded | None = None
    answers: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """How often each ask or tell has settled, by number."""
    sent: set[int] = field(default_factory=set)
    stop_asked_at: float | None = None
    ended_at: float | None = None
    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What broke while it ran, by invariant."""
    _orders: list[tuple[str, float, float]] = field(default_factory=list)
    _crashed: set[int] = field(default_factory=set)
    _number: int = 0

    def __post_init__(self) -> None:
        self.random = self.loop.random
        self.root = Supervisor(self._tree("root", 0))

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.loop.time()

    def broken(self, text: str, invariant: str) -> None:
        """Note that an invariant does not hold."""
        self.found[invariant].append(text)

    def ordered(self, path: str, at: float) -> bool:
        """Whether a restart by hand was under way then: it comes before that of a crash, which is not counted then."""
        return any(path == which and began <= at <= ended for which, began, ended in self._orders)

    def note(self, what: str, line: Line) -> None:
        """An actor has come so far."""
        self.life.append((what, line, self.now))

    def crashed_once(self, number: int) -> bool:
        """True the first time."""
        first = number not in self._crashed
        self._crashed.add(number)
        return first

    async def run(self) -> None:
        """Trouble, then peace until all is quiet, then the stop; or less, when the tree gives up."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._live)
            async with anyio.create_task_group() as trouble:
                for _ in range(SENDERS):
                    trouble.start_soon(self._send_all, tasks)
                trouble.start_soon(self._give_orders)
                await self._until_over(TROUBLE_S)
                trouble.cancel_scope.cancel()
            await self._make_peace()
            if self.ended_at is None:
                self.stop_asked_at = self.now
                self.root.request_stop()
            await self._until_over(PATIENCE_S)
            await anyio.sleep(1.0)
            tasks.cancel_scope.cancel()

    async def _live(self) -> None:
        try:
            await self.root.run(lambda: self.loop.trace.note("ready"))
        except IntensityExceeded as error:
            self.gave_up = error
            self.loop.trace.note("gave up", str(error))
        except RuntimeFault as error:
            self.loop.trace.note("never started", str(error))
        self.ended_at = self.now

    async def _until_over(self, patience_s: float) -> None:
        with anyio.move_on_after(patience_s):
            await self.root.ended.wait()

    async def _make_peace(self) -> None:
        self.ill.clear()
        self.broker_down = False
        for cell in cells(self.root):
            cell.resume()
        if self.random.random() < 0.3:
            return  # and some are stopped in the middle of everything
        with anyio.move_on_after(PATIENCE_S):
            while self.ended_at is None and any(cell.depth for cell in cells(self.root)):  # noqa: ASYNC110 - virtual time
                await anyio.sleep(1.0)
        if self.ended_at is None:
            for cell in cells(self.root):
                if cell.depth:
                    self.broken(f"{cell.path} has {cell.depth} messages left", "in peace everything comes to its end")

    # -- who is around it ---------------------------------------------------------------------------------------

    async def _send_all(self, tasks: anyio.abc.TaskGroup) -> None:
        for _ in range(SENT_EACH):
            await anyio.sleep(self.random.expovariate(SENT_EACH / TROUBLE_S * 2))
            ref = self.random.choice(self.refs)
            self._number += 1
            deadline_s = self.random.random() * 3 if self.random.random() < 0.2 else None
            deadline = None if deadline_s is None else self.now + deadline_s
            job = Job(self._number, self.random.choice("abc"), self._behaviour(), deadline)
            tasks.start_soon(self._send, ref, job, deadline_s)

    def _behaviour(self) -> str:
        kinds = {"quick": 10, "slow": 6, "hang": 1, "answer": 2, "crash": 1, "crash once": 1, "ill": 1, "broker": 4}
        return self.random.choices(list(kinds), list(kinds.values()))[0]

    async def _send(self, ref: WatchedRef, job: Job, deadline_s: float | None) -> None:
        # What has waited for room is late by that much more: its deadline counts from when it got in.
        late = Job(job.number, job.key, job.behaviour) if ref.blocks else job
        self.sent.add(job.number)
        timeout_s = self.random.choice([3.0, 10 * PATIENCE_S])
        try:
            if job.number % 3:
                await ref.ask(late, timeout_s=timeout_s, deadline_s=deadline_s)
                self.loop.trace.note("ask answered", str(job.number))
            else:
                await ref.tell(late, deadline_s=deadline_s)
                self.loop.trace.note("told", str(job.number))
        except (RuntimeFault, LookupError) as error:
            self.loop.trace.note(f"ask {type(error).__name__}", str(job.number))
        self.answers[job.number] += 1

    async def _give_orders(self) -> None:
        controls = Controls(self.root)
        while True:
            await anyio.sleep(self.random.random() * 12)
            path = self.random.choice([cell.path for cell in cells(self.root)] or ["root"])
            with suppress(Exception):  # the tree may just end, or lack what is asked for
                await self._give_order(controls, path)

    async def _give_order(self, controls: Controls, path: str) -> None:
        match self.random.randrange(5):
            case 0:
                controls.suspend(path)
                self.loop.trace.note("suspended", path)
                self.loop.call_later(self.random.random() * 10, partial(_resume, controls, path))
            case 1:
                ordered_at = self.now
                with anyio.move_on_after(10):
                    await controls.restart(path)
                    self.loop.trace.note("restarted", path)
                self._orders.append((path, ordered_at, self.now))
            case 2:
                self.broker_down = True
                self.loop.trace.note("broker down")
                self.loop.call_later(self.random.random() * 30, self._broker_back)
            case 3:
                spec = self._leaf("root", f"late-{self._number}")
                await self.root.start_child(spec)
                self.loop.trace.note("child added", spec.id)
            case _:
                dynamic = [child.spec.id for child in self.root.children if child.dynamic]
                if dynamic:
                    await self.root.stop_child(self.random.choice(dynamic))
                    self.loop.trace.note("child removed")

    def _broker_back(self) -> None:
        self.broker_down = False

    # -- the tree -----------------------------------------------------------------------------------------------

    def _tree(self, path: str, depth: int) -> SupervisorSpec:
        children: list[Any] = []
        for number in range(self.random.randint(2, 4)):
            if depth < 2 and self.random.random() < 0.35:
                children.append(self._tree(f"{path}/{depth}{number}", depth + 1))
            elif len(self.refs) < LEAVES_MOST:
                children.append(self._leaf(path, f"actor-{number}"))
        return SupervisorSpec(
            path.rpartition("/")[2],
            children,
            strategy=self.random.choice(list(Strategy)),
            intensity=INTENSITY,
            period_s=PERIOD_S,
            backoff=Backoff(0.05, 2.0),
        )

    def _leaf(self, parent: str, name: str) -> ChildSpec[Job]:
        keyed, overflow = self.random.random() < 0.4, self.random.choice(list(Overflow))
        ref = WatchedRef(f"{parent}/{name}", self, blocks=overflow is Overflow.BLOCK)
        self.refs.append(ref)
        return self.change(
            ChildSpec(
                name,
                lambda: Worker(self, ref),
                ref,
                restart=self.random.choice([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT]),
                shutdown_s=SHUTDOWN_S,
                mailbox=MailboxSpec(
                    self.random.randint(2, 12),
                    overflow,
                    key=(lambda job: job.key) if keyed else None,
                    coalesce=(lambda job: job.key) if overflow is Overflow.COALESCE else None,
                    idle_s=10.0,
                    drain=self.random.random() < 0.3,
                ),
                retry=RetryPolicy(DELAYS_S),
                breaker=BreakerSpec((BrokerDown,), failures=1, open_s=BREAKER_OPEN_S),
            )
        )


def _resume(controls: Controls, path: str) -> None:
    with suppress(RuntimeFault):
        controls.resume(path)
