"""The journal in memory and each real one, side by side: whatever is done to both, they answer the same."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.storage.support import end_lease, own
from trendedge.runtime import Appended, Buried, DeadLetter, Duplicate, Entry, Fenced, Journal, Settlement, Unique
from trendedge.runtime.simulation import MemoryJournal, MemoryServer
from trendedge.storage.postgres import open_database
from trendedge.storage.redis import open_redis

NODES = st.sampled_from("ab")
FENCED = "fenced"
_boxes = itertools.count(1)


class Machine(RuleBasedStateMachine):
    """Two nodes with a journal of each kind, which do the same.

    Entries have other ids in each store, so they are named by their payloads, of which there is one each.
    """

    def __init__(self, kind: str, database_url: str, redis_url: str) -> None:
        super().__init__()
        self.kind, self.database_url, self.redis_url = kind, database_url, redis_url
        self.box = f"box-{next(_boxes)}"
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.server = MemoryServer()
        self.pairs: dict[str, tuple[Journal, Journal]] = {}
        """The journal in memory and the real one, of the process that a node runs now."""
        self.ids: dict[bytes, list[str]] = {}
        """The names of each entry: in memory, and in the real store."""
        self.holder: dict[bytes, str] = {}
        """Whose stream each entry is in."""
        self.dead: dict[bytes, list[str]] = {}
        self.fenced: set[str] = set()
        self.payloads = (b"%d" % number for number in itertools.count(1))

    @initialize()
    def begin_with_two_nodes(self) -> None:
        self.runner.run(self._open())
        for node in "ab":
            self.restart(node)

    async def _open(self) -> None:
        self.database = await self.stack.enter_async_context(open_database(self.database_url, pool_size=1))
        self.redis = await self.stack.enter_async_context(open_redis(self.redis_url, timeout_s=5, connect_timeout_s=5))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    # -- both do it ---------------------------------------------------------------------------------------------

    def both(self, node: str, act: Callable[[Journal, int], Awaitable[Any]]) -> list[Any]:
        """Their answers; an owner that is fenced answers that."""

        async def answer(place: int) -> Any:
            try:
                return await act(self.pairs[node][place], place)
            except Fenced:
                return FENCED

        return [self.runner.run(answer(place)) for place in (0, 1)]

    def delivered(self, node: str, read: Callable[[Journal], Awaitable[list[Entry]]]) -> None:
        """What they deliver is the same, in the same order, after as many attempts, first or not, replayed or not."""
        ours, theirs = self.both(node, lambda journal, _: read(journal))
        if FENCED in (ours, theirs):
            assert ours == theirs
            return
        known = [
            [(one.payload, one.attempts, one.first_open, one.replayed) for one in found] for found in (ours, theirs)
        ]
        assert known[0] == known[1]
        for one, other in zip(ours, theirs, strict=True):
            self.ids[one.payload] = [one.entry_id, other.entry_id]
            self.holder[one.payload] = node

    def of(self, node: str, data: st.DataObject) -> bytes:
        """An entry that a node holds."""
        return data.draw(st.sampled_from(sorted(payload for payload, at in self.holder.items() if at == node)))

    def holds(self, node: str) -> bool:
        return node in self.holder.values()

    # -- what processes do --------------------------------------------------------------------------------------

    @rule(node=NODES, mark=st.sampled_from([None, "one", "two"]))
    def append(self, node: str, mark: str | None) -> None:
        payload = next(self.payloads)
        unique = None if mark is None else Unique(f"{self.box} {mark}", payload.decode(), 60)
        ours, theirs = self.both(node, lambda journal, _: journal.append(self.box, payload, unique=unique))
        if isinstance(ours, Appended):
            again = self.both(node, lambda journal, _: journal.append(self.box, payload, unique=unique))
            assert unique is None or again == [ours, theirs]
            if unique is None:
                self.both(node, lambda journal, place: journal.settle(self.box, [Settlement(again[place].entry_id)]))
            self.ids[payload], self.holder[payload] = [ours.entry_id, theirs.entry_id], node
        else:
            assert ours == theirs
            assert ours == FENCED or isinstance(ours, Duplicate)

    @rule(node=NODES, data=st.data())
    @precondition(lambda self: self.holder)
    def settle(self, node: str, data: st.DataObject) -> None:
        several = data.draw(st.sets(st.sampled_from(sorted(self.holder)), min_size=1, max_size=3))
        answers = self.both(
            node,
            lambda journal, place: journal.settle(
                self.box, [Settlement(self.ids[one][place]) for one in sorted(several)]
            ),
        )
        assert answers[0] == answers[1]
        for payload in several:
            if answers[0] != FENCED and self.holder[payload] == node:
                del self.holder[payload]

    @rule(node=NODES, data=st.data())
    def uncount(self, node: str, data: st.DataObject) -> None:
        if self.holds(node):
            payload = self.of(node, data)
            answers = self.both(node, lambda journal, place: journal.uncount(self.box, [self.ids[payload][place]]))
            assert answers[0] == answers[1]

    @rule(node=NODES, data=st.data())
    def begin(self, node: str, data: st.DataObject) -> None:
        if self.holds(node):
            payload = self.of(node, data)
            answers = self.both(
                node, lambda journal, place: journal.settle(self.box, [], begin=[self.ids[payload][place]])
            )
            assert answers[0] == answers[1]

    @rule(node=NODES, data=st.data())
    def bury(self, node: str, data: st.DataObject) -> None:
        if self.holds(node):
            payload, letter = self.of(node, data), DeadLetter("ValueError: no", "...", 3, {"a": "b"})
            answers = self.both(
                node, lambda journal, place: journal.bury(self.box, self.ids[payload][place], payload, letter)
            )
            assert answers[0] == answers[1]
            if answers[0] != FENCED:
                del self.holder[payload]
                self.look_at_the_dead(node)

    @rule(node=NODES)
    def restart(self, node: str) -> None:
        self.fenced.discard(node)
        self.runner.run(self._restart(node))
        self.delivered(node, lambda journal: journal.recover(self.box))

    async def _restart(self, node: str) -> None:
        memory = MemoryJournal(self.server, node=node)
        await memory.ownership.take(self.box)
        journals = await own(self.database, self.redis, self.box, node)
        real: dict[str, Journal] = {"redis": journals.redis, "postgres": journals.postgres, "failover": journals.both}
        self.pairs[node] = memory, real[self.kind]

    @rule(node=NODES)
    def sleep_and_be_adopted_from(self, node: str) -> None:
        """Its process lives on and is fenced. A lease that ends with nobody to adopt would be renewed in its time."""
        heir = "a" if node == "b" else "b"
        if not self.holds(node):
            return
        if heir in self.fenced:
            self.restart(heir)
        self.fenced.add(node)
        self.server.end_lease(node)
        self.runner.run(end_lease(self.redis, self.database, self.box, node))
        self.delivered(heir, lambda journal: journal.adopt(self.box))

    # -- what operators do --------------------------------------------------------------------------------------

    @rule(node=NODES)
    def count(self, node: str) -> None:
        ours, theirs = self.both(node, lambda journal, _: journal.count(self.box))
        assert ours == theirs

    @rule(node=NODES)
    def look_at_the_dead(self, node: str) -> None:
        def told(letters: list[Buried]) -> list[Any]:
            return [(one.payload, one.letter) for one in letters]

        ours, theirs = self.both(node, lambda journal, _: journal.dead_letters(self.box))
        assert told(ours) == told(theirs)
        self.dead = {one.payload: [one.dead_id, other.dead_id] for one, other in zip(ours, theirs, strict=True)}

    @rule(node=NODES, data=st.data())
    @precondition(lambda self: self.dead)
    def replay(self, node: str, data: st.DataObject) -> None:
        payload = data.draw(st.sampled_from(sorted(self.dead)))
        ours, theirs = self.both(node, lambda journal, place: journal.replay(self.box, self.dead[payload][place]))
        if FENCED in (ours, theirs):
            assert ours == theirs
        else:
            assert ours.payload == theirs.payload == payload
            self.ids[payload], self.holder[payload] = [ours.entry_id, theirs.entry_id], node
            del self.dead[payload]

    @rule(node=NODES, data=st.data())
    @precondition(lambda self: self.dead)
    def discard(self, node: str, data: st.DataObject) -> None:
        payload = data.draw(st.sampled_from(sorted(self.dead)))
        answers = self.both(node, lambda journal, place: journal.discard(self.box, self.dead[payload][place]))
        assert answers == [True, True]
        del self.dead[payload]


@pytest.mark.parametrize("kind", ["redis", "postgres", "failover"])
def test_the_journal_in_memory_does_what_the_real_one_does(kind: str, database_url: str, redis_url: str) -> None:
    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(kind, database_url, redis_url)

    few = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    run_state_machine_as_test(Here, settings=few)
