"""The actors of a flow: they send on what they get, to each other and to themselves, and fail at it."""

import asyncio
from typing import TYPE_CHECKING

import anyio

from tests.simulation.flow_ledger import Box, Instance, Parcel, WatchedRef
from trendedge.runtime import Actor, RuntimeFault

if TYPE_CHECKING:
    from tests.simulation.flow import World

ACTS = {
    "pause": 8,
    "tell": 12,
    "ask": 5,
    "tell_nowait": 2,
    "remind": 2,
    "beside": 1,
    "hang": 0.3,
    "crash": 1,
    "stray cancellation": 0.5,
    "answer": 0.5,
}
"""What a handler does, and how often each comes."""
SLOW_S = 0.3
HANG_S = 6.0


class Stage(Actor[Parcel]):
    """Does a few things with each parcel, as chance has it; in peace nothing at all."""

    declared = (LookupError,)

    def __init__(self, world: "World", ref: WatchedRef) -> None:
        self._world, self._ref, self._random = world, ref, world.loop.random

    async def on_start(self) -> None:
        world, cell = self._world, self._ref.cell
        self._box: Box = next(box for box in reversed(world.ledger.boxes) if box.cell is cell)
        self._me: Instance = (cell, self.context.key)
        self._name = cell.name_of(self.context.key)
        task = asyncio.current_task()
        assert task is not None
        _, before = world.live.get(self._name, (cell, task))
        if before is not task and not before.done():
            world.ledger.broken(f"{self._name} began while another one of it lived", "one incarnation at a time")
        world.live[self._name] = (cell, task)
        if world.trouble and self._random.random() < 0.02:
            world.loop.trace.note("died at the start", self._name)
            raise OSError("ill")

    async def receive(self, message: Parcel) -> int:
        box, key = self._box, self.context.key
        if box.active[key]:
            self._world.ledger.broken(f"{self._name} handles two parcels at once", "one handler per key at a time")
        box.begun.append(message.number)
        box.active[key] += 1
        try:
            await self._work(message)
        except LookupError:
            self._world.ledger.outcome(box, message.number, "handled")
            raise
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                self._world.loop.trace.note("overran", self._name)
            raise
        finally:
            box.active[key] -= 1
        self._world.ledger.outcome(box, message.number, "handled")
        return message.number

    async def _work(self, parcel: Parcel) -> None:
        for _ in range(self._random.randint(1, 3)):
            if self._world.trouble:
                await self._act(self._random.choices(list(ACTS), list(ACTS.values()))[0], parcel)

    async def _act(self, what: str, parcel: Parcel) -> None:
        match what:
            case "pause":
                await anyio.sleep(self._random.choice([0.0, self._random.random() * SLOW_S]))
            case "tell" | "ask" | "tell_nowait":
                await self._send(what, parcel)
            case "remind":
                self.context.tell_self_after(self._random.choice([0.0, 0.2]), self._world.parcel(0))
            case "beside":
                self._send_beside(parcel)
            case "hang":
                await anyio.sleep(HANG_S)
            case _:
                await self._fail(what, parcel)

    async def _fail(self, how: str, parcel: Parcel) -> None:
        interruptions = self._world.interruptions
        self._world.loop.trace.note(how, self._name)
        match how:
            case "crash":
                raise ArithmeticError(parcel.number)
            case "stray cancellation":
                await interruptions.elsewhere(anyio.sleep_forever, interruptions.at_some_step)
            case _:
                raise LookupError(parcel.number)

    async def _send(self, how: str, parcel: Parcel) -> None:
        """Send something on, and be done with an error of that, or not."""
        world = self._world
        if not parcel.hops:
            return
        ref = self._random.choice(world.known[self._ref.name])
        try:
            await world.interruptions.within(
                f"inner {how}",
                lambda: world.send(how, ref, hops=parcel.hops - 1, by=self._name, holder=self._me),
            )
        except (RuntimeFault, LookupError):
            if self._random.random() < 0.1:
                raise

    def _send_beside(self, parcel: Parcel) -> None:
        """Who waits beside the handler holds up nobody, and ends with the incarnation."""
        world = self._world
        if parcel.hops:
            ref = self._random.choice(world.known[self._ref.name])
            work = world.send("tell", ref, hops=parcel.hops - 1, by=f"beside {self._name}")
            self.context.pipe_to_self(work, lambda _: world.parcel(0), on_error=lambda _: world.parcel(0))

    async def on_stop(self) -> None:
        if not self._me[0].stopping:
            self._world.loop.trace.note("passivated", self._name)
