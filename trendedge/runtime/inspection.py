"""The tree as an operator sees it. Snapshots are read from the cells; the actors are not asked and do not notice."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from trendedge.runtime.breaker import Breaker, BreakerState
from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child
from trendedge.runtime.clock import clock_of
from trendedge.runtime.history import REMEMBERED, History
from trendedge.runtime.intensity import Intensity
from trendedge.runtime.specs import Backoff
from trendedge.runtime.stats import Stats, describe
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.walk import descendants, supervisors_of
from trendedge.runtime.watchdog import LoopLag, cells

type Facts = dict[str, Any]


class Inspector:
    """Read-only view of a running supervision tree."""

    def __init__(self, root: Supervisor, lag: LoopLag | None = None) -> None:
        """:param lag: what the tree's `Watchdog` measures; without one nobody measures it"""
        self._root = root
        self._lag = lag or LoopLag()

    def loop_lag_ms(self) -> dict[str, float | None]:
        """How late the event loop is; see `LoopLag.snapshot`. It needs a `Watchdog` in the tree that has the same
        `LoopLag`: without one all are 0 or None.
        """
        return self._lag.snapshot()

    def actors(self) -> list[Facts]:
        """Every actor, service and supervisor, parents before their children; times in seconds.

        All have the same fields, down into the objects in them. What has no mailbox shows an empty one of no capacity.
        `durable` and `handling` are None as a whole where there is none.

        - `path`, `kind` (`actor`, `service` or `supervisor`), `incarnation` (from 1), `restarts`, `last_error`.
        - `status`: `starting`, `running`, `suspended`, `restarting`, `stopping`, `stopped` or `crashed`.
        - `restart_history`: the last restarts, the newest first: `at` (RFC 3339, UTC), `cause`, and of the message over
          which it was, if any, its type `message` and its `key`.
        - `intensity`: the `restarts` within the last `period_s` that counted, how many are `allowed`, and
          `next_backoff_s`, the pause before the next one; all of it as `text`. A supervisor's and a keyed actor's own;
          of others that of their supervisor.
        - `mailbox`: `depth`, `capacity`, `overflow` (policy), `dropped`, `oldest_age_s`, and `keys`, the number of
          instances; None for an unkeyed one.
        - `durable`: messages `pending` in the journal, `dead` letters, and `oldest_age_s` of what is pending.
        - `handled`, `failed`, `expired` and `buried`: numbers of messages; `rate_per_s`: handled, over the last minute,
          which a `Watchdog` in the tree counts: without one it is 0.
        - `latency_ms`, in the handler, and `wait_ms`, before it: `p50`, `p95` and `p99` of the last 512 messages.
        - `breakers`: as `breakers()` gives them, without the `actor`.
        - `waiting_on`: whom handlers wait for: the `key` of who waits, and path of who is asked, `on`.
        - `handling`: what has been in hand longest: type of the `message`, its `key`, and `elapsed_s`.
        """
        now = _Now()
        below = (_snapshot(child, supervisor, now) for supervisor, child in descendants(self._root))
        return [_root(self._root, now), *below]

    def find(self, path: str) -> Facts | None:
        """One entry of `actors`, by its path."""
        if path == self._root.path:
            return _root(self._root, _Now())
        found = (_snapshot(child, over, _Now()) for over, child in descendants(self._root) if child.path == path)
        return next(found, None)

    def running(self) -> tuple[int, int]:
        """(running, expected) numbers of actors and services; supervisors do not count.

        Who has ended in good order and is not started again, as a service that runs once, is not expected to run.
        """
        leaves = [child for child in _expected(self._root) if child.kind != "supervisor"]
        return sum(child.status == "running" for child in leaves), len(leaves)

    def breakers(self) -> list[Facts]:
        """The circuit breakers: those that remember a failure, and for an actor without one it itself, as closed.

        Path of the `actor`, `name` of the breaker, `state` (as `BreakerState`), `failures` in a row, `opened_at`
        (RFC 3339, UTC) and `retry_in_s`, seconds until the probe; None while it is closed.
        """
        now = _Now()
        found: list[Facts] = []
        for cell in cells(self._root):
            if cell.breakers.spec is not None:
                shown = _breakers(cell, now)
                found += [{"actor": cell.path, **one} for one in shown or [_closed(cell.path)]]
        return found


def _expected(supervisor: Supervisor) -> Iterator[Child]:
    """Every child below that is to run."""
    for child in tuple(supervisor.children):
        if not supervisor.is_done(child):
            yield child
            for below in supervisors_of(child):
                yield from _expected(below)


class _Now:
    """One moment by the loop's clock and by the wall's."""

    def __init__(self) -> None:
        self.loop = clock_of(asyncio.get_running_loop())()
        self._wall = datetime.now(UTC)

    def ago(self, at: float | None) -> float | None:
        """Seconds since then."""
        return None if at is None else round(self.loop - at, 3)

    def wall(self, at: float) -> str:
        """A loop time as RFC 3339 in UTC."""
        moment = self._wall - timedelta(seconds=self.loop - at)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_WITHOUT_MAIL: Facts = {
    "mailbox": {"depth": 0, "capacity": 0, "overflow": None, "dropped": 0, "oldest_age_s": 0.0, "keys": None},
    "durable": None,
    "handled": 0,
    "failed": 0,
    "expired": 0,
    "buried": 0,
    "rate_per_s": 0.0,
    "latency_ms": Stats().latency_ms(),
    "wait_ms": Stats().wait_ms(),
    "breakers": [],
    "waiting_on": [],
    "handling": None,
}


