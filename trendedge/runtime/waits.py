"""Who waits on whom: the asks under way, and the circles among them that could never be answered."""

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


@contextmanager
def asking(cell: "Cell", key: str | None) -> Iterator[None]:
    """Around an ask: remember that the asker waits for the instance of `key` in `cell`.

    Only an ask of the handler itself holds up its mailbox, and counts; one of a task beside it does not.

    :raises AskCycle: that instance waits for the asker already
    """
    asker = current_entity.get()
    if asker is None or asker.task is not asyncio.current_task():
        yield
        return
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
    """Names from the target to the asker, or None when no chain of asks leads there."""
    entity = target[0].entities.get(target[1])
    if entity is None:
        return None  # nobody there yet: it will begin with no ask under way
    if entity is asker:
        return (asker.name,)
    for further in entity.asks:
        way = _way_back(asker, further)
        if way is not None:
            return (entity.name, *way)
    return None
