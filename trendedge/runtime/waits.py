"""Who waits on whom: asks and spawns under way, and the circles among them that could never be answered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from trendedge.runtime.errors import AskCycle, TellCycle

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.entity import Entity

type Target = tuple["Cell", str | None]
type Ask = tuple["Cell", str | None, asyncio.Future[Any]]
"""Whom an ask waits for, and the reply. When that is there the asker waits no longer, though it may not yet know."""

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


@contextmanager
def asking(asker: "Entity", cell: "Cell", key: str | None, reply: asyncio.Future[Any]) -> Iterator[None]:
    """Around an ask: remember that the asker waits for the instance of `key` in `cell`, until there is a reply.

    :raises AskCycle: that instance waits for the asker already
    """
    cycle = _way_back(asker, (cell, key), set())
    if cycle is not None:
        raise AskCycle((asker.name, *cycle))
    asked: Ask = (cell, key, reply)
    asker.asks.append(asked)
    try:
        yield
    finally:
        asker.asks.remove(asked)


@contextmanager
def waiting_for_room(sender: "Entity", cell: "Cell") -> Iterator[None]:
    """Around a wait for room in `cell` that holds up the sender's mailbox.

    :raises TellCycle: all who could make room there wait for the sender already
    """
    cycle = _way_round(sender, cell, set())
    if cycle is not None:
        raise TellCycle(cell.path, cell.spec.capacity, (sender.name, *cycle))
    sender.room = cell
    try:
        yield
    finally:
        sender.room = None


def _way_back(asker: "Entity", target: Target, seen: set["Entity"]) -> tuple[str, ...] | None:
    """Names from the target to the asker, or None when no chain of waits leads there."""
    entity = target[0].entities.get(target[1])
    if entity is None or entity in seen:
        return None  # nobody there yet: it will begin with no ask under way
    if entity is asker:
        return (asker.name,)
    seen.add(entity)
    way = None if entity.room is None else _way_round(asker, entity.room, seen)
    further = iter(() if way is not None else entity.awaited())
    while way is None and (awaited := next(further, None)) is not None:
        way = _way_back(asker, awaited, seen)
    return None if way is None else (entity.name, *way)


def _way_round(asker: "Entity", cell: "Cell", seen: set["Entity"]) -> tuple[str, ...] | None:
    """As `_way_back`, from all in a full mailbox: any of them could make room."""
    found: tuple[str, ...] | None = None
    for key, entity in cell.entities.items():
        if entity.mail:
            found = _way_back(asker, (cell, key), seen)
            if found is None:
                return None
    return found
