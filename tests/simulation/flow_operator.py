"""Who gives orders to a flow while it runs."""

from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from tests.simulation.flow_graph import stage
from trendedge.runtime import ChildSpec, Controls, RuntimeFault
from trendedge.runtime.walk import descendants
from trendedge.runtime.watchdog import cells

if TYPE_CHECKING:
    from tests.simulation.flow import World

SUSPENDED_S = 3.0


class Operator:
    """Suspends, restarts, adds and removes."""

    def __init__(self, world: "World") -> None:
        self._world, self._loop, self._random = world, world.loop, world.random
        self._controls = Controls(world.root)
        self._names = count()

    async def give_orders(self, tasks: anyio.abc.TaskGroup) -> None:
        """One after the other, without waiting for what becomes of it, as long as there is trouble."""
        while True:
            await anyio.sleep(self._random.random() * 2)
            if self._world.trouble:
                tasks.start_soon(self._give_order)

    async def _give_order(self) -> None:
        orders = {"suspend": self._suspend, "restart": self._restart, "add": self._add, "remove": self._remove}
        what = self._random.choice(["suspend", "suspend", "restart", "restart", "add", "remove"])
        with suppress(RuntimeFault):  # what is asked for may just end
            await self._world.interruptions.perhaps(what, orders[what])

    async def _suspend(self) -> None:
        path = self._random.choice([cell.path for cell in cells(self._world.root)])
        self._controls.suspend(path)
        self._loop.trace.note("suspended", path)
        self._loop.call_later(self._random.random() * SUSPENDED_S, partial(self._resume, path))

    def _resume(self, path: str) -> None:
        with suppress(RuntimeFault):
            self._controls.resume(path)

    async def _restart(self) -> None:
        path = self._random.choice([child.path for _, child in descendants(self._world.root)])
        await self._controls.restart(path)
        self._loop.trace.note("restarted", path)

    async def _add(self) -> None:
        spec = stage(self._world, "root", f"late-{next(self._names)}")
        await self._world.root.start_child(spec)
        for known in self._world.known.values():
            if self._random.random() < 0.3:
                known.append(self._world.refs[-1])
        self._loop.trace.note("added", spec.id)

    async def _remove(self) -> None:
        children = [child.spec for child in self._world.root.children if isinstance(child.spec, ChildSpec)]
        if len(children) > 2:
            spec = self._random.choice(children)
            await self._world.root.stop_child(spec.id)
            self._loop.trace.note("removed", spec.id)
