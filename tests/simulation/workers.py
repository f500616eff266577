"""The actors of a random tree: they do what their messages say, and what can be seen of them from outside is noted."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from trendedge.runtime import Actor, ActorRef, ChildSpec, DurableRef, Request, RetryPolicy, RuntimeFault, Supervisor
from trendedge.runtime.cell import Cell

if TYPE_CHECKING:
    from tests.simulation.supervision import World

SHUTDOWN_S = 2.0
DELAYS_S = (0.1, 1.0)
"""Between the attempts at a message."""


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

    def encode(self) -> bytes:
        return f"{self.number} {self.key} {self.behaviour}".encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Job":
        number, key, behaviour = payload.decode().split(" ", 2)
        return cls(int(number), key, behaviour)


@dataclass(eq=False)
class Line:
    """What is known from outside about one cell."""

    cell: Cell
    accepted: list[Job] = field(default_factory=list)
    """In memory alone: what a durable mailbox has taken, its journal knows."""
    begun: list[int] = field(default_factory=list)
    """Numbers of messages, once for each run of the handler."""
    started: list[tuple[float, str | None]] = field(default_factory=list)
    """Time and key of each incarnation, but for one that only drains: it is no restart, and nobody counts it."""
    crashed: list[tuple[float, str | None, int | None]] = field(default_factory=list)
    """Time, key, and the message over which it was; None for a death in `on_start`. Only what counts as a restart."""
    hosted: list[float] = field(default_factory=list)
    """When the cell itself was started."""
    active: Counter[str | None] = field(default_factory=Counter)
    """Handlers at work, by key."""
    impatient: list[Callable[[], object]] = field(default_factory=list)
    """How to cancel those who give up waiting for room just when there is some."""
    inherits: bool = False
    """Breakers, or mail, of the cell in whose place it was put: it may have to wait for a probe or the journal from the
    beginning, and who waits is ready."""

    @property
    def durable(self) -> bool:
        """Its mail is journalled."""
        return self.cell.log is not None


def watch(cell: Cell, world: "World") -> None:
    """Note what a cell takes in, and when it is started."""
    line, put, run, release = Line(cell), cell.put_nowait, cell.run, cell.release
    line.inherits = bool(cell.breakers.by_key) or (cell.log is not None and cell.log.recovered)
    world.lines.append(line)
    watch_end(cell.supervisor, world)

    def put_nowait(message: Job, *rest: Any) -> None:
        put(message, *rest)
        line.accepted.append(message)

    async def hosted(on_ready: Callable[[], None]) -> None:
        line.hosted.append(world.now)
        await run(on_ready)

    def released() -> None:
        release()
        while line.impatient:
            world.loop.call_soon(line.impatient.pop())

    cell.put_nowait = put_nowait  # type: ignore[method-assign, assignment]
    cell.release = released  # type: ignore[method-assign]
    cell.run = hosted  # type: ignore[method-assign]


def watch_end(supervisor: Supervisor, world: "World") -> None:
    """Look who still lives when a supervisor has ended."""
    if supervisor in world.supervisors:
        return
    world.supervisors.append(supervisor)
    run = supervisor.run

    async def until_its_end(on_ready: Callable[[], None]) -> None:
        try:
            await run(on_ready)
        finally:
            for name, (of, task) in world.incarnations.items():
                if of is supervisor and not task.done():
                    world.broken(f"{name} outlives {supervisor.path}", "nothing outlives its supervisor")

    supervisor.run = until_its_end  # type: ignore[method-assign]


class WatchedRef(ActorRef[Job]):
    """Notes what each of the cells takes in that it is bound to."""

    __slots__ = ("_world", "blocks")

    def __init__(self, name: str, world: "World", *, blocks: bool) -> None:
        super().__init__(name)
        self._world = world
        self.blocks = blocks

    def bind(self, cell: Cell) -> None:
        super().bind(cell)
        watch(cell, self._world)


class WatchedDurableRef(DurableRef[Job]):
    """As `WatchedRef`, of a durable mailbox, which has the same name in the journal."""

    __slots__ = ("_world", "keyed")
    blocks = False

    def __init__(self, name: str, world: "World", *, keyed: bool) -> None:
        super().__init__(name)
        self._world = world
        self.keyed = keyed

    def bind(self, cell: Cell) -> None:
        super().bind(cell)
        watch(cell, self._world)


class Worker(Actor[Job]):
    """Does what its messages say, and writes down its life."""

    declared = (LookupError,)

    def __init__(self, world: "World", ref: WatchedRef | WatchedDurableRef) -> None:
        self._world, self._ref = world, ref
        self._key: str | None = None

    @property
    def _name(self) -> str:
        return self._ref.name if self._key is None else f"{self._ref.name}[{self._key}]"

    async def on_start(self) -> None:
        world = self._world
        self.line = next(line for line in reversed(world.lines) if line.cell is self._ref.cell)
        self._key = self.context.key
        self._begin()
        if not self.line.cell.stopping or self._key is not None:
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

    def _begin(self) -> None:
        world, task = self._world, asyncio.current_task()
        assert task is not None
        _, before = world.incarnations.get(self._name, (None, task))
        if before is not task and not before.done():
            world.broken(f"{self._name} began while another one of it lived", "one incarnation at a time")
        world.incarnations[self._name] = (self.line.cell.supervisor, task)
        _, child = world.incarnations.get(f"{self._name}/helper", (None, task))
        if child is not task and not child.done():
            world.broken(f"{self._name} began while a child of the one before lived", "children end with their parent")

    async def receive(self, message: Job) -> int:
        world, line = self._world, self.line
        cell = line.cell
        if line.active[self._key]:
            world.broken(f"{self._name} handles two messages at once", "one handler per key at a time")
        # Before a recovered message is begun, its attempt is counted in the journal: an order may come meanwhile.
        if not line.durable and (cell.suspended or (cell.stopping and not cell.spec.drain)):
            world.broken(f"{self._ref.name} began {message.number} all the same", "control before user mail")
        if message.deadline is not None and world.now > message.deadline:
            world.broken(f"{message.number} was begun too late", "nothing is begun after its deadline")
        line.begun.append(message.number)
        if line.durable:
            world.mail.began(cell.path, message)
        line.active[self._key] += 1
        try:
            answer = await self._do(message)
        except ArithmeticError:
            self._crashed(message.number)
            raise
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                world.loop.trace.note("overran", self._ref.name)
            else:
                world.loop.trace.note("stray cancellation", self._ref.name)
                self._crashed(message.number)
            raise
        finally:
            line.active[self._key] -= 1
        if cell.log is not None:
            world.mail.done[cell.log, message.number] += 1
        return answer

    def _crashed(self, number: int | None) -> None:
        if not self.line.cell.stopping:
            self.line.crashed.append((self._world.now, self._key, number))

    async def _do(self, job: Job) -> int:
        world = self._world
        match job.behaviour:
            case "slow":
                await anyio.sleep(world.loop.random.random())
            case "hang":  # longer than any shutdown
                await anyio.sleep(60 * SHUTDOWN_S)
            case "answer":
                raise LookupError(job.number)
            case "ask":
                await world.ask_another()
            case "spawn":
                await world.interruptions.within("spawn", self._spawn)
            case _:
                await self._fail(job)
        return job.number

    async def _fail(self, job: Job) -> None:
        world = self._world
        match job.behaviour:
            case "crash":
                raise ArithmeticError(job.number)
            case "crash once" if world.crashed_once(job.number):
                raise ArithmeticError(job.number)
            case "stray once" if world.crashed_once(job.number):
                await world.interruptions.elsewhere(anyio.sleep_forever, world.interruptions.at_some_step)
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

    async def _spawn(self) -> None:
        ref, world = self._world.helper(self._name), self._world
        try:
            retry = RetryPolicy(DELAYS_S)
            spec = ChildSpec("helper", lambda: Worker(world, ref), ref, shutdown_s=SHUTDOWN_S, retry=retry)
            await self.context.spawn(spec)
            world.loop.trace.note("spawned", ref.name)
            ref.tell_nowait(world.job(["quick", "slow", "hang", "crash once"]))
        except RuntimeFault as error:
            world.loop.trace.note(f"spawn {type(error).__name__}", ref.name)

    async def on_stop(self) -> None:
        if self.line.cell.stopping:  # and is not just passivated
            self._world.note("stopped", self.line)
