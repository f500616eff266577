"""A graph of actors with small mailboxes that tell and ask each other in circles, with senders from outside of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc

from tests.simulation.flow_circles import Circles
from tests.simulation.flow_graph import IDLE_S, graph
from tests.simulation.flow_invariants import check, look
from tests.simulation.flow_ledger import Call, Instance, Ledger, Parcel, WatchedRef
from tests.simulation.flow_operator import SUSPENDED_S, Operator
from tests.simulation.interruptions import Interruptions
from tests.simulation.trading import Report, explore
from trendedge.runtime import AskCycle, MailboxFull, RuntimeFault, Supervisor, TellCycle
from trendedge.runtime.simulation import SimulatedLoop
from trendedge.runtime.watchdog import cells

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.entity import Entity
    from trendedge.runtime.mailbox import Envelope

TROUBLE_S, PATIENCE_S = 12.0, 120.0
SENDERS, SENT_EACH = 4, 15


class World:
    """The graph, who sends into it, who gives it orders, and what is known of it."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop, self.random = loop, loop.random
        self.ledger = Ledger(loop.time)
        self.circles = Circles(self.ledger)
        self.interruptions = Interruptions(loop, self.random.choice([0.0, 0.1, 0.3]))
        self.refs: list[WatchedRef] = []
        self.known: dict[str, list[WatchedRef]] = {}
        """To whom each actor sends."""
        self.live: dict[str, tuple[Cell, asyncio.Task[Any]]] = {}
        """The last incarnation of each instance."""
        self.trouble = False
        self.ended_at: float | None = None
        self.stop_asked_at = 0.0
        self.left_behind: list[str] = []
        """Tasks that go on when all is over."""
        self._numbers = count(1)
        self.root = Supervisor(graph(self), on_given_up=self._given_up)
        for ref in self.refs:
            self.known[ref.name] = [self.random.choice(self.refs) for _ in range(self.random.randint(1, 3))]

    # -- one run ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Trouble, then peace until all is quiet, then the stop; or the stop in the middle of everything."""
        self.circles.watch(self.loop)
        self._look_whenever_all_rest()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._live)
            await self.root.begun.wait()
            self.trouble = True
            async with anyio.create_task_group() as trouble:
                for number in range(SENDERS):
                    trouble.start_soon(self._send_all, f"sender {number}")
                trouble.start_soon(self._rush, tasks)
                trouble.start_soon(Operator(self).give_orders, tasks)
                await anyio.sleep(TROUBLE_S)
                if self.random.random() < 0.7:
                    await self._make_peace()
                trouble.cancel_scope.cancel()
            self.stop_asked_at = self.loop.time()
            self.root.request_stop()
            with anyio.move_on_after(PATIENCE_S):
                await self.root.ended.wait()
            await anyio.sleep(1.0)
            self.left_behind = [one.get_name() for one in self.loop.unfinished() if one is not asyncio.current_task()]
            tasks.cancel_scope.cancel()

    async def _live(self) -> None:
        await self.root.run(lambda: self.loop.trace.note("ready"))
        self.ended_at = self.loop.time()

    async def _make_peace(self) -> None:
        self.trouble = False
        for cell in cells(self.root):
            cell.resume()
        with anyio.move_on_after(PATIENCE_S):
            while any(self._unsettled()):  # noqa: ASYNC110 - virtual time
                await anyio.sleep(0.5)
        for what in self._unsettled():
            self.ledger.broken(what, "in peace everything comes to rest")
        await anyio.sleep(SUSPENDED_S + 2 * IDLE_S)
        for cell in cells(self.root):
            if cell.spec.key is not None and cell.entities:
                self.ledger.broken(f"{cell.path} has {list(cell.entities)}", "idle instances are passivated")
        self.loop.trace.note("at rest")

    def _unsettled(self) -> Iterator[str]:
        for cell in cells(self.root):
            if cell.depth or cell.waiting:
                yield f"{cell.path} has {cell.depth} messages left, {cell.waiting} wait for room"
        for call in self.ledger.open.values():
            yield f"{call.by} waits for its {call.how} to {call.cell.path}"

    def _look_whenever_all_rest(self) -> None:
        """Right before time passes nobody has anything to do, and nobody is about to learn anything."""
        jump = self.loop._jump

        def look_and_jump() -> None:
            look(self)
            jump()

        self.loop._jump = look_and_jump  # type: ignore[method-assign]

    # -- who sends ----------------------------------------------------------------------------------------------

    def parcel(self, hops: int) -> Parcel:
        """A new one."""
        return Parcel(next(self._numbers), self.random.choice("abc"), self.random.choice("xyz"), hops)

    async def send(self, how: str, ref: WatchedRef, *, hops: int, by: str, holder: Instance | None = None) -> None:
        """Make a call, and write down what becomes of it."""
        parcel, timeout_s = self.parcel(hops), self.random.choice([0.2, 1.0, 5.0])
        deadline_s = self.random.random() if self.random.random() < 0.1 else None
        call = self.ledger.begin(how, ref.cell, parcel, by=by, holder=holder)
        try:
            if how == "ask":
                await ref.ask(parcel, timeout_s=timeout_s, deadline_s=deadline_s)
            elif how == "tell":
                if call.cell.must_wait:
                    self.loop.trace.note("waits for room", str(parcel.number))
                await ref.tell(parcel, deadline_s=deadline_s)
            else:
                ref.tell_nowait(parcel, deadline_s=deadline_s)
        except BaseException as error:
            self._refused(call, error)
            raise
        self.ledger.end(call, None)
        self.loop.trace.note(f"{how} done", str(parcel.number))

    def _refused(self, call: Call, error: BaseException) -> None:
        if isinstance(error, TellCycle | AskCycle):
            self.circles.refused(call, error)
        elif isinstance(error, MailboxFull) and call.cell.depth + call.cell.coming < call.cell.spec.capacity:
            self.ledger.broken(f"{call.cell.path} refused {call.parcel.number}", "who is full refuses, and nobody else")
        self.ledger.end(call, error)
        self.loop.trace.note(f"{call.how} {type(error).__name__}", str(call.parcel.number))

    async def _send_all(self, name: str) -> None:
        for _ in range(SENT_EACH):
            await anyio.sleep(self.random.expovariate(SENT_EACH / TROUBLE_S * 1.5))
            if self.trouble:
                await self._send_one(name)

    async def _send_one(self, name: str) -> None:
        how, ref = self.random.choice(["tell", "tell", "ask"]), self.random.choice(self.refs)
        with suppress(RuntimeFault, LookupError):
            await self.interruptions.when(
                partial(self._when_let_in, ref), how, partial(self.send, how, ref, hops=3, by=name)
            )

    def _when_let_in(self, ref: WatchedRef, cancel: Callable[[], object]) -> None:
        """Right after the next message has left the mailbox; at some step when nobody has to wait for that."""
        box = next(box for box in self.ledger.boxes if box.cell is ref.cell)
        if not box.cell.must_wait:
            self.interruptions.at_some_step(cancel)
        else:
            self.loop.trace.note("cancelled when let in", ref.name)
            box.impatient.append(partial(self.loop.call_soon, cancel))

    async def _rush(self, tasks: anyio.abc.TaskGroup) -> None:
        """Now and then many want the same actor at once."""
        while True:
            await anyio.sleep(self.random.random() * 6)
            if not self.trouble:
                return
            for number in range(self.random.randint(3, 8)):
                tasks.start_soon(self._send_one, f"passer-by {number}")

    def _given_up(self, entity: "Entity", envelope: "Envelope", error: Exception) -> None:
        box = next(box for box in self.ledger.boxes if box.cell is entity.cell)
        self.ledger.outcome(box, envelope.message.number, "buried")


def run_flow(seed: int, *, verbose: bool = False) -> Report:
    """Run a random graph once and check every invariant."""

    async def main(loop: SimulatedLoop) -> None:
        world = World(loop)
        await world.run()
        check(world)
        for outcomes in world.ledger.outcomes.values():
            loop.trace.counts.update(what for what, _ in outcomes)
        loop.trace.counts["went round the capacity"] += sum(call.own for call in world.ledger.calls.values())

    return explore(seed, main, verbose=verbose)
