"""Durable mail by itself: a mailbox that is restarted, cut off and looked after while letters come, fail and die."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import anyio

from tests.simulation.invariants import Broken
from tests.simulation.trading import Report, explore
from trendedge.runtime import (
    Actor,
    Appended,
    Backoff,
    ChildSpec,
    Controls,
    Durability,
    DurableRef,
    JournalUnavailable,
    MailboxSpec,
    Overflow,
    RetryPolicy,
    RuntimeFault,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.cell import Cell
from trendedge.runtime.ownership import Owner
from trendedge.runtime.simulation import Faults, FaultyWire, MemoryJournal, MemoryRegistry, MemoryServer, SimulatedLoop

BOX, HERE = "letters", "here"
ACTOR, SUPERVISOR = "root/post/clerk", "root/post"
TROUBLE_S, PATIENCE_S = 30.0, 300.0
SENT_EACH = 25
KEYS = "abc"
BAD = "cannot be handled"

type Journals = Callable[..., MemoryJournal]
type Invariant = Callable[["World"], Iterator[str]]


@dataclass(frozen=True)
class Letter:
    """One message, and what its handler will do."""

    key: str
    number: int
    behaviour: str

    def encode(self) -> bytes:
        return f"{self.key} {self.number} {self.behaviour}".encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Letter":
        key, number, behaviour = payload.decode().split(" ", 2)
        return cls(key, int(number), behaviour)


class Clerk(Actor[Letter]):
    """Does what its letters say."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def receive(self, message: Letter) -> None:
        world, random = self._world, self._world.loop.random
        behaviour = message.behaviour
        if behaviour == "hang" and world.trouble:
            await anyio.sleep(60)
        await anyio.sleep(random.choice([0.0, 0.001, 0.1]))
        if behaviour == BAD or (behaviour == "fails once" and world.first(message.number)):
            raise ValueError(behaviour)
        if behaviour == "stashed" and world.trouble:
            self.context.stash()
            world.loop.trace.note("stashed")
            return
        self.context.unstash_all()
        world.commit(message)


@dataclass
class Registry(MemoryRegistry):
    """Notes when the owner changes. It may do so by a request that had long been given up."""

    clock: Callable[[], float] = float
    changed_at: list[float] = field(default_factory=list)

    def next_epoch(self, mailbox: str, node: str, *, above: int = 0) -> int:
        if node == HERE:
            self.changed_at.append(self.clock())
        return super().next_epoch(mailbox, node, above=above)

    def fence(self, owner: Owner) -> bool:
        if owner.node == HERE:
            self.changed_at.append(self.clock())
        return super().fence(owner)


