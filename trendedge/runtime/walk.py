"""The way through a running tree, spawned children included."""

from collections.abc import Iterator

from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child
from trendedge.runtime.supervisor import Supervisor


def supervisors_of(child: Child) -> list[Supervisor]:
    """The supervisors right below a child: itself, or those of what its instances have spawned."""
    if isinstance(child.process, Supervisor):
        return [child.process]
    if isinstance(child.process, Cell):
        return [one.children for one in tuple(child.process.entities.values()) if one.children is not None]
    return []


def descendants(supervisor: Supervisor) -> Iterator[tuple[Supervisor, Child]]:
    """Every child below, with its supervisor; parents before their children."""
    for child in tuple(supervisor.children):
        yield supervisor, child
        for below in supervisors_of(child):
            yield from descendants(below)
