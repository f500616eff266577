"""The runtime by itself: a random tree of actors that crash, hang and overrun, with senders and an operator."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import anyio.abc

from tests.simulation.interruptions import Interruptions
from tests.simulation.operator import Operator
from tests.simulation.tree_mail import TreeMail, adopt
from tests.simulation.workers import DELAYS_S, SHUTDOWN_S, BrokerDown, Job, Line, WatchedDurableRef, WatchedRef, Worker
from trendedge.runtime import (
    Backoff,
    BreakerSpec,
    ChildSpec,
    IntensityExceeded,
    MailboxSpec,
    Overflow,
    Restart,
    RetryPolicy,
    RuntimeFault,
    Strategy,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.simulation import Faults, SimulatedLoop
from trendedge.runtime.watchdog import cells

TROUBLE_S = 120.0
PATIENCE_S = 600.0
SENDERS = 4
SENT_EACH = 30
INTENSITY, PERIOD_S = 3, 20.0
BREAKER_OPEN_S = 15.0
LEAVES_MOST = 9
LATE_S = 3.0
"""How much later a store may do what it was asked."""
OWN = (" restarts", " stops", " leaves", " journal")
"""How the names of the runtime's own tasks end, beside those of actors and supervisors."""
BEHAVIOURS = {
    "quick": 10,
    "slow": 6,
    "hang": 1,
    "answer": 2,
    "crash": 1,
    "crash once": 1,
    "stray once": 1,
    "ill": 1,
    "broker": 4,
    "ask": 3,
    "spawn": 2,
}
"""What the messages of the senders do, and how often each comes."""