@dataclass
class World:
    """The mailbox, its journal, and who is around it."""

    loop: SimulatedLoop
    journals: Journals = MemoryJournal
    trouble: bool = True
    done: list[tuple[Letter, float]] = field(default_factory=list)
    """What was handled to its end, and when."""
    answered: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Numbers of the letters whose `tell` has returned, by key."""
    _failed: set[int] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def __post_init__(self) -> None:
        random = self.loop.random
        self.server = MemoryServer(self.loop.time, self.loop.time, registry=Registry(clock=self.loop.time))
        self.wire = FaultyWire(self.loop, "store", Faults(), JournalUnavailable)
        self.journal = self.journals(self.server, node=HERE, wire=self.wire)
        self.ref = DurableRef[Letter]("clerk")
        keyed = random.random() < 0.7
        self.stashes, self.steals = random.random() < 0.3, random.random() < 0.3
        clerk = ChildSpec(
            "clerk",
            lambda: Clerk(self),
            self.ref,
            shutdown_s=random.choice([0.002, 0.05, 1.0]),
            mailbox=MailboxSpec(
                1000,
                Overflow.FAIL,
                key=(lambda letter: letter.key) if keyed else None,
                idle_s=0.5,
                drain=random.random() < 0.5,
            ),
            retry=RetryPolicy(delays_s=(0.1, 0.5)),
            durability=Durability(self.journal, BOX, Letter.encode, Letter.decode, on_bury=self._tell_outcome),
        )
        often = {"intensity": 10**6, "backoff": Backoff(0.01, 0.1)}
        post = SupervisorSpec("post", [clerk], **often)  # type: ignore[arg-type]  # one dict for two specs
        self.root = Supervisor(SupervisorSpec("root", [post], **often))  # type: ignore[arg-type]

    @property
    def pending(self) -> list[str]:
        """Entries that the mailbox takes for its own and unsettled."""
        log = self.cell.log
        assert log is not None
        return sorted(log.known)

    @property
    def fenced_at(self) -> list[float]:
        """When the owner of the mailbox has become another one: this process again, or a thief."""
        registry = self.server.registry
        assert isinstance(registry, Registry)
        return registry.changed_at

    def first(self, number: int) -> bool:
        """True the first time."""
        first = number not in self._failed
        self._failed.add(number)
        return first

    @property
    def cell(self) -> Cell:
        """The present host of the mailbox."""
        return self.ref.cell

    def commit(self, letter: Letter) -> None:
        """The effect of a letter. A fenced process has none, as every store has to see to."""
        owner = self.journal.ownership.of(BOX)
        if not self.server.registry.valid(owner):
            raise self.journal.ownership.lost(owner)
        self.done.append((letter, self.loop.time()))

    async def _tell_outcome(self, letter: Letter, why: object) -> None:
        await anyio.sleep(self.loop.random.choice([0.0, 0.01, 0.2]))

    async def run(self) -> None:
        """Trouble, then peace until all is quiet, then the stop."""
        random = self.loop.random
        share = random.choice([0.0, 0.01, 0.05])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.root.run, lambda: None)
            await self.root.begun.wait()
            slow = random.choice([share, 0.3])  # what is under way for long is met by a restart
            self.wire.faults = Faults(reply_lost=share, late=share, refused=share, slow=slow)
            async with anyio.create_task_group() as around:
                for key in KEYS:
                    around.start_soon(self._send_all, key)
                for go in (self._look, self._restart, self._replay, self._leave_mail, self._steal):
                    around.start_soon(self._now_and_then, go)
                await anyio.sleep(TROUBLE_S)
                around.cancel_scope.cancel()
            await self._make_peace()
            self.root.request_stop()

    async def _make_peace(self) -> None:
        self.trouble, self.wire.faults = False, Faults()
        ends = self.loop.time() + PATIENCE_S
        while self.loop.time() < ends and (self.cell.depth or self.pending or any(self.server.streams.values())):
            with suppress(RuntimeFault):
                await self.ref.adopt()
            for key in KEYS:  # what is stashed comes back behind one that is handled
                with suppress(RuntimeFault):
                    await self.ref.tell(Letter(key, next(self._numbers), "last"))
            await anyio.sleep(3)

    # -- who is around it ---------------------------------------------------------------------------------------

    async def _send_all(self, key: str) -> None:
        random = self.loop.random
        kinds = {"good": 12, "fails once": 2, BAD: 2, "hang": 1} | ({"stashed": 3} if self.stashes else {})
        for _ in range(SENT_EACH):
            await anyio.sleep(random.expovariate(SENT_EACH / TROUBLE_S * 1.3))
            letter = Letter(key, next(self._numbers), random.choices(list(kinds), list(kinds.values()))[0])
            await self._briefly("tell", lambda letter=letter: self._tell(letter))  # type: ignore[misc]

    async def _tell(self, letter: Letter) -> None:
        if isinstance(await self.ref.tell(letter), Appended):
            self.answered[letter.key].append(letter.number)

    async def _now_and_then(self, go: Callable[[], Awaitable[object]]) -> None:
        while True:
            await anyio.sleep(self.loop.random.expovariate(1 / 3))
            await self._briefly(go.__name__.strip("_"), go)

    async def _briefly(self, what: str, go: Callable[[], Awaitable[object]]) -> None:
        """Do it, or be cancelled in the middle of it; at any await, whichever comes then."""
        patience_s = self.loop.random.random() * 0.01 if self.loop.random.random() < 0.3 else None
        with anyio.move_on_after(patience_s) as scope:
            try:
                await go()
            except RuntimeFault as error:
                self.loop.trace.note(f"{what} {type(error).__name__}")
            else:
                self.loop.trace.note(f"{what} done")
        if scope.cancelled_caught:
            self.loop.trace.note(f"{what} cancelled")

    async def _look(self) -> None:
        await self.ref.adopt()

    async def _restart(self) -> None:
        path = self.loop.random.choice([ACTOR, ACTOR, SUPERVISOR])
        with anyio.CancelScope(shield=True):  # an order that nobody waits for is obeyed all the same
            await Controls(self.root).restart(path)

    async def _replay(self) -> None:
        letters = await self.journal.dead_letters(BOX)
        if letters:
            await self.ref.redeliver(self.loop.random.choice(letters).dead_id)

    async def _leave_mail(self) -> None:
        """A process that never was has left a letter, and its lease has run out."""
        owner = Owner(BOX, "gone", self.server.registry.next_epoch(BOX, "gone"))
        self.server.join(owner)
        self.server.append(owner, Letter(self.loop.random.choice(KEYS), next(self._numbers), "left").encode(), None)
        self.server.end_lease("gone")

    async def _steal(self) -> None:
        """This process has slept through its lease; the thief leaves again what it has adopted."""
        us = Owner(BOX, HERE, self.server.registry.epochs[BOX, HERE])
        if self.steals and self.server.registry.fence(us):
            thief = Owner(BOX, "thief", self.server.registry.next_epoch(BOX, "thief"))
            self.server.join(thief)
            self.loop.trace.counts["stolen"] += self.server.adopt(us, thief)
            self.server.end_lease("thief")


# -- what must hold ---------------------------------------------------------------------------------------------------


def comes_to_its_end(world: World) -> Iterator[str]:
    """What the journal has accepted is settled or buried when all is quiet."""
    for (_, node), stream in world.server.streams.items():
        for stored in stream.values():
            yield f"{stored.payload!r} is left at {node}"


def knows_what_it_has(world: World) -> Iterator[str]:
    """No room is taken and nothing is pending when there is nothing."""
    if world.cell.depth or world.pending:
        yield f"depth {world.cell.depth}, pending {world.pending}"


def answered_is_handled(world: World) -> Iterator[str]:
    """Whatever was acknowledged was handled to its end, or is a dead letter."""
    handled = {letter.number for letter, _ in world.done}
    dead = {Letter.decode(one.payload).number for one in world.server.dead[BOX].values()}
    for numbers in world.answered.values():
        for number in numbers:
            if number not in handled | dead:
                yield f"{number} was acknowledged and never handled"


def handled_once(world: World) -> Iterator[str]:
    """No restart and no lost answer makes a handler run again that has come to its end. A fence may: what was handled
    and not settled yet is another's by then, and only a store knows that it was committed."""
    times: defaultdict[int, list[float]] = defaultdict(list)
    for letter, at in world.done:
        times[letter.number].append(at)
    for number, moments in times.items():
        for earlier, later in pairwise(moments):
            if not any(earlier <= fenced <= later for fenced in world.fenced_at):
                yield f"{number} was handled at {earlier:.3f} and at {later:.3f}"


