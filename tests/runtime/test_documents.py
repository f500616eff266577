"""The runtime's documents: each test that they name exists, and the reference says what the source says."""

import importlib.util
import inspect
import pathlib
import pkgutil
import re
from types import ModuleType
from typing import Any

import anyio
import pytest

import trendedge.runtime
import trendedge.runtime.simulation
from tests.runtime import example
from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_inspection import Worker, obey
from trendedge.runtime import (
    ActorRef,
    BreakerSpec,
    Buried,
    ChildSpec,
    DeadLetter,
    DeadLetters,
    Durability,
    DurableRef,
    Every,
    Inspector,
    Lanes,
    LaneSpec,
    LanesService,
    LoopLag,
    MailboxSpec,
    Schedules,
    ScheduleSpec,
    ServiceSpec,
    SupervisorSpec,
)
from trendedge.runtime.dead_letters import shown

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPLANATION = (ROOT / "docs" / "explanation" / "runtime.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", EXPLANATION)))


def test_the_explanation_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_explanation_names_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), flags=re.MULTILINE)


PAGE = (ROOT / "docs" / "reference" / "runtime.md").read_text()


def reference() -> ModuleType:
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_reference_says_what_the_source_says() -> None:
    script = reference()
    assert script.TARGET.read_text() == script.reference(), "run: python scripts/reference.py"


def test_what_the_reference_leaves_out_is_there_to_be_left_out() -> None:
    for name in reference().INTERNAL:
        owner, _, member = name.replace("(", ".").rstrip(")").partition(".")
        item = getattr(trendedge.runtime, owner, None) or getattr(trendedge.runtime.simulation, owner)
        sources = [inspect.getsource(base) for base in item.__mro__ if base.__module__.startswith("trendedge")]
        assert re.search(rf"\b{member or '__init__'}\b", "".join(sources)), name


@pytest.mark.parametrize(
    "line",
    [
        "ActorRef(name: str)",
        "- `declared: ClassVar[tuple[type[Exception], ...]]`: Errors that are answers",
        "- `path: str`: Where the actor stands in the tree",
        "- `stopping: anyio.Event`: Set when the service should end",
        "ScheduleSpec(\n    *,\n    id: str,",
        "async def ask[R](request: Asked[M, R], *, timeout_s: float, deadline_s: float | None = None) -> R",
        "class HandlerCrashed(ActorStopped)",
        "Attributes: `actor: str`, `capacity: int`",
        "Supervisor(spec: SupervisorSpec)\n",
        "- returns: whether it leaves anything",
        "@asynccontextmanager\nasync def running(spec: SupervisorSpec) -> AsyncIterator[Supervisor]",
    ],
)
def test_the_reference_says_how_to_write_it(line: str) -> None:
    assert line in PAGE


@pytest.mark.parametrize(
    "name", ["Supervisor.beside", "Context.close", "SimulatedProcess.may_step", "Entity", ":returns:"]
)
def test_the_reference_is_silent_about_what_is_internal(name: str) -> None:
    assert name not in PAGE


def test_every_attribute_on_the_reference_has_its_type() -> None:
    listed = re.findall(r"^Attributes: (.*)$", PAGE, flags=re.MULTILINE)
    assert [one for line in listed for one in line.split("`, `") if ":" not in one] == []


async def test_the_example_on_top_of_the_reference_runs() -> None:
    assert await example.main() == 42


def keys(value: object) -> set[str]:
    """Of a snapshot, and of the objects in it."""
    if isinstance(value, dict):
        return set(value) | {key for one in value.values() for key in keys(one)}
    return {key for one in value for key in keys(one)} if isinstance(value, list) else set()


async def test_the_reference_names_the_keys_of_all_snapshots() -> None:
    async def hang(_: object) -> None:
        await anyio.sleep_forever()

    ref, durable, lanes = ActorRef[str]("a"), DurableRef[str]("d"), Lanes([LaneSpec("low", 1, 1, 60.0)])
    spec = MailboxSpec(key=lambda message: message)
    on = Durability(MemoryJournal(), "d", str.encode, bytes.decode)
    children: list[Any] = [
        ServiceSpec("lanes", lambda: LanesService(lanes, drain_s=0.0)),
        ChildSpec("a", lambda: Worker(obey), ref, mailbox=spec, breaker=BreakerSpec((OSError,))),
        ChildSpec("d", lambda: Worker(hang), durable, durability=on, shutdown_s=0.0),
    ]
    schedules = Schedules([ScheduleSpec(id="s", when=Every(60), target=ref, message=str)])
    async with running(SupervisorSpec("root", children)) as root:
        await lanes.submit("low", hang, None)
        await ref.tell("crash")
        await durable.tell("hangs")
        await until(lambda: ref.cell.stats.buried == 1 and bool(durable.cell.busy()))
        letter = Buried("1", b"{}", DeadLetter("cause", "", 1), 0.0)
        seen: list[tuple[Any, Any]] = [
            (Inspector.actors, [{**one, "breakers": []} for one in Inspector(root).actors()]),
            (Inspector.breakers, Inspector(root).breakers()),
            (Lanes.snapshot, lanes.snapshot()),
            (LoopLag.snapshot, LoopLag().snapshot()),
            (Schedules.snapshot, schedules.snapshot()),
            (DeadLetters.page, shown("d", letter)),
        ]
    for method, snapshot in seen:
        named = set(re.findall(r"`(\w+)`", method.__doc__ or ""))
        assert keys(snapshot) - named == set(), method.__qualname__


def test_every_class_that_the_reference_names_is_public() -> None:
    modules = [
        importlib.import_module(f"trendedge.runtime.{one.name}")
        for one in pkgutil.iter_modules(trendedge.runtime.__path__)
    ]
    classes = {
        name
        for module in modules
        for name, item in vars(module).items()
        if inspect.isclass(item) and item.__module__.startswith("trendedge.runtime")
    }
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
    named = {*re.findall(r"`([A-Z]\w+)", PAGE), *re.findall(r"\b[A-Z]\w+", code)} & classes
    assert named - set(trendedge.runtime.__all__) - set(trendedge.runtime.simulation.__all__) == set()


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in trendedge.runtime.__all__ if not getattr(trendedge.runtime, name).__doc__] == []
