"""Ids and addresses in trees of specs: one child to each. They are looked at before anything is made of the specs: what
was made has its address already.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trendedge.runtime.errors import DuplicateChild, DuplicateRef
from trendedge.runtime.ref import ActorRef, DurableRef
from trendedge.runtime.specs import ChildSpec, Spec, SupervisorSpec

type Way = tuple[str, ...]
"""Path of the root, and then the ids down to an actor."""


def check_ids(path: str, specs: Iterable[Spec]) -> None:
    """Raise `DuplicateChild` when two children of one supervisor, the one at `path` or one below, have one id."""
    ids = set[str]()
    for spec in specs:
        if spec.id in ids:
            raise DuplicateChild(f"{path}/{spec.id}")
        ids.add(spec.id)
        if isinstance(spec, SupervisorSpec):
            check_ids(f"{path}/{spec.id}", spec.children)


def check_refs(path: str, specs: Iterable[Spec]) -> None:
    """Raise `DuplicateRef` when two actors in the trees of these specs, below `path`, have one address."""
    taken: dict[ActorRef[Any] | DurableRef[Any], Way] = {}
    for way, ref in _refs(specs, (path,)):
        if taken.setdefault(ref, way) is not way:
            raise DuplicateRef("/".join(way), ref.name, "/".join(taken[ref]))


def check_added_refs(path: str, spec: Spec, tree: object, removed: Sequence[object]) -> None:
    """Raise `DuplicateRef` when a spec, added below `path`, has an address twice, or that of an actor of the tree.

    :param removed: actors that have ended there, who may be followed
    """
    check_refs(path, [spec])
    for way, ref in _refs([spec], (path,)):
        if ref.bound is not None and ref.bound.is_of(tree) and ref.bound not in removed:
            raise DuplicateRef("/".join(way), ref.name, ref.bound.path)


def _refs(specs: Iterable[Spec], above: Way) -> Iterator[tuple[Way, ActorRef[Any] | DurableRef[Any]]]:
    for spec in specs:
        if isinstance(spec, SupervisorSpec):
            yield from _refs(spec.children, (*above, spec.id))
        elif isinstance(spec, ChildSpec):
            yield (*above, spec.id), spec.ref
