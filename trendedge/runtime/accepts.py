"""Which messages an actor handles, read from how it is declared: `class Hub(Actor[PushEvents | Terminated])`."""

from types import UnionType
from typing import Any, TypeAliasType, Union, get_args, get_origin
from weakref import WeakKeyDictionary

from trendedge.runtime.actor import Actor

_PROMOTED: dict[type, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}
"""What a type checker lets pass for a type though it is no subclass of it."""

_known: WeakKeyDictionary[type, tuple[type, ...] | None] = WeakKeyDictionary()


def accepted_types(actor: Actor[Any]) -> tuple[type, ...] | None:
    """The classes whose instances `receive` takes; None where the declaration does not say, and anything is taken."""
    known = type(actor)
    if known not in _known:
        _known[known] = _declared(known)
    return _known[known]


def _declared(actor: type) -> tuple[type, ...] | None:
    for base in actor.__mro__:
        for declared in vars(base).get("__orig_bases__", ()):
            origin = get_origin(declared)
            if isinstance(origin, type) and issubclass(origin, Actor):
                return _classes(get_args(declared)[0])
    return None


def _classes(declared: Any) -> tuple[type, ...] | None:
    if isinstance(declared, TypeAliasType):
        return _classes(declared.__value__)
    if get_origin(declared) in (Union, UnionType):
        members = [_classes(member) for member in get_args(declared)]
        found: list[type] = []
        for member in members:
            if member is None:
                return None
            found += member
        return tuple(found)
    if declared is None:
        return (type(None),)
    plain = get_origin(declared) or declared
    if plain is Any or not isinstance(plain, type) or getattr(plain, "_is_protocol", False):
        return None  # a type variable, a protocol: nothing to hold a message against
    return _PROMOTED.get(plain, (plain,))
