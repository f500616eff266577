"""Heirs that look, fail, die and start again at random over both real stores: no mail is lost, nor any turned around.

Senders put their mail into both stores by turns and die; they do not come back, since whoever takes back its own mail
while somebody has a part of it is promised no order. Nodes that nobody has claimed start again under their name.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.storage.support import Journals, own
from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Entry, Settlement
from trendedge.storage import ownership
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.outages import Outages
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore

if TYPE_CHECKING:
    from trendedge.storage.leased_journal import LeasedJournal

SEEDS = range(int(os.environ.get("HEIRS_FROM", "0")), int(os.environ.get("HEIRS_TO", "40")))
"""More of them, in some minutes: `HEIRS_TO=1000 pytest tests/storage/test_heirs_at_random.py`."""
STEPS = 24
BOTH = ("redis", "postgres")


class Faults:
    """What one process has to suffer from one store."""

    def __init__(self) -> None:
        self.down = False
        self.unheard = 0.0
        """The share of answers that are lost."""


class Faulty:
    """A store as this process sees it."""

    def __init__(self, store: Any, faults: Faults, rng: random.Random) -> None:
        self._store, self._faults, self._rng = store, faults, rng

    def cutting_off(self) -> "Faulty":
        return Faulty(self._store.cutting_off(), self._faults, self._rng)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(call):
            return call

        async def suffer(*args: Any, **more: Any) -> Any:
            if self._faults.down:
                raise StoreUnavailable("the store", "down")
            answer = await call(*args, **more)
            if self._rng.random() < self._faults.unheard:
                raise StoreUnavailable("the store", "the answer is lost")
            return answer

        return suffer


class Node:
    """A process that adopts what it finds, and has handled some of it."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.mail: list[Entry] = []
        self.faults = {store: Faults() for store in BOTH}
        self.journals: Journals

    async def start(self) -> None:
        rng = self.world.rng
        database = cast("Database", Faulty(self.world.database, self.faults["postgres"], rng))
        redis = cast("RedisStore", Faulty(self.world.redis, self.faults["redis"], rng))
        self.journals = await own(database, redis, self.world.mailbox, self.name, doubt_s=0)
        await self.recover()

    async def recover(self) -> None:
        """With both stores there: of what lies in one that is not, no order is promised."""
        self.heal()
        self.mail = await self.journals.both.recover(self.world.mailbox)

    def heal(self) -> None:
        for faults in self.faults.values():
            faults.down, faults.unheard = False, 0.0

    async def look(self) -> None:
        self.mail += await self.journals.both.adopt(self.world.mailbox)

    async def handle(self, number: int) -> None:
        for entry in self.mail[:number]:
            owner = self.journals.ownership.of(self.world.mailbox)
            if not await self.world.commit(owner.node, owner.epoch, entry.payload):
                raise self.journals.ownership.lost(owner)
            self.mail.remove(entry)
            await self.journals.both.settle(self.world.mailbox, [Settlement(entry.entry_id)])

    async def attempt(self, what: Coroutine[Any, Any, None]) -> None:
        """As an actor does it: who was fenced recovers, and what cannot be had now comes later."""
        try:
            await what
        except Fenced:
            self.world.happened["fenced"] += 1
            await self.recover()
        except JournalUnavailable:
            self.world.happened["unavailable"] += 1


