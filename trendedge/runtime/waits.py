"""Who waits on whom: asks and spawns under way, and the circles among them that could never be answered."""

import asyncio
from collections import deque
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
    asked_first = cell.entities.get(key)
    cycle = None if asked_first is None else _cycle(asker, [asked_first])
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
    cycle = _cycle(sender, _in_line(cell))
    if cycle is not None:
        raise TellCycle(cell.path, cell.spec.capacity, (sender.name, *cycle))
    sender.room = cell
    try:
        yield
    finally:
        sender.room = None


def _cycle(asker: "Entity", group: list["Entity"]) -> tuple[str, ...] | None:
    """Names from the group to the asker, when none of the group can go on before the asker does."""
    if all(one is not asker and one.room is None and not any(one.awaited()) for one in group):
        return None  # the usual case
    stuck = _stuck(asker, group)
    return _way(asker, group, stuck) if group and stuck.issuperset(group) else None


def _stuck(asker: "Entity", group: list["Entity"]) -> set["Entity"]:
    """Of all for whom somebody in the group waits, over however many others, those who only go on after the asker."""
    stuck, found = {asker}, list(group)
    while found:
        entity = found.pop()
        if entity not in stuck:
            stuck.add(entity)
            found += [one for awaited in _awaited(entity) for one in awaited]
    while free := {one for one in stuck if one is not asker and not any(map(stuck.issuperset, _awaited(one)))}:
        stuck -= free
    return stuck


def _awaited(entity: "Entity") -> Iterator[list["Entity"]]:
    """Groups of whom one has to go on before this one does: of an ask it is one, of a full mailbox all with mail."""
    if entity.room is not None:
        yield _in_line(entity.room)
    for cell, key in entity.awaited():
        if key in cell.entities:  # who is not there yet will begin with no wait under way
            yield [cell.entities[key]]


def _in_line(cell: "Cell") -> list["Entity"]:
    return [one for one in cell.entities.values() if one.mail]


def _way(asker: "Entity", group: list["Entity"], stuck: set["Entity"]) -> tuple[str, ...]:
    """The shortest way."""
    ways: deque[tuple[Entity, tuple[str, ...]]] = deque((one, (one.name,)) for one in group)
    seen: set[Entity] = set()
    while ways:
        entity, way = ways.popleft()
        if entity is asker:
            return way
        if entity not in seen:
            seen.add(entity)
            further = [one for awaited in _awaited(entity) for one in awaited if one in stuck]
            ways.extend((one, (*way, one.name)) for one in further)
    return (asker.name,)
