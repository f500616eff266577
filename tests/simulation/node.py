"""One node of the product: the real tree in a simulated process that can be killed, stopped and started again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import anyio

from tests.simulation.bank import BankExecutions
from tests.simulation.interruptions import Interruptions
from trendedge.actors.executor import Executor, Floor, burial
from trendedge.actors.housekeeper import Housekeeper
from trendedge.actors.hub import Hub
from trendedge.actors.intake import Intake
from trendedge.actors.journal_keeper import Bell, JournalKeeper
from trendedge.actors.listening import Received
from trendedge.actors.messages import ExecuteSignal, Receipt, ReceiveAlert
from trendedge.actors.retention import Removed
from trendedge.actors.sockets import Sockets
from trendedge.actors.tree import Addresses, Casting, build_tree
from trendedge.runtime import Lanes, Service, ServiceContext, Supervisor, SupervisorSpec
from trendedge.runtime.simulation import SimulatedLoop, SimulatedProcess, current_process
from trendedge.storage.failover_journal import FailoverJournal

POISON, KILLER = "poison", "killer"
"""Alerts with these bodies always crash their handler, or always kill the process that handles them."""


class Idle(Service):
    """Stands where a service stands that reaches outside: the front, the subscription, the watchdog."""

    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()


@asynccontextmanager
async def silence(pattern: str) -> AsyncIterator[AsyncIterator[Received]]:
    """No sockets here: what is published rings the bells of all nodes by itself."""

    async def nothing() -> AsyncIterator[Received]:
        await anyio.sleep_forever()
        yield  # type: ignore[misc]  # never

    yield nothing()


async def nothing_to_purge(due_at: datetime) -> Removed:
    """No schedule fires: they go by the machine's clock."""
    return Removed(events=0, marks=0)


@dataclass
class Handlings:
    """Who handles what: noted at the beginning and the end of each handler."""

    begun: dict[str, int] = field(default_factory=dict)
    """Handlers that were begun, by signal."""
    died: dict[str, int] = field(default_factory=dict)
    """Handlers that ended with the death of their process, by signal."""
    running: dict[tuple[str, str], str] = field(default_factory=dict)
    """Signal in hand, by process and account."""
    overlaps: list[str] = field(default_factory=list)

    def begin(self, process: str, message: ExecuteSignal) -> None:
        key = (process, message.account_id)
        if key in self.running:
            self.overlaps.append(f"{self.running[key]} and {message.signal_id} of {message.account_id} in {process}")
        self.begun[message.signal_id] = self.begun.get(message.signal_id, 0) + 1
        self.running[key] = message.signal_id

    def end(self, process: str, message: ExecuteSignal) -> None:
        self.running.pop((process, message.account_id), None)

    def bury_process(self, process: str) -> None:
        """Count what was in hand when the process died."""
        for key in [key for key in self.running if key[0] == process]:
            signal_id = self.running.pop(key)
            self.died[signal_id] = self.died.get(signal_id, 0) + 1


class TriedExecutor(Executor):
    """The real executor, with defects that are built into some messages."""

    def __init__(self, floor: Floor, handlings: Handlings, interruptions: Interruptions) -> None:
        super().__init__(floor)
        self._handlings, self._interruptions = handlings, interruptions

    async def receive(self, message: ExecuteSignal) -> None:
        process = current_process()
        assert process is not None
        self._handlings.begin(process.name, message)
        if message.raw == KILLER:
            process.kill()
            await anyio.sleep_forever()
        try:
            if message.raw == POISON:
                await anyio.sleep(0.001)
                raise ValueError("this message always crashes")
            if self._handlings.begun[message.signal_id] > 1:  # what fails each time is given up, and rightly
                await super().receive(message)
            else:
                await self._interruptions.stray("executor", partial(super().receive, message))
        finally:
            self._handlings.end(process.name, message)


class TriedIntake(Intake):
    """The real intake, of which somebody cancels what it awaits."""

    def __init__(self, at: Addresses, new_id: Callable[[], UUID], interruptions: Interruptions) -> None:
        super().__init__(at.executor, new_id=new_id)
        self._interruptions = interruptions

    async def receive(self, message: ReceiveAlert) -> Receipt:
        return await self._interruptions.stray("intake", partial(super().receive, message))


@dataclass(frozen=True)
class Stores:
    """How one process reaches the stores."""

    journal: FailoverJournal
    executions: BankExecutions


@dataclass(kw_only=True)
class Node:
    """Journal and store of a node, and one process after the other that works on them."""

    name: str
    loop: SimulatedLoop
    open_stores: Callable[[str, Bell], Stores]
    look_every_s: float
    handlings: Handlings
    interruptions: Interruptions
    clock: Callable[[], datetime]
    change_tree: Callable[[SupervisorSpec], SupervisorSpec]
    incarnation: int = 0
    process: SimulatedProcess | None = None
    root: Supervisor | None = None
    at: Addresses = field(default_factory=Addresses.fresh)

    @property
    def alive(self) -> bool:
        """A process runs, and may be starting or stopping."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start the next process of this node. Only one may run at a time, as the real ones' lock file has it."""
        assert not self.alive
        self.incarnation += 1
        self.process = self.loop.process(f"{self.name}/{self.incarnation}")
        self.at = Addresses.fresh()
        bell = Bell()
        stores = self.open_stores(self.name, bell)
        spec = build_tree(self._cast(stores, bell), self.at, journal=stores.journal)
        self.root = Supervisor(self.change_tree(spec))
        self.process.start(lambda: self._main(stores), name="main")
        self.loop.trace.note("started", self.process.name)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.handlings.bury_process(self.process.name)

    def stop(self) -> None:
        """SIGTERM."""
        if self.alive and self.root is not None and self.process is not None:
            self.loop.trace.note("stopped", self.process.name)
            self.process.signal(self.root.request_stop)

    async def ask(self, alert: ReceiveAlert, *, timeout_s: float) -> Receipt:
        """What the front does with a request."""
        return await self.at.intake.ask(alert, timeout_s=timeout_s)

    async def _main(self, stores: Stores) -> None:
        process = self.process
        assert self.root is not None
        assert process is not None
        try:
            await self.root.run(lambda: self.loop.trace.note("ready", process.name))
        except Exception as error:
            self.loop.trace.note("gave up", f"{process.name} {type(error).__name__}")
        if await stores.journal.release():
            self.loop.trace.note("left mail", process.name)
        process.kill()  # what is left of a process ends with its main task

    def _cast(self, stores: Stores, bell: Bell) -> Casting:
        at, floor = self.at, Floor(store=stores.executions, hub=self.at.hub, node=self.name, clock=self.clock)
        roles: dict[str, Any] = {role.name: Idle for role in fields(Casting)}
        roles |= {
            "hub": lambda: Hub(Sockets()),
            "journal": lambda: JournalKeeper(
                stores.journal.run, at.executor, bell, subscribe=silence, every_s=self.look_every_s
            ),
            "executor": lambda: TriedExecutor(floor, self.handlings, self.interruptions),
            "intake": lambda: TriedIntake(at, self._new_id, self.interruptions),
            "housekeeper": lambda: Housekeeper(Lanes([]), nothing_to_purge),
            "on_dead_signal": burial(stores.executions),
        }
        return Casting(**roles)

    def _new_id(self) -> UUID:
        return UUID(int=self.loop.random.getrandbits(128), version=4)
