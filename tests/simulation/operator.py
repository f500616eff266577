"""Who gives orders to a random tree while it runs, and the failures that come from outside of it."""

from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from trendedge.runtime import ChildSpec, Controls, RuntimeFault, Supervisor
from trendedge.runtime.walk import descendants
from trendedge.runtime.watchdog import cells

if TYPE_CHECKING:
    from tests.simulation.supervision import World
    from tests.simulation.workers import Job

OBEYED_S = 10.0
"""So long at least an order counts as under way: it is obeyed when nobody waits for it any more, too."""


class Operator:
    """Suspends, restarts, adds and removes; cuts off the broker and the store."""

    def __init__(self, world: "World") -> None:
        self._world, self._loop, self._random, self._root = world, world.loop, world.random, world.root
        self.waiting: Counter[str] = Counter()
        """Orders that were given and have not returned, by kind."""
        self._restarts: list[tuple[str, float, float]] = []
        self._removed: list[tuple[Supervisor, ChildSpec[Job]]] = []
        self._names = count()

    def ordered(self, path: str, at: float) -> bool:
        """Whether a restart by hand was under way then: it comes before that of a crash, which is not counted then."""
        return any(path == which and began <= at <= ended for which, began, ended in self._restarts)

    async def give_orders(self, tasks: anyio.abc.TaskGroup) -> None:
        """One after the other, without waiting for what becomes of it."""
        while True:
            await anyio.sleep(self._random.random() * 12)
            tasks.start_soon(self._give_order)

    async def _give_order(self) -> None:
        controls = Controls(self._root)
        what, order = self._random.choice(
            [
                ("suspend", self._suspend),
                ("restart", self._restart),
                ("break the broker", self._break_broker),
                ("start child", self._start_child),
                ("stop child", self._stop_child),
                ("bring back", self._bring_back),
                ("outage", self._outage),
            ]
        )
        self.waiting[what] += 1
        with suppress(RuntimeFault):  # the tree may just end, or lack what is asked for
            await self._world.interruptions.perhaps(what, partial(order, controls))
        self.waiting[what] -= 1

    async def _suspend(self, controls: Controls) -> None:
        path = self._random.choice([cell.path for cell in cells(self._root)] or ["root"])
        controls.suspend(path)
        self._loop.trace.note("suspended", path)
        self._loop.call_later(self._random.random() * 10, partial(_resume, controls, path))

    async def _restart(self, controls: Controls) -> None:
        path = self._random.choice([child.path for _, child in descendants(self._root)] or ["root"])
        ordered_at = self._world.now
        try:
            await controls.restart(path)
            self._loop.trace.note("restarted", path)
        finally:
            self._restarts.append((path, ordered_at, max(self._world.now, ordered_at + OBEYED_S)))

    async def _break_broker(self, controls: Controls) -> None:
        self._world.broker_down = True
        self._loop.trace.note("broker down")
        self._loop.call_later(self._random.random() * 30, self._broker_back)

    async def _start_child(self, controls: Controls) -> None:
        supervisor = self._some_supervisor()
        spec = self._world.leaf(supervisor.path, f"late-{next(self._names)}")
        await supervisor.start_child(spec)
        self._loop.trace.note("child added", spec.id)

    async def _stop_child(self, controls: Controls) -> None:
        supervisor = self._some_supervisor()
        dynamic = [child.spec for child in supervisor.children if child.dynamic and isinstance(child.spec, ChildSpec)]
        if dynamic:
            spec = self._random.choice(dynamic)
            self._removed.append((supervisor, spec))
            await supervisor.stop_child(spec.id)
            self._loop.trace.note("child removed")

    async def _bring_back(self, controls: Controls) -> None:
        if self._removed:
            supervisor, spec = self._removed.pop()
            self._world.mail.brought_back.add(f"{supervisor.path}/{spec.id}")
            await supervisor.start_child(spec)
            self._loop.trace.note("child back", spec.id)

    async def _outage(self, controls: Controls) -> None:
        self._world.mail.wire.down = True
        self._loop.call_later(self._random.random() * self._random.choice([1, 1, 8]), self._store_back)

    def _store_back(self) -> None:
        self._world.mail.wire.down = False

    def _some_supervisor(self) -> Supervisor:
        nested = [child.process for _, child in descendants(self._root) if isinstance(child.process, Supervisor)]
        return self._random.choice([self._root, *nested])

    def _broker_back(self) -> None:
        self._world.broker_down = False


def _resume(controls: Controls, path: str) -> None:
    with suppress(RuntimeFault):
        controls.resume(path)