@dataclass
class World:
    """A tree, who sends to it, who gives it orders, and what is known of it."""

    loop: SimulatedLoop
    change: Callable[[ChildSpec[Any]], ChildSpec[Any]] = lambda spec: spec
    """An ablation may declare the actors otherwise."""
    lines: list[Line] = field(default_factory=list)
    refs: list[WatchedRef | WatchedDurableRef] = field(default_factory=list)
    """Whom the senders know."""
    helpers: dict[str, WatchedRef] = field(default_factory=dict)
    """Whom an actor spawns, by its own name."""
    supervisors: list[Supervisor] = field(default_factory=list)
    incarnations: dict[str, tuple[Supervisor, asyncio.Task[Any]]] = field(default_factory=dict)
    """The last incarnation of each actor and key: its supervisor, and the task that it runs in."""
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
    left_behind: list[str] = field(default_factory=list)
    """Tasks that go on when all is over."""
    left_marked: list[str] = field(default_factory=list)
    """What the orderly stop has left in the journal as if it had killed a process."""
    _crashed: set[int] = field(default_factory=set)
    _number: int = 0

    def __post_init__(self) -> None:
        self.random = self.loop.random
        self.mail = TreeMail(self.loop)
        self.interruptions = Interruptions(self.loop, self.random.choice([0.0, 0.2, 0.5]))
        self.strays_within_s = self.random.choice([None, 30.0, 3.0])
        """How far apart cancellations of the runtime's own tasks are at most; None for none."""
        self.root = Supervisor(self._tree("root", 0))
        self.operator = Operator(self)

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.loop.time()

    def broken(self, text: str, invariant: str) -> None:
        """Note that an invariant does not hold."""
        self.found[invariant].append(text)

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
            tasks.start_soon(self._spoil_store)
            async with anyio.create_task_group() as trouble:
                for _ in range(SENDERS):
                    trouble.start_soon(self._send_all, tasks)
                trouble.start_soon(self._rush, tasks)
                trouble.start_soon(self.operator.give_orders, tasks)
                trouble.start_soon(self._look_around)
                trouble.start_soon(self._go_astray)
                await self._until_over(TROUBLE_S)
                trouble.cancel_scope.cancel()
            await self._make_peace()
            if self.ended_at is None:
                self.stop_asked_at = self.now
                self.root.request_stop()
            await self._until_over(PATIENCE_S)
            await anyio.sleep(1.0)
            self.left_behind = [
                task.get_name() for task in self.loop.unfinished() if task is not asyncio.current_task()
            ]
            tasks.cancel_scope.cancel()
        # An old owner's late request to own the mailbox would be taken for that of the newest.
        await anyio.sleep(LATE_S)
        if self.stop_asked_at is not None:
            self.left_marked = list(self.mail.marked({cell.path for cell in cells(self.root)}))
        await self.mail.inherit()

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
        self.mail.wire.faults, self.mail.wire.down = Faults(), False
        for cell in cells(self.root):
            cell.resume()
        if self.random.random() < 0.3:
            return  # and some are stopped in the middle of everything
        with anyio.move_on_after(PATIENCE_S):
            while self.ended_at is None and any(self._unsettled()):
                await anyio.sleep(1.0)
                here = {cell.path for cell in cells(self.root)}
                await adopt([ref for ref in self.mail.refs if ref.name in here])
        if self.ended_at is None:
            for what in self._unsettled():
                self.broken(what, "in peace everything comes to its end")

    def _unsettled(self) -> Iterator[str]:
        """What has not come to its end, of the actors that are there."""
        here = list(cells(self.root))
        for cell in here:
            pending = 0 if cell.log is None else cell.log.pending
            if cell.depth or pending:
                yield f"{cell.path} has {cell.depth} messages left, {pending} pending"
        paths = {cell.path for cell in here}
        for mailbox, job in self.mail.left:
            if mailbox in paths:
                yield f"{job.number} is in the journal of {mailbox}"

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

    async def _rush(self, tasks: anyio.abc.TaskGroup) -> None:
        """Now and then many want the same actor at once."""
        while True:
            await anyio.sleep(self.random.random() * 40)
            ref = self.random.choice(self.refs)
            for _ in range(self.random.randint(4, 16)):
                tasks.start_soon(self._send, ref, self.job(["quick", "slow"]), None)

    async def _look_around(self) -> None:
        """Between two moments of the clock, when nobody has anything to do just now."""
        while True:
            await anyio.sleep(self.random.random())
            for cell in [] if self.loop.busy else cells(self.root):
                if cell.depth < cell.spec.capacity and cell.waiting:
                    self.broken(f"somebody waits for room in {cell.path}", "nobody waits for room that is there")

    async def _go_astray(self) -> None:
        """Somebody cancels what is none of his business."""
        while self.strays_within_s is not None:
            await anyio.sleep(self.random.random() * self.strays_within_s)
            self.interruptions.at_some_step(self._cancel_one)

    def _cancel_one(self) -> None:
        own = [task for task in self.loop.unfinished() if task.get_name().endswith(OWN)]
        # The rarest are there for a moment only: where there are others, no writer is chosen.
        if chosen := [task for task in own if not task.get_name().endswith(" journal")] or own:
            task = self.random.choice(chosen)
            self.loop.trace.note(f"{task.get_name().rpartition(' ')[2]} astray", task.get_name())
            task.cancel()

    def _behaviour(self) -> str:
        return self.random.choices(list(BEHAVIOURS), list(BEHAVIOURS.values()))[0]

    async def _send(self, ref: WatchedRef | WatchedDurableRef, job: Job, deadline_s: float | None) -> None:
        self.sent.add(job.number)
        if isinstance(ref, WatchedDurableRef):
            await self._send_durable(ref, job)
        else:
            await self._send_in_memory(ref, job, deadline_s)
        self.answers[job.number] += 1

    async def _send_durable(self, ref: WatchedDurableRef, job: Job) -> None:
        """Whoever does not know whether it was taken sends it once more, under another number."""
        mark, job = str(job.number), replace(job, deadline=None)
        for _ in range(self.random.choice([1, 1, 2])):
            await self.interruptions.perhaps("durable tell", partial(self._tell_durable, ref, job, mark))
            self._number += 1
            job = replace(job, number=self._number)

    async def _tell_durable(self, ref: WatchedDurableRef, job: Job, mark: str) -> None:
        with self._noted("durable tell", job):
            await self.mail.tell(ref, job, mark)

    async def _send_in_memory(self, ref: WatchedRef, job: Job, deadline_s: float | None) -> None:
        # What has waited for room is late by that much more: its deadline counts from when it got in.
        late = Job(job.number, job.key, job.behaviour) if ref.blocks else job
        timeout_s = self.random.choice([3.0, 10 * PATIENCE_S])
        if job.number % 3:
            await self.interruptions.perhaps("ask", lambda: self._ask(ref, late, timeout_s, deadline_s))
        else:
            await self.interruptions.when(
                partial(self._when_let_in, ref), "tell", lambda: self._tell(ref, late, deadline_s)
            )

    def _when_let_in(self, ref: WatchedRef, cancel: Callable[[], object]) -> None:
        """Right after the next message has left the mailbox; at once when nobody has to wait for that."""
        line = next((line for line in reversed(self.lines) if line.cell.path == ref.name), None)
        if line is None or not line.cell.must_wait:
            self.loop.call_soon(cancel)
        else:
            self.loop.trace.note("cancelled when let in", ref.name)
            line.impatient.append(cancel)

    async def _ask(self, ref: WatchedRef, job: Job, timeout_s: float, deadline_s: float | None = None) -> None:
        with self._noted("ask", job):
            await ref.ask(job, timeout_s=timeout_s, deadline_s=deadline_s)

    async def _tell(self, ref: WatchedRef, job: Job, deadline_s: float | None) -> None:
        with self._noted("tell", job):
            if ref.cell.must_wait:
                self.loop.trace.note("waits for room", ref.name)
            await ref.tell(job, deadline_s=deadline_s)

    @contextmanager
    def _noted(self, what: str, job: Job) -> Iterator[None]:
        try:
            yield
        except (RuntimeFault, LookupError) as error:
            self.loop.trace.note(f"{what} {type(error).__name__}", str(job.number))
        else:
            self.loop.trace.note(f"{what} done", str(job.number))

    def job(self, behaviours: Sequence[str]) -> Job:
        """What a handler sends."""
        self._number += 1
        return Job(self._number, self.random.choice("abc"), self.random.choice(behaviours))

    async def ask_another(self) -> None:
        """What a handler does that needs another actor, and does not wait for it for ever."""
        ref, job = self.random.choice(self.refs), self.job(["quick", "slow", "crash once"])
        self.sent.add(job.number)
        try:
            if isinstance(ref, WatchedDurableRef):
                await self.interruptions.within("inner tell", partial(self._tell_durable, ref, job, str(job.number)))
            else:
                await self.interruptions.within("inner ask", lambda: self._ask(ref, job, 3.0))
        finally:
            self.answers[job.number] += 1

    def helper(self, parent: str) -> WatchedRef:
        """The address of what an actor spawns: the same for each of its incarnations."""
        if parent not in self.helpers:
            self.helpers[parent] = WatchedRef(f"{parent}/helper", self, blocks=True)
        return self.helpers[parent]

    async def _spoil_store(self) -> None:
        await self.root.begun.wait()
        share = self.random.choice([0.0, 0.01, 0.05])
        self.mail.wire.faults = Faults(reply_lost=share, late=share, refused=share, slow=2 * share, late_s=LATE_S)

    # -- the tree -----------------------------------------------------------------------------------------------

    def _tree(self, path: str, depth: int) -> SupervisorSpec:
        children: list[Any] = []
        for number in range(self.random.randint(2, 4)):
            if depth < 2 and self.random.random() < 0.35:
                children.append(self._tree(f"{path}/{depth}{number}", depth + 1))
            elif len(self.refs) < LEAVES_MOST:
                children.append(self.leaf(path, f"actor-{number}"))
        return SupervisorSpec(
            path.rpartition("/")[2],
            children,
            strategy=self.random.choice(list(Strategy)),
            intensity=INTENSITY,
            period_s=PERIOD_S,
            backoff=Backoff(0.05, 2.0),
        )

    def leaf(self, parent: str, name: str) -> ChildSpec[Job]:
        """An actor below the supervisor at `parent`."""
        keyed, overflow = self.random.random() < 0.4, self.random.choice(list(Overflow))
        path = f"{parent}/{name}"
        ref: WatchedRef | WatchedDurableRef
        if self.random.random() < 0.35:
            ref, overflow = WatchedDurableRef(path, self, keyed=keyed), Overflow.FAIL
            self.mail.refs.append(ref)
        else:
            ref = WatchedRef(path, self, blocks=overflow is Overflow.BLOCK)
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
                durability=self.mail.durability(path) if isinstance(ref, WatchedDurableRef) else None,
            )
        )
