"""Which messages an actor handles, read from how it is declared: `class Hub(Actor[PushEvents | Terminated])`."""

import sys
from collections.abc import Mapping
from types import SimpleNamespace, UnionType, get_original_bases
from typing import Annotated, Any, TypeAliasType, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict
from weakref import WeakKeyDictionary

from trendedge.runtime.actor import Actor

_PROMOTED: dict[type, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}
"""What a type checker lets pass for a type though it is no subclass of it."""

_known: WeakKeyDictionary[type, tuple[type, ...] | None] = WeakKeyDictionary()


def accepted_types(actor: Actor[Any]) -> tuple[type, ...] | None:
    """The classes whose instances `receive` takes; None where the declaration does not say, and anything is taken."""
    known = type(actor)
    if known not in _known:
        _known[known] = _declared(known, {})
    return _known[known]


def _declared(actor: type[Actor[Any]], arguments: Mapping[Any, Any]) -> tuple[type, ...] | None:
    """What stands for the `M` of `Actor[M]` above a class whose own type parameters stand for `arguments`."""
    for base in get_original_bases(actor):
        origin = get_origin(base) or base
        if not (isinstance(origin, type) and issubclass(origin, Actor)):
            continue
        given = [_substituted(_resolved(one, actor), arguments) for one in get_args(base)]
        if origin is Actor:
            found = _classes(given[0]) if given else None
        else:
            parameters = getattr(origin, "__parameters__", ())
            counted = len(parameters) == len(given)  # else nobody knows which stands for which
            found = _declared(origin, dict(zip(parameters, given, strict=True)) if counted else {})
        if found is not None:
            return found
    return None


def _resolved(declared: Any, where: Any) -> Any:
    """With names for what was written in quotes, as a type that is declared further below; as they are known by now
    in the module of the class or alias in which that is written. What is known nowhere there stays as it is; so does
    all that is written within a function or another class, whose names may be others than the module's.
    """
    module = sys.modules.get(where.__module__)
    known: Any = vars(module).get(where.__name__) if module else None
    if known is not where:
        return declared
    names = {one.__name__: one for one in (*where.__type_params__, where)}
    try:
        written = SimpleNamespace(__annotations__={"message": declared})
        return get_type_hints(written, vars(module) if module else {}, names, include_extras=True)["message"]
    except (NameError, AttributeError, SyntaxError, TypeError):
        return declared


def _substituted(declared: Any, arguments: Mapping[Any, Any]) -> Any:
    if isinstance(declared, TypeVar):
        return arguments.get(declared, declared)
    parameters = () if isinstance(declared, type) else getattr(declared, "__parameters__", ())
    if not parameters:
        return declared
    try:
        return declared[tuple(arguments.get(one, one) for one in parameters)]
    except TypeError:
        return Any  # a parameter that stands for any number of types


def _classes(declared: Any) -> tuple[type, ...] | None:
    alias = get_origin(declared) or declared
    if isinstance(alias, TypeAliasType):
        arguments = dict(zip(alias.__type_params__, get_args(declared), strict=False))
        try:
            return _classes(_substituted(_resolved(alias.__value__, alias), arguments))
        except NameError:  # it is made when it is asked for, of names that only a type checker knows
            return None
    if get_origin(declared) is Annotated:
        return _classes(get_args(declared)[0])
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
    if is_typeddict(plain):
        return (dict,)
    if plain is Any or not isinstance(plain, type) or getattr(plain, "_is_protocol", False):
        return None  # a type variable, a protocol: nothing to hold a message against
    return _PROMOTED.get(plain, (plain,))
