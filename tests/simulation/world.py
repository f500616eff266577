"""The trading scenario: traders send alerts to one to three nodes, and everything goes wrong for a while."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import anyio

from tests.simulation.bank import Bank, BankExecutions
from tests.simulation.interruptions import Interruptions
from tests.simulation.node import KILLER, POISON, Handlings, Node, Stores
from trendedge.actors.journal_keeper import Bell
from trendedge.actors.keyring import AccountName, KeyOwner
from trendedge.actors.messages import ReceiveAlert
from trendedge.domain.accounts import Account
from trendedge.domain.alerts import ParsedAlert
from trendedge.domain.signals import Action, Dialect, Signal
from trendedge.domain.symbols import Symbol
from trendedge.runtime import JournalUnavailable, RuntimeFault, SupervisorSpec
from trendedge.runtime.simulation import Faults, FaultyWire, MemoryJournal, MemoryOwnership, MemoryServer, SimulatedLoop
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.failover_journal import LEFT, FailoverJournal

LEASE_S = 9.0
LOOK_EVERY_S = 18.0
RECOVERING = {"join", "look", "adopt", "read"}
"""What a start does with each of the two stores."""
MONDAY = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ALERTS = 24
BURSTS = 0.6
"""Share of the alerts that come right after the one before, as all alerts of a bar do."""
TROUBLE_S = 90.0
PATIENCE_S = 1500.0
"""For so long after the trouble all that was acknowledged may take to come to its end."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a world is made of: an ablation puts another part in the place of one."""

    bank: Callable[[], Bank] = Bank
    server: type[MemoryServer] = MemoryServer
    journal: type[MemoryJournal] = MemoryJournal
    """One side of the failover."""
    failover: type[FailoverJournal] = FailoverJournal
    ownership: type[MemoryOwnership] = MemoryOwnership
    tree: Callable[[SupervisorSpec], SupervisorSpec] = lambda spec: spec


@dataclass
class Asked:
    """One alert that was sent, and how the asking ended."""

    number: int
    process: str
    mark: str
    body: str
    sent_at: datetime
    answer: str | None = None
    """`accepted`, `duplicate`, `cancelled` or the name of the error; None while it waits."""
    answers: int = 0
    signal_id: str | None = None

    def settle(self, answer: str, signal_id: str | None = None) -> None:
        self.answer, self.signal_id = answer, signal_id
        self.answers += 1


class Speaker:
    """What the failover needs of Redis beside its journal."""

    def __init__(self, wire: FaultyWire, bells: list[Bell]) -> None:
        self._wire, self._bells = wire, bells

    async def publish(self, channel: str, payload: bytes) -> int:
        return await self._wire.call("publish", self._ring if channel == LEFT else lambda: 0)

    def _ring(self) -> int:
        for bell in self._bells:
            bell.ring()
        return len(self._bells)


