"""Who waits on whom: asks and spawns under way, and the circles among them that could never be answered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from trendedge.runtime.errors import AskCycle

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.entity import Entity

type Target = tuple["Cell", str | None]

current_entity: ContextVar["Entity | None"] = ContextVar("current_entity", default=None)
"""The instance whose code is running. Tasks that it starts inherit it; they do not hold up its mailbox, though."""


def asking_entity() -> "Entity | None":
    """Whose mailbox is held up while the running code waits: an ask of a task beside the handler holds up nobody's."""
    asker = current_entity.get()
    return asker if asker is not None and asker.task is asyncio.current_task() else None


@contextmanager
def asking(asker: "Entity", cell: "Cell", key: str | None) -> Iterator[None]:
    """Around an ask: remember that the asker waits for the instance of `key` in `cell`.

    :raises AskCycle: that instance waits for the asker already
    """
    cycle = _way_back(asker, (cell, key))
    if cycle is not None:
        raise AskCycle((asker.name, *cycle))
    target: Target = (cell, key)
    asker.asks.append(target)
    try:
        yield
    finally:
        asker.asks.remove(target)


def _way_back(asker: "Entity", target: Target) -> tuple[str, ...] | None:
    """Names from the target to the asker, or None when no chain of waits leads there."""
    entity = target[0].entities.get(target[1])
    if entity is None:
        return None  # nobody there yet: it will begin with no ask under way
    if entity is asker:
        return (asker.name,)
    for further in entity.awaited():
        way = _way_back(asker, further)
        if way is not None:
            return (entity.name, *way)
    return None