class World:
    """Some nodes, and the dead."""

    def __init__(self, seed: int, database: Database, redis: RedisStore, happened: Counter[str]) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self.database, self.redis, self.happened = database, redis, happened
        self.mailbox = f"mail of {seed}"
        self.alive: dict[str, Node] = {}
        self.dead: list[str] = []
        self.sent: dict[str, list[bytes]] = {}
        self.done: list[bytes] = []
        self.names = 0

    async def commit(self, node: str, epoch: int, payload: bytes) -> bool:
        """Once each, by whoever may."""
        async with self.database.transaction() as connection:
            proof = "select true from mailbox_owners where mailbox = $1 and node = $2 and epoch = $3 for key share"
            valid = bool(await connection.fetchval(proof, self.mailbox, node, epoch))
            if valid and payload not in self.done:
                self.done.append(payload)
        return valid

    async def lapse(self, name: str, stores: Sequence[str]) -> None:
        if "redis" in stores:
            owners = f"owners:{self.mailbox}"
            held = await self.redis.command("HGET", owners, name)
            if held:
                await self.redis.command("HSET", owners, name, held.partition(b":")[0] + b":1")
        if "postgres" in stores:
            over = "update mailbox_owners set lease_until = now() where mailbox = $1 and node = $2"
            await self.database.execute(f"{over} and lease_until is not null", self.mailbox, name)

    def some_stores(self) -> Sequence[str]:
        return self.rng.choice([BOTH[:1], BOTH[1:], BOTH])

    def one(self) -> Node | None:
        return self.rng.choice([*self.alive.values()]) if self.alive else None

    def kill(self, node: Node) -> None:
        del self.alive[node.name]
        self.dead.append(node.name)

    # -- what happens -------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """A new node starts, or one that has died and that nobody has claimed."""
        if len(self.alive) == 3:
            return
        self.names += 1
        name = f"node {self.names}"
        claimed = "select heir is not null from mailbox_owners where mailbox = $1 and node = $2"
        for former in self.dead:
            again = former.startswith("node") and self.rng.random() < 0.5
            if again and not await self.database.fetchval(claimed, self.mailbox, former):
                name = former
                self.dead.remove(name)
                self.happened["started again"] += 1
                break
        node = self.alive[name] = Node(self, name)
        await node.start()

    async def send(self) -> None:
        if len(self.sent) == 3:
            return
        name = f"sender {len(self.sent)}"
        journals = await own(self.database, self.redis, self.mailbox, name)
        stores: list[LeasedJournal] = [journals.redis, journals.postgres]
        self.rng.shuffle(stores)
        self.sent[name] = [f"{name} {number}".encode() for number in range(self.rng.randint(2, 4))]
        for number, payload in enumerate(self.sent[name]):
            store = stores[number] if number < 2 else self.rng.choice(stores)
            await store.append(self.mailbox, payload)
        self.dead.append(name)
        await self.lapse(name, self.some_stores())

    async def lapse_one(self) -> None:
        if self.dead:
            await self.lapse(self.rng.choice(self.dead), self.some_stores())

    async def look(self) -> None:
        await asyncio.gather(*(node.attempt(node.look()) for node in self.alive.values() if self.rng.random() < 0.6))

    async def look_by_half(self) -> None:
        """One store fails over the move, and perhaps the process dies of that."""
        node = self.one()
        if node is None:
            return
        journal: Any = self.rng.choice([node.journals.redis, node.journals.postgres])
        adopt: Callable[..., Awaitable[list[Entry]]] = journal.adopt

        async def no_answer(*_: Any) -> list[Entry]:
            self.happened["half a look"] += 1
            raise JournalUnavailable("the store", "gone")

        journal.adopt = no_answer
        await node.attempt(node.look())
        journal.adopt = adopt
        if self.rng.random() < 0.5:
            self.kill(node)
            await self.lapse(node.name, self.some_stores())

    async def cut_a_look_off(self) -> None:
        node = self.one()
        if node is None:
            return
        look = asyncio.create_task(node.attempt(node.look()))
        await asyncio.sleep(self.rng.random() * 0.02)
        look.cancel()
        with suppress(asyncio.CancelledError):
            await look
        self.happened["cut off"] += look.cancelled()
        if self.rng.random() < 0.5:
            self.kill(node)

    async def handle(self) -> None:
        if (node := self.one()) is not None:
            await node.attempt(node.handle(self.rng.randint(1, 4)))

    async def fail(self) -> None:
        if (node := self.one()) is not None:
            faults = node.faults[self.rng.choice(BOTH)]
            faults.down, faults.unheard = self.rng.choice([(True, 0.0), (False, 0.2)])

    async def heal(self) -> None:
        for node in self.alive.values():
            node.heal()

    async def die(self) -> None:
        if (node := self.one()) is not None:
            if self.rng.random() < 0.3:
                await node.journals.both.release()
            self.kill(node)

    async def run(self) -> None:
        acts = {
            self.begin: 3, self.send: 2, self.lapse_one: 4, self.look: 4, self.look_by_half: 5, self.cut_a_look_off: 2,
            self.handle: 5, self.fail: 2, self.heal: 2, self.die: 1,
        }  # fmt: skip
        await self.begin()
        await self.send()
        for act in self.rng.choices([*acts], [*acts.values()], k=STEPS):
            await act()
        self.dead += self.alive
        last = Node(self, "last")
        await last.start()
        for _ in range(6):
            for name in self.dead:
                await self.lapse(name, BOTH)
            await last.attempt(last.look())
            await last.attempt(last.handle(100))


async def test_whatever_becomes_of_heirs_no_mail_is_lost_and_none_overtakes_what_was_sent_before_it(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Leases run out here when the test says so: whoever lives is not away for so long, whatever a look has found.
    monkeypatch.setattr(Outages, "just_back", property(lambda _: False))
    monkeypatch.setattr(ownership, "_ANSWER_S", 0.5)
    happened = Counter[str]()
    for seed in SEEDS:
        world = World(seed, database, redis_store, happened)
        async with asyncio.timeout(60):
            await world.run()
        done = {name: [one for one in world.done if one.startswith(name.encode())] for name in world.sent}
        assert done == world.sent, f"seed {seed}"
    assert set(happened) >= {"half a look", "cut off", "unavailable", "started again"}
