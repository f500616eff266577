"""The addresses of the actors in trees of specs: one actor to each."""

from collections.abc import Iterable, Iterator
from typing import Any

from trendedge.runtime.errors import DuplicateRef
from trendedge.runtime.ref import ActorRef, DurableRef
from trendedge.runtime.specs import ChildSpec, Spec, SupervisorSpec

type Way = tuple[str, ...]
"""Path of the root, and then the ids down to an actor."""


def check_refs(path: str, specs: Iterable[Spec]) -> None:
    """Raise `DuplicateRef` when two actors in the trees of these specs, below `path`, have one address."""
    taken: dict[ActorRef[Any] | DurableRef[Any], Way] = {}
    for way, ref in _refs(specs, (path,)):
        if taken.setdefault(ref, way) is not way:
            raise DuplicateRef("/".join(way), ref.name, "/".join(taken[ref]))


def check_refs_beside(path: str, spec: Spec, there: Iterable[Spec]) -> None:
    """Raise `DuplicateRef` when a spec, added below `path`, has an address twice, or one of those who are there."""
    others = {ref: way for way, ref in _refs([spec], (path,))}
    if not others:
        return
    check_refs(path, [spec])
    # A plain child first: there may be thousands, and looking up its ref costs next to nothing.
    same = [one for one in there if not isinstance(one, ChildSpec) or one.ref in others]
    for way, ref in _refs(same, (path,)):
        if ref in others:
            raise DuplicateRef("/".join(others[ref]), ref.name, "/".join(way))


def _refs(specs: Iterable[Spec], above: Way) -> Iterator[tuple[Way, ActorRef[Any] | DurableRef[Any]]]:
    for spec in specs:
        if isinstance(spec, SupervisorSpec):
            yield from _refs(spec.children, (*above, spec.id))
        elif isinstance(spec, ChildSpec):
            yield (*above, spec.id), spec.ref
