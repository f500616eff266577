"""The tree as an operator sees it. Snapshots are read from the cells; the actors are not asked and do not notice."""

import asyncio
from typing import Any

from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child
from trendedge.runtime.stats import Stats, describe
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.watchdog import LoopLag


class Inspector:
    """Read-only view of a running supervision tree."""

    def __init__(self, root: Supervisor, lag: LoopLag | None = None) -> None:
        """:param lag: what the tree's `Watchdog` measures"""
        self._root = root
        self._lag = lag or LoopLag()

    def loop_lag_ms(self) -> dict[str, float | None]:
        """How late the event loop is; see `LoopLag.snapshot`."""
        return self._lag.snapshot()

    def actors(self) -> list[dict[str, Any]]:
        """Every actor, service and supervisor, parents before their children; times in seconds.

        All have the same fields. What has no mailbox shows an empty one of no capacity.
        """
        found: list[dict[str, Any]] = [_root(self._root)]
        self._collect(self._root, found)
        return found

    def find(self, path: str) -> dict[str, Any] | None:
        """One entry of `actors`, by its path."""
        return next((actor for actor in self.actors() if actor["path"] == path), None)

    def running(self) -> tuple[int, int]:
        """(running, expected) numbers of actors and services; supervisors do not count."""
        leaves = [actor for actor in self.actors() if actor["kind"] != "supervisor"]
        return sum(actor["status"] in ("running", "suspended") for actor in leaves), len(leaves)

    def _collect(self, supervisor: Supervisor, found: list[dict[str, Any]]) -> None:
        for child in supervisor.children:
            found.append(_snapshot(child))
            if isinstance(child.process, Supervisor):
                self._collect(child.process, found)
            elif isinstance(child.process, Cell):
                for entity in child.process.entities.values():
                    if entity.children is not None:
                        self._collect(entity.children, found)


_WITHOUT_MAIL: dict[str, Any] = {
    "mailbox": {"depth": 0, "capacity": 0, "oldest_age_s": 0.0},
    "durable": None,
    "handled": 0,
    "failed": 0,
    "latency_ms": Stats().latency_ms(),
    "waiting_on": [],
    "handling": None,
}


def _root(supervisor: Supervisor) -> dict[str, Any]:
    facts = {"path": supervisor.path, "kind": "supervisor", "status": supervisor.status}
    return facts | {"incarnation": 1, "restarts": 0, "last_error": None} | _WITHOUT_MAIL


def _snapshot(child: Child) -> dict[str, Any]:
    common = {
        "path": child.path,
        "kind": child.kind,
        "status": child.status,
        "incarnation": child.generation,
        "restarts": child.restarts,
        "last_error": child.last_error,
    }
    if isinstance(child.process, Cell):
        return common | _cell(child.process, child)
    return common | _WITHOUT_MAIL


def _cell(cell: Cell, child: Child) -> dict[str, Any]:
    now = asyncio.get_running_loop().time()
    heads = [entity.mail[0].enqueued_at for entity in cell.entities.values() if entity.mail]
    handling = min(cell.busy(), key=lambda one: one.since or now, default=None)
    return {
        "status": "suspended" if cell.suspended and child.status == "running" else child.status,
        "restarts": child.restarts + cell.stats.restarts,
        "last_error": cell.stats.last_failure or child.last_error,
        "mailbox": {
            "depth": cell.depth,
            "capacity": cell.spec.capacity,
            "overflow": cell.spec.overflow.value,
            "dropped": cell.stats.dropped,
            "oldest_age_s": round(now - min(heads), 3) if heads else 0.0,
            "keys": len(cell.entities) if cell.spec.key else None,
        },
        "durable": {"pending": cell.log.pending, "dead": cell.log.dead} if cell.log else None,
        "handled": cell.stats.handled,
        "failed": cell.stats.failed,
        "latency_ms": cell.stats.latency_ms(),
        "waiting_on": [
            {"key": entity.key, "on": asked.name_of(key)}
            for entity in cell.entities.values()
            for asked, key in entity.asks
        ],
        "handling": None
        if handling is None
        else {
            "message": describe(handling.mail[0].message),
            "key": handling.key,
            "elapsed_s": round(now - (handling.since or now), 3),
        },
    }