def in_order(world: World) -> Iterator[str]:
    """What one sender has sent one after the other is handled so; what is stashed or replayed steps out of the row."""
    if world.stashes or len(world.fenced_at) > 1:  # the first is that of the start
        return
    first: dict[int, int] = {}
    for place, (letter, _) in enumerate(world.done):
        if letter.behaviour in ("good", "fails once", "hang"):
            first.setdefault(letter.number, place)
    for numbers in world.answered.values():
        known = [number for number in numbers if number in first]
        for earlier, later in pairwise(known):
            if first[earlier] > first[later]:
                yield f"{later} was handled before {earlier}"


INVARIANTS: dict[str, Invariant] = {
    "everything comes to its end": comes_to_its_end,
    "it knows what it has": knows_what_it_has,
    "each acknowledged letter is handled": answered_is_handled,
    "each letter is handled once": handled_once,
    "order per key": in_order,
}


def run_mail(seed: int, journals: Journals = MemoryJournal, *, verbose: bool = False) -> Report:
    """Run the scenario once and check every invariant."""

    async def main(loop: SimulatedLoop) -> None:
        world = World(loop, journals)
        await world.run()
        found = {name: what for name, invariant in INVARIANTS.items() if (what := list(invariant(world)))}
        loop.trace.counts["buried"] += len(world.server.buried)
        loop.trace.counts["adopted"] += sum(stored.moved for stored in world.server.accepted.values())
        if found:
            raise Broken(found)

    return explore(seed, main, verbose=verbose)
