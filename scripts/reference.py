"""Write docs/reference/runtime.md from the docstrings of the runtime's public names.

`python scripts/reference.py` writes it; a test compares it with what this would write.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import pathlib
import re
from typing import TYPE_CHECKING

import trendedge.runtime as runtime
import trendedge.runtime.simulation as simulation

if TYPE_CHECKING:
    from types import ModuleType

TARGET = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reference" / "runtime.md"

HEAD = """# The runtime's public names

All of them are imported from `trendedge.runtime`. Times are seconds, of the event loop's clock where they are moments.
What they promise together is in [the explanation](../explanation/runtime.md). This page is written from the docstrings
by `python scripts/reference.py`.
"""


SIMULATION = """# Simulation

Imported from `trendedge.runtime.simulation`, by tests. How `Actors` is used is shown in
[Test an actor](../how-to/test-an-actor.md).
"""


def reference() -> str:
    """The page's text."""
    return "\n".join([HEAD, *_entries(runtime), SIMULATION, *_entries(simulation)])


def _entries(module: ModuleType) -> list[str]:
    return [_entry(name, getattr(module, name)) for name in sorted(module.__all__)]


def _entry(name: str, item: object) -> str:
    lines = [f"## {name}", "", _text(item), ""]
    if isinstance(item, type) and issubclass(item, enum.Enum):
        lines += [f"- `{member.name}` = `{member.value!r}`{_note(item, member.name)}" for member in item]
    elif dataclasses.is_dataclass(item) and isinstance(item, type):
        lines += [*(_field(item, field) for field in dataclasses.fields(item)), ""]
    if isinstance(item, type) and not issubclass(item, enum.Enum | BaseException):
        lines += _methods(item)
    return "\n".join(lines).rstrip() + "\n"


def _text(item: object) -> str:
    return _markdown(inspect.getdoc(item) or "")


def _markdown(text: str) -> str:
    """A docstring's field list as a Markdown list."""
    body, *fields = re.split(r"\n?^:(?=param |raises )", text, flags=re.MULTILINE)
    listed = []
    for field in fields:
        head, _, rest = field.partition(":")
        kind, _, name = head.partition(" ")
        said = " ".join(rest.split())
        listed.append(f"- `{name}`: {said}" if kind == "param" else f"- raises `{name}`: {said}")
    return "\n\n".join(filter(None, (body.strip(), "\n".join(listed))))


def _field(owner: type, field: dataclasses.Field[object]) -> str:
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    default = "" if required or field.default is dataclasses.MISSING else f" = `{_value(field.default)}`"
    return f"- `{field.name}`{default}{_note(owner, field.name)}"


def _value(value: object) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__name__)).rpartition(".")[2]
    return repr(value)


def _note(owner: type, attribute: str) -> str:
    """The string below an attribute in the source, which Python itself does not keep."""
    source = inspect.getsource(owner)
    found = re.search(rf'^    {attribute}\b[^\n]*\n    """(.*?)"""', source, flags=re.MULTILINE | re.DOTALL)
    return ": " + " ".join(found[1].split()) if found else ""


def _methods(owner: type) -> list[str]:
    lines = []
    for name, member in vars(owner).items():
        function = inspect.unwrap(member.fget) if isinstance(member, property) else member
        if (name.startswith("_") and name != "__init__") or not inspect.isfunction(function) or not function.__doc__:
            continue
        kind = "" if isinstance(member, property) else _signature(function)
        called = owner.__name__ if name == "__init__" else f"{owner.__name__}.{name}"
        lines += [f"### {called}{kind}", "", _text(function), ""]
    return lines


def _signature(function: object) -> str:
    parameters = list(inspect.signature(function).parameters.values())[1:]  # type: ignore[arg-type]
    shown, starred = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        shown.append(one.name if one.default is one.empty else f"{one.name}={_value(one.default)}")
    return f"({', '.join(shown)})"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference())
