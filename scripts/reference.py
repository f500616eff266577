"""Write docs/reference/runtime.md from the source of the runtime's public names: signatures, attributes, docstrings.

`python scripts/reference.py` writes it; a test compares it with what this would write. On the page is what `__all__`
names, with its public attributes and those public methods that have a docstring, unless `INTERNAL` names them.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import pathlib
import re
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import trendedge.runtime as runtime
import trendedge.runtime.simulation as simulation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from typing_extensions import TypeIs

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "reference" / "runtime.md"
EXAMPLE = ROOT / "tests" / "runtime" / "example.py"
WIDTH = 100

INTERNAL = frozenset(
    re.findall(
        r"\S+",
        """
    ActorRef.bind ActorRef.bound ActorRef.cell DurableRef.bind DurableRef.bound DurableRef.cell
    Context() Context.announcements Context.close Context.ended Context.expects_mail Context.stashing
    Context.has_piped Context.pipe_ended Context.pipes_ended Context.take_announcements Context.unstashing
    Job() Job.end Job.run Job.stop Job.work
    Lanes.close Lanes.drain Lanes.open LoopLag.record
    Schedules.close Schedules.keep_saving Schedules.look_at_the_clock Schedules.open Schedules.save
    Supervisor(former) Supervisor(on_given_up) Supervisor(parent) Supervisor(path) Supervisor(tree) Supervisor.begin
    Supervisor.beside Supervisor.children Supervisor.close Supervisor.culprit Supervisor.ending
    Supervisor.given_up_at_the_stop Supervisor.intensity Supervisor.is_cancelled Supervisor.is_done Supervisor.lose
    Supervisor.members Supervisor.missed Supervisor.nursery Supervisor.on_given_up Supervisor.pause
    Supervisor.foster Supervisor.release_address Supervisor.restart Supervisor.runs
    Supervisor.stop_all Supervisor.stops Supervisor.terminate Supervisor.tree Supervisor.unready
    Timer() Timer.arm
    Actors.drive FaultyWire.failed
    MemoryServer.adopt MemoryServer.append MemoryServer.bury MemoryServer.count MemoryServer.mark
    MemoryServer.dead_letters MemoryServer.join MemoryServer.look MemoryServer.owned MemoryServer.read
    MemoryServer.release MemoryServer.renew MemoryServer.replay MemoryServer.settle MemoryServer.uncount
    Probe() Started() StartedDurable()
    SimulatedLoop.call_soon_threadsafe SimulatedLoop.create_task SimulatedLoop.outside SimulatedLoop.put_back
    SimulatedLoop.tasks SimulatedLoop.trace SimulatedLoop.unfinished
    SimulatedProcess() SimulatedProcess.dies_at_step SimulatedProcess.may_step
        """,
    )
)
"""What only the runtime itself calls: members as `Class.member`, constructors as `Class()`, and parameters of
constructors as `Class(parameter)`."""

HEAD = """# The runtime's public names

All of them are imported from `trendedge.runtime`. Times are seconds, of the event loop's clock where they are moments.
What they promise together is in [the explanation](../explanation/runtime.md). This page is written from the source by
`python scripts/reference.py`, and a test runs this example:

```python
{example}```
"""

SIMULATION = """# Simulation

Imported from `trendedge.runtime.simulation`, by tests. How `Actors` is used is shown in
[Test an actor](../how-to/test-an-actor.md).
"""

type Function = ast.FunctionDef | ast.AsyncFunctionDef


def reference() -> str:
    """The page's text."""
    head = HEAD.format(example=EXAMPLE.read_text())
    return "\n".join([head, *_entries(runtime), SIMULATION, *_entries(simulation)])


def _entries(module: ModuleType) -> list[str]:
    return [_entry(name, getattr(module, name)) for name in sorted(module.__all__)]


def _entry(name: str, item: Any) -> str:
    module = inspect.unwrap(item).__module__ if not isinstance(item, type) else item.__module__
    [node] = [one for one in _tree(module).body if getattr(one, "name", None) == name]
    if isinstance(node, ast.ClassDef):
        shown = _class(item, node)
    else:
        shown = [f"## {name}", _code(_signature(cast("Function", node))), _markdown(inspect.getdoc(item) or "")]
    return "\n\n".join(filter(None, shown)) + "\n"


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


# -- classes ----------------------------------------------------------------------------------------------------


def _class(item: type, node: ast.ClassDef) -> list[str]:
    name, bodies = node.name, [*_private_bases(item), node]
    bases = [ast.unparse(base) for base in node.bases]
    public = [base for base in bases if not base.startswith("_") and base not in ("Enum", "ABC")]
    declared = f"class {name}{_type_parameters(node)}" + (f"({', '.join(public)})" if public else "")
    shown = [f"## {name}"]
    if issubclass(item, enum.Enum):
        members = [f"- `{one.name}` = `{one.value!r}`{_colon(_notes(node).get(one.name))}" for one in item]
        return [*shown, _code(declared), _markdown(_doc(node)), "\n".join(members)]
    made, given = _constructor(node, bodies)
    shown += [
        _code("\n".join(filter(None, (declared, made)))),
        _markdown(f"{_doc(node)}\n{given}"),
        _attributes(bodies),
    ]
    for body in bodies:
        shown += _methods(name, body)
    return shown