@dataclass
class World:
    """All that is outside of the processes, and what it knows of them."""

    loop: SimulatedLoop
    parts: Parts = field(default_factory=Parts)

    def __post_init__(self) -> None:
        self.random = self.loop.random
        self.redis, self.tables = (
            self.parts.server(self.loop.time, self.loop.time, lease_s=LEASE_S) for _ in ("redis", "tables")
        )
        self.servers = {"redis": self.redis, "postgres": self.tables}
        """Where the journal keeps its entries."""
        self.bank = self.parts.bank()
        self.registry = self.bank.registry
        self.handlings = Handlings()
        self.interruptions = Interruptions(self.loop, self.random.choice([0.0, 0.05, 0.2]))
        self.redis_wire = FaultyWire(self.loop, "redis", Faults(), JournalUnavailable)
        self.speaker_wire = FaultyWire(self.loop, "speaker", Faults(), StoreUnavailable)
        self.tables_wire = FaultyWire(self.loop, "tables", Faults(), JournalUnavailable)
        self.bank_wire = FaultyWire(self.loop, "bank", Faults(), StoreUnavailable)
        self.registry_wire = FaultyWire(self.loop, "registry", Faults(), JournalUnavailable)
        self.wires = (self.redis_wire, self.speaker_wire, self.tables_wire, self.registry_wire, self.bank_wire)
        self.asked: list[Asked] = []
        self.owners = [self._owner(number) for number in range(self.random.randint(1, 3))]
        self.nodes = [self._node(f"node-{number}") for number in range(self.random.randint(1, 3))]
        self.bells: list[Bell] = []
        """Of all processes that ever ran: a dead one hears nothing."""
        self.gone: Node | None = None
        """A node that is killed for good."""

    def now(self) -> datetime:
        """The virtual time of day."""
        return MONDAY + timedelta(seconds=self.loop.time())

    @property
    def pending(self) -> int:
        """Unsettled entries of all nodes."""
        return sum(len(stream) for server in self.servers.values() for stream in server.streams.values())

    # -- the run ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Trouble, then peace, until all is quiet or patience ends."""
        for node in self.nodes:
            node.start()
        for wire in self.wires:
            wire.faults = self._faults()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_alerts)
            tasks.start_soon(self._make_trouble)
            tasks.start_soon(self._keep_alive)
            await anyio.sleep(TROUBLE_S)
            tasks.cancel_scope.cancel()
        await self._make_peace()

    async def _make_peace(self) -> None:
        for wire in self.wires:
            wire.faults, wire.down = Faults(), False
        for node in self.nodes:
            if node.process is not None:
                node.process.dies_at_step = None
                node.process.resume()
        ends = self.loop.time() + PATIENCE_S
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_alive)
            await anyio.sleep(15)  # asks time out, late effects come in
            while self.loop.time() < ends and (self.pending or not self._quiet()):  # noqa: ASYNC110 - virtual time
                await anyio.sleep(5)
            tasks.cancel_scope.cancel()

    def _quiet(self) -> bool:
        return all(asked.answer is not None or not self.lives(asked.process) for asked in self.asked)

    def lives(self, process: str) -> bool:
        """Whether this process runs."""
        return any(node.process is not None and node.process.name == process and node.alive for node in self.nodes)

    # -- the traders --------------------------------------------------------------------------------------------

    async def _send_alerts(self) -> None:
        for number in range(ALERTS):
            if self.random.random() < BURSTS:
                await anyio.sleep(self.random.random() * 0.01)
            else:
                await anyio.sleep(self.random.random() * 2 * TROUBLE_S / ALERTS * 0.8 / (1 - BURSTS))
            signal, body = self._signal(number), self._body()
            self._send(number, signal, body)
            if self.random.random() < 0.2:  # the sender does not trust us
                await anyio.sleep(self.random.random())
                self._send(number, signal, body)

    def _send(self, number: int, signal: Signal, body: str) -> None:
        ready = [node for node in self.nodes if node.alive]
        if not ready:
            return
        node, owner = self.random.choice(ready), self.owners[number % len(self.owners)]
        process = node.process
        assert process is not None
        alert = ReceiveAlert(
            owner=owner,
            alert=ParsedAlert(signal=signal, secret=None, raw=body),
            received_at=self.now(),
            request_id=f"r{number}",
        )
        asked = Asked(number, process.name, signal.meaning(owner.user_id), body, self.now())
        self.asked.append(asked)
        patience_s = self.random.random() * 0.02 if self.random.random() < 0.1 else None
        process.start(lambda: self._client(node, alert, asked, patience_s), name=f"ask-{number}")

    async def _client(self, node: Node, alert: ReceiveAlert, asked: Asked, patience_s: float | None) -> None:
        """Waits for its answer, or goes away: the server cancels the request then, wherever it is."""
        await self.interruptions.perhaps("client", lambda: self._ask(node, alert, asked, patience_s))
        if asked.answer is None:
            asked.settle("cancelled")

    async def _ask(self, node: Node, alert: ReceiveAlert, asked: Asked, patience_s: float | None) -> None:
        try:
            with anyio.move_on_after(patience_s) as scope:
                receipt = await node.ask(alert, timeout_s=10)
            if scope.cancelled_caught:
                asked.settle("cancelled")
            else:
                asked.settle(receipt.status, receipt.signal_id)
        except RuntimeFault as error:
            asked.settle(type(error).__name__)
        self.loop.trace.note(f"ask {asked.answer}", f"{asked.number} {asked.signal_id}")

    def _signal(self, number: int) -> Signal:
        owner = self.owners[number % len(self.owners)]
        return Signal(
            action=self.random.choice([Action.BUY, Action.BUY, Action.SELL, Action.SELL, Action.REVERSE, Action.CLOSE]),
            symbol=Symbol("MNQ"),
            dialect=Dialect.JSON,
            quantity=self.random.choice([None, 1, 2, 3]),
            price=None if self.random.random() < 0.1 else Decimal(18_000) + number * Decimal("0.25"),
            account=self.random.choice(owner.accounts).id,
        )

    def _body(self) -> str:
        share = self.random.random()
        return POISON if share < 0.05 else KILLER if share < 0.08 else "{}"

    # -- the trouble --------------------------------------------------------------------------------------------

    def _faults(self) -> Faults:
        """A world has its own weather: most faults are rare in it, some are not."""

        def share() -> float:
            return self.random.choice([0.0, 0.005, 0.02, 0.05])

        return Faults(
            crash_before=share() / 2,
            crash_after=share() / 2,
            reply_lost=share(),
            late=share(),
            refused=share(),
            slow=share() * 2,
        )

    async def _make_trouble(self) -> None:
        while True:
            await anyio.sleep(self.random.random() * 15)
            node = self.random.choice(self.nodes)
            match self.random.randrange(9):
                case 0:
                    await self._outage(self.redis_wire, self.speaker_wire)
                case 1:
                    await self._outage(self.tables_wire, self.registry_wire, self.bank_wire)
                case 2:
                    node.stop()
                case 3 if node.process is not None and node.alive:
                    node.process.kill_in(self.random.randint(1, 60))
                case 4:
                    self.loop.trace.note("lease lost", node.name)
                    for server in self.servers.values():
                        server.end_lease(node.name)
                case 5 if node.process is not None and node.alive:
                    self.loop.call_later(self.random.random() * 60, node.process.resume)
                    node.process.stop()
                case 6:  # a lock on the trades: mail piles up, and may change hands meanwhile
                    self.loop.call_later(self.random.random() * 20, node.kill)
                    await self._outage(self.bank_wire)
                case 7 if self.gone is None and len(self.nodes) > 1:
                    self.gone = node
                    self.loop.trace.note("gone for good", node.name)
                    node.kill()
                case _:
                    node.kill()

    async def _outage(self, *wires: FaultyWire) -> None:
        for wire in wires:
            wire.down = True
        await anyio.sleep(self.random.random() * 20)
        for wire in wires:
            wire.down = False

    async def _keep_alive(self) -> None:
        """What supervisord does."""
        while True:
            await anyio.sleep(0.5 + self.random.random() * 3)
            for node in self.nodes:
                if node.process is not None and not node.alive:
                    self.handlings.bury_process(node.process.name)
                    if node is not self.gone:
                        node.start()

    def read_half(self, nodes: tuple[str, ...]) -> bool:
        """Whether a process of these nodes could not read both stores when it started."""
        failed = self.redis_wire.failed | self.tables_wire.failed
        names = {node.partition(" ")[0] for node in nodes}
        return any(operation in RECOVERING and process.partition("/")[0] in names for operation, process in failed)

    # -- what there is ------------------------------------------------------------------------------------------

    def _owner(self, number: int) -> KeyOwner:
        user_id = str(UUID(int=1000 + number, version=4))
        names = [str(UUID(int=2000 + 10 * number + place, version=4)) for place in range(self.random.randint(1, 2))]
        for name in names:
            self.bank.accounts[name] = Account(
                id=name, user_id=user_id, name=name, any_hour=True, commission=Decimal("0.62"), slippage_ticks=1
            )
        accounts = tuple(AccountName(name, name, place == 0) for place, name in enumerate(names))
        return KeyOwner(user_id, f"key-{number}", accounts)

    def _open_stores(self, node: str, bell: Bell) -> Stores:
        self.bells.append(bell)
        ownership = self.parts.ownership(self.registry, node=node, wire=self.registry_wire)
        first = self.parts.journal(self.redis, ownership=ownership, wire=self.redis_wire)
        second = self.parts.journal(self.tables, ownership=ownership, wire=self.tables_wire)
        journal = self.parts.failover(
            first,
            second,
            speaker=Speaker(self.speaker_wire, self.bells),
            ownership=ownership,
            on_change=lambda _: bell.ring(),
        )
        return Stores(journal, BankExecutions(self.bank, ownership, self.bank_wire))

    def _node(self, name: str) -> Node:
        return Node(
            name=name,
            loop=self.loop,
            open_stores=self._open_stores,
            look_every_s=LOOK_EVERY_S,
            handlings=self.handlings,
            interruptions=self.interruptions,
            clock=self.now,
            change_tree=self.parts.tree,
        )
