"""Who waits on whom: asks, spawns, ends of children and full mailboxes, and the circles that could never go on."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from trendedge.runtime.errors import AskCycle, TellCycle

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.entity import Entity

type Target = tuple["Cell", str | None]
type Ask = tuple["Cell", str | None, asyncio.Future[Any]]
"""Whom an ask waits for, and the reply. When that is there the asker waits no longer, though it may not yet know."""
type Place = tuple["Cell", asyncio.Future[None]]
"""In whose mailbox a sender waits for room, and what lets it in."""
type Node = "Entity | Cell"
"""An instance that goes on when all that it waits for does. For a cell, that there is room in its mailbox: one has to
go on of the instances whose mail lies there."""

current_entity: ContextVar["Entity | None"] = ContextVar("current_entity", default=None)
"""The instance whose code is running. Tasks that it starts inherit it; they do not hold up its mailbox, though."""


def asking_entity() -> "Entity | None":
    """Whose mailbox is held up while the running code waits: an ask of a task beside the handler holds up nobody's."""
    asker = current_entity.get()
    return asker if asker is not None and asker.task is asyncio.current_task() else None


def is_running(task: asyncio.Task[Any] | None) -> bool:
    """Whether it is this task's code that runs right now. What closes its coroutine does not run in it."""
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:
        return False  # no event loop runs any more


def refuse_ask_in_circle(asker: "Entity", cell: "Cell", key: str | None) -> None:
    """Raise `AskCycle` when the instance of `key` in `cell` only goes on after the asker."""
    asked = cell.entities.get(key)
    if asked is None or (asked is not asker and not asked.waits_for_others):
        return  # the usual case
    if circle := _Search(asker).circle(asked):
        raise AskCycle((asker.name, *circle))


def refuse_tell_in_circle(sender: "Entity", cell: "Cell") -> None:
    """Raise `TellCycle` when nobody makes room in `cell` before the sender goes on."""
    if circle := _Search(sender).circle(cell):
        raise _tell_cycle(sender, cell, circle)


def find_late_circle(cell: "Cell", senders: Iterable["Entity"]) -> tuple[asyncio.Future[None], TellCycle] | None:
    """Of senders that wait for room in `cell`, what lets in the first for whom all wait by now who could make room."""
    search = _Search()
    if search.goes_on(cell):
        return None
    for sender in senders:
        way = search.way(cell, sender)
        if way is not None and sender.place is not None:
            return sender.place[1], _tell_cycle(sender, cell, way)
    return None


def break_circles(ending: Iterable["Cell"]) -> None:
    """Somebody waits for the end of these. Refuse those of their waits that would come to an end only after that."""
    for entity in [one for cell in ending for one in cell.entities.values()]:
        for awaited, error in _waits_in_circles(entity):
            if not awaited.done():
                awaited.set_exception(error)


def _waits_in_circles(entity: "Entity") -> Iterator[tuple[asyncio.Future[Any], AskCycle | TellCycle]]:
    full, place = entity.full, entity.place
    for cell, key, reply in entity.asks:
        asked = None if reply.done() else cell.entities.get(key)
        if asked is not None and (circle := _Search(entity).circle(asked)):
            # One that waits for room has not asked yet, and does not look at the reply.
            yield reply if full is None or place is None else place[1], AskCycle((entity.name, *circle))
    if full is not None and place is not None and (circle := _Search(entity).circle(full)):
        yield place[1], _tell_cycle(entity, full, circle)


def _tell_cycle(sender: "Entity", cell: "Cell", way: tuple[str, ...]) -> TellCycle:
    return TellCycle(cell.path, cell.spec.capacity, (sender.name, *way))


class _Search:
    """Finds out who can go on, no further than that has to be known: one that waits for nobody ends the search for all
    who wait for it alone. Each instance and each mailbox is looked at once, so a full one of many keys costs little.
    """

    def __init__(self, held: "Entity | None" = None) -> None:
        """:param held: who does not go on, though it waits for nobody yet"""
        self._held = held
        self._lacks: dict[Node, int] = {}
        """How many have still to go on before this one does, of those who were looked at."""
        self._waiting: dict[Node, list[Node]] = {}
        """Who waits for this one, which cannot go on yet."""

    def circle(self, first: Node) -> tuple[str, ...] | None:
        """Names from the first to the one that is held, when the first only goes on after that."""
        return None if self._held is None or self.goes_on(first) else self.way(first, self._held)

    def goes_on(self, first: Node) -> bool:
        """Whether an instance goes on, or somebody makes room in a mailbox."""
        ways = [(first, self._look_at(first))]  # no recursion: a chain of asks may be long
        while ways:
            node, awaited = ways[-1]
            after = next(awaited, None) if self._lacks[node] else None
            if after is None:
                ways.pop()
                continue
            if after not in self._lacks:
                ways.append((after, self._look_at(after)))
            if self._lacks[after]:
                self._waiting.setdefault(after, []).append(node)
            else:
                self._lacks_one_less(node)
        return not self._lacks[first]

    def _look_at(self, node: Node) -> Iterator[Node]:
        lacks, awaited = (1, iter(())) if node is self._held else node.held_up_by()
        self._lacks[node] = lacks
        return awaited

    def _lacks_one_less(self, node: Node) -> None:
        nodes = [node]
        while nodes:
            one = nodes.pop()
            if self._lacks[one]:
                self._lacks[one] -= 1
                if not self._lacks[one]:
                    nodes += self._waiting.pop(one, ())

    def way(self, first: Node, last: "Entity") -> tuple[str, ...] | None:
        """Names of the instances on the shortest way from one that cannot go on to one for whom it waits; None when it
        does not wait for that one.
        """
        ways: deque[tuple[Node, tuple[str, ...]]] = deque([(last, ())])
        seen: set[Node] = set()
        while ways:
            node, way = ways.popleft()
            if node not in seen:
                seen.add(node)
                way = (*node.names, *way)
                if node is first:
                    return way
                ways.extend((one, way) for one in self._waiting.get(node, ()))
        return None