def _private_bases(item: type) -> list[ast.ClassDef]:
    """What is inherited from a base that is not on the page is on it as the class's own."""
    bases = [base for base in item.__mro__[1:] if base.__name__.startswith("_") and "trendedge" in base.__module__]
    found = [one for base in bases for one in _tree(base.__module__).body if getattr(one, "name", "") == base.__name__]
    return cast("list[ast.ClassDef]", found)


def _constructor(node: ast.ClassDef, bodies: list[ast.ClassDef]) -> tuple[str, str]:
    """How it is called, and what its docstring says of the parameters."""
    if f"{node.name}()" in INTERNAL:
        return "", ""
    for decorator in map(ast.unparse, node.decorator_list):
        if decorator.startswith("dataclass"):
            declared = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            fields = [_field(one) for one in declared if not ast.unparse(one.target).startswith("_")]
            return _call(node.name, (["*"] if "kw_only" in decorator else []) + fields), ""
    for function in (_function(body, "__init__") for body in reversed(bodies)):
        if function is not None:
            hidden = [one.removeprefix(f"{node.name}(")[:-1] for one in INTERNAL if one.startswith(f"{node.name}(")]
            documented = re.split(r"^(?=:)", _doc(function), flags=re.MULTILINE)
            given = [one for one in documented if not any(one.startswith(f":param {name}:") for name in hidden)]
            return _call(node.name, _parameters(function, hidden)), "\n" + "".join(given)
    return "", ""


def _field(node: ast.AnnAssign) -> str:
    default = node.value
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        option = next(one for one in default.keywords if one.arg in ("default", "default_factory"))
        made = isinstance(option.value, ast.Name) and option.arg == "default_factory"
        told = option.value if option.arg == "default" else ast.Constant(...)
        default = ast.Call(option.value, [], []) if made else told
    return f"{ast.unparse(node.target)}: {_annotation(node.annotation)}" + (_default(default) if default else "")


def _attributes(bodies: list[ast.ClassDef]) -> str:
    owner, plain, noted = bodies[-1].name, [], []
    for body in bodies:
        is_data = any(ast.unparse(one).startswith("dataclass") for one in body.decorator_list)
        notes = _notes(body)
        for name, kind in _assigned(body):
            if name.startswith("_") or f"{owner}.{name}" in INTERNAL:
                continue
            if name in notes:
                noted.append(f"- `{name}{'' if is_data else kind}`: {notes[name]}")
            elif not is_data:
                plain.append(f"`{name}{kind}`")
        for function in body.body:
            if _is_property(function) and not function.name.startswith("_") and _doc(function):
                kind = f": {_annotation(function.returns)}" if function.returns else ""
                if f"{owner}.{function.name}" not in INTERNAL:
                    noted.append(f"- `{function.name}{kind}`: {' '.join(_doc(function).split())}")
    listed = f"Attributes: {', '.join(plain)}" if plain else ""
    return "\n\n".join(filter(None, (listed, "\n".join(noted))))