def _root(supervisor: Supervisor, now: _Now) -> Facts:
    facts = {"path": supervisor.path, "kind": "supervisor", "status": supervisor.status, "incarnation": 1}
    facts |= {"restarts": 0, "restart_history": [], "last_error": None}
    return facts | {"intensity": _budget(supervisor.intensity, supervisor.spec.backoff, now)} | _WITHOUT_MAIL


def _snapshot(child: Child, supervisor: Supervisor, now: _Now) -> Facts:
    process = child.process
    common = {
        "path": child.path,
        "kind": child.kind,
        "status": child.status,
        "incarnation": child.generation,
        "restarts": child.restarts,
        "restart_history": _history(child.history, None, now),
        "last_error": child.last_error,
        "intensity": _budget(supervisor.intensity, supervisor.spec.backoff, now),
    }
    if isinstance(process, Supervisor):
        common["intensity"] = _budget(process.intensity, process.spec.backoff, now)
    if isinstance(process, Cell):
        return common | _cell(process, child, now)
    return common | _WITHOUT_MAIL


def _cell(cell: Cell, child: Child, now: _Now) -> Facts:
    stats = cell.stats
    facts = {
        "status": "suspended" if cell.suspended and child.status == "running" else child.status,
        "restarts": child.restarts + stats.restarts,
        "restart_history": _history(child.history, stats.history, now),
        "last_error": child.last_error if child.crashed_at >= stats.last_failure_at else stats.last_failure,
        "mailbox": _mailbox(cell, now),
        "durable": _backlog(cell, now),
        "handled": stats.handled,
        "failed": stats.failed,
        "expired": stats.expired,
        "buried": stats.buried,
        "rate_per_s": stats.rate_per_s(now.loop),
        "latency_ms": stats.latency_ms(),
        "wait_ms": stats.wait_ms(),
        "breakers": _breakers(cell, now),
        "waiting_on": [
            {"key": entity.key, "on": asked.name_of(key)}
            for entity in cell.entities.values()
            for asked, key in (*entity.awaited(), *([] if entity.full is None else [(entity.full, None)]))
        ],
        "handling": _handling(cell, now),
    }
    if cell.spec.key is not None:  # it supervises its instances itself
        facts["intensity"] = _budget(cell.intensity, cell.supervisor.spec.backoff, now)
    return facts


def _mailbox(cell: Cell, now: _Now) -> Facts:
    lines = [line for entity in cell.entities.values() for line in (entity.mail, entity.stashed) if line]
    heads = [line[0].enqueued_at for line in lines]
    return {
        "depth": cell.depth,
        "capacity": cell.spec.capacity,
        "overflow": cell.spec.overflow.value,
        "dropped": cell.stats.dropped,
        "oldest_age_s": now.ago(min(heads)) if heads else 0.0,
        "keys": len(cell.entities) if cell.spec.key else None,
    }


def _backlog(cell: Cell, now: _Now) -> Facts | None:
    if cell.log is None:
        return None
    oldest_age_s = round(cell.log.oldest_age_s(now.loop), 3)
    return {"pending": cell.log.pending, "dead": cell.log.dead, "oldest_age_s": oldest_age_s}


def _handling(cell: Cell, now: _Now) -> Facts | None:
    """The message that has been handled longest; keyed instances handle several at once."""
    longest = min(cell.busy(), key=lambda one: now.loop if one.since is None else one.since, default=None)
    if longest is None or longest.in_hand is None:
        return None
    return {
        "message": describe(longest.in_hand.message),
        "key": longest.key,
        "elapsed_s": now.ago(longest.since),
    }


def _budget(intensity: Intensity, backoff: Backoff, now: _Now) -> Facts:
    """Restarts that were counted, of how many, within how long; and the pause before the next one. `text` says it."""
    recent = intensity.recent(now.loop)
    next_s = backoff.nominal_s(recent + 1)
    return {
        "restarts": recent,
        "allowed": intensity.intensity,
        "period_s": intensity.period_s,
        "next_backoff_s": next_s,
        "text": f"{recent} of {intensity.intensity} in {intensity.period_s:g} s, next backoff {next_s:g} s",
    }


def _history(child: History | None, instances: History | None, now: _Now) -> list[Facts]:
    """The last restarts, the newest first; also of two within one tick of the clock."""
    newest_first = chain(reversed(child or ()), reversed(instances or ()))
    restarts = sorted(newest_first, key=lambda one: one.at, reverse=True)
    return [
        {"at": now.wall(one.at), "cause": one.cause, "message": one.message, "key": one.key}
        for one in restarts[:REMEMBERED]
    ]


def _breakers(cell: Cell, now: _Now) -> list[Facts]:
    cell.breakers.forget_outdated(now.loop)
    return [_breaker(breaker, now) for breaker in cell.breakers.by_key.values()]


def _breaker(breaker: Breaker, now: _Now) -> Facts:
    retry_in_s = breaker.retry_in_s(now.loop)
    return {
        "name": breaker.name,
        "state": breaker.state.value,
        "failures": breaker.failures,
        "opened_at": None if breaker.opened_at is None else now.wall(breaker.opened_at),
        "retry_in_s": None if retry_in_s is None else round(retry_in_s, 3),
    }


def _closed(name: str) -> Facts:
    return {"name": name, "state": BreakerState.CLOSED.value, "failures": 0, "opened_at": None, "retry_in_s": None}