def _assigned(body: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Names of attributes, with `: type` as far as the source says it."""
    init = _function(body, "__init__")
    types = {} if init is None else {one.arg: one.annotation for one in (*init.args.args, *init.args.kwonlyargs)}
    for statement in [*body.body, *(init.body if init else ())]:
        if isinstance(statement, ast.AnnAssign):
            name = ast.unparse(statement.target).removeprefix("self.")
            yield name, f": {_annotation(statement.annotation)}"
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                pairs = [(target, statement.value)]
                if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                    pairs = list(zip(target.elts, statement.value.elts, strict=True))
                for one, value in pairs:
                    if isinstance(one, ast.Attribute) or statement in body.body:
                        yield ast.unparse(one).removeprefix("self."), _kind(value, types)


def _kind(value: ast.expr, types: dict[str, ast.expr | None]) -> str:
    match value:
        case ast.Name(id) if (annotation := types.get(id)) is not None:
            return f": {_annotation(annotation)}"
        case ast.Constant(constant):
            return f": {type(constant).__name__}"
        case ast.Call(func) if ast.unparse(func).rpartition(".")[2][:1].isupper():
            return f": {ast.unparse(func)}"
    return ""


def _notes(body: ast.ClassDef) -> dict[str, str]:
    """The strings below attributes, which Python itself does not keep."""
    init, found = _function(body, "__init__"), {}
    for block in (body.body, init.body if init else []):
        for pair in pairwise(block):
            match pair:
                case (
                    ast.AnnAssign(target=target) | ast.Assign(targets=[target]),
                    ast.Expr(ast.Constant(str(note))),
                ):
                    found[ast.unparse(target).removeprefix("self.")] = " ".join(note.split())
    return found


def _methods(owner: str, body: ast.ClassDef) -> Iterator[str]:
    overloads: list[str] = []
    for function in body.body:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or _is_property(function):
            continue
        if any(ast.unparse(one) == "overload" for one in function.decorator_list):
            overloads.append(_signature(function, method=True))
        elif not function.name.startswith("_") and _doc(function) and f"{owner}.{function.name}" not in INTERNAL:
            yield f"### {owner}.{function.name}"
            yield _code("\n".join(overloads or [_signature(function, method=True)]))
            yield _markdown(_doc(function))
            overloads = []


def _is_property(node: ast.stmt) -> TypeIs[ast.FunctionDef]:
    decorators = getattr(node, "decorator_list", [])
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "property" for one in decorators)


def _function(body: ast.ClassDef, name: str) -> Function | None:
    return next((one for one in body.body if isinstance(one, ast.FunctionDef) and one.name == name), None)


# -- signatures -------------------------------------------------------------------------------------------------


def _signature(function: Function, *, method: bool = False) -> str:
    kept = [
        one for one in map(ast.unparse, function.decorator_list) if "contextmanager" in one or one == "staticmethod"
    ]
    head = "async def " if isinstance(function, ast.AsyncFunctionDef) else "def "
    returns = f" -> {_annotation(function.returns)}" if function.returns else ""
    called = _call(
        f"{head}{function.name}{_type_parameters(function)}", _parameters(function, first=int(method)), returns
    )
    return "\n".join([*(f"@{one}" for one in kept), called])


def _type_parameters(node: Function | ast.ClassDef) -> str:
    return f"[{', '.join(map(ast.unparse, node.type_params))}]" if node.type_params else ""


def _call(head: str, parameters: list[str], returns: str = "") -> str:
    line = f"{head}({', '.join(parameters)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{head}(", *(f"    {one}," for one in parameters), f"){returns}"])


def _parameters(function: Function, hidden: Sequence[str] = (), *, first: int = 1) -> list[str]:
    """As they are written, without `self`."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    shown = [_parameter(one, default) for one, default in zip(positional, defaults, strict=True)][first:]
    named = [
        _parameter(one, default)
        for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if one.arg not in hidden
    ]
    if given.vararg is not None:
        shown.append("*" + _parameter(given.vararg, None))
    elif named:
        shown.append("*")
    return [*shown, *named, *(["**" + _parameter(given.kwarg, None)] if given.kwarg else [])]


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {_annotation(one.annotation)}" if one.annotation else ""
    return one.arg + annotation + ("" if default is None else _default(default))


def _default(value: ast.expr) -> str:
    return f" = {ast.unparse(_Resolved().visit(value))}"


def _annotation(node: ast.expr) -> str:
    return ast.unparse(_Resolved(annotation=True).visit(node))


class _Resolved(ast.NodeTransformer):
    """Puts what they stand for in the place of constants, of type aliases, and of annotations in quotes."""

    def __init__(self, *, annotation: bool = False) -> None:
        self._annotation = annotation

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in _aliases():
            return cast("ast.expr", self.visit(_aliases()[node.id]))
        value = next((vars(one)[node.id] for one in _modules() if node.id in vars(one)), None)
        return ast.Constant(value) if node.id.isupper() and isinstance(value, int | float) else node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not (self._annotation and isinstance(node.value, str)):
            return node
        return cast("ast.expr", self.visit(ast.parse(node.value, mode="eval").body))


def _modules() -> list[ModuleType]:
    return [module for name, module in sorted(sys.modules.items()) if name.startswith("trendedge.runtime.")]


@cache
def _aliases() -> dict[str, ast.expr]:
    bodies = [one for module in _modules() for one in _tree(module.__name__).body]
    return {one.name.id: one.value for one in bodies if isinstance(one, ast.TypeAlias)}


# -- text -------------------------------------------------------------------------------------------------------


def _doc(node: Function | ast.ClassDef) -> str:
    return ast.get_docstring(node) or ""


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _colon(note: str | None) -> str:
    return f": {note}" if note else ""


def _markdown(text: str) -> str:
    """A docstring's field list as a Markdown list."""
    body, *fields = re.split(r"^\s*:(?=param |raises |returns:)", text, flags=re.MULTILINE)
    listed = []
    for field in fields:
        head, _, rest = field.partition(":")
        kind, _, name = head.partition(" ")
        named = {"param": f"`{name}`", "raises": f"raises `{name}`", "returns": "returns"}[kind]
        listed.append(f"- {named}: {' '.join(rest.split())}")
    return "\n\n".join(filter(None, (body.strip(), "\n".join(listed))))


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference())
