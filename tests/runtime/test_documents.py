"""The runtime's documents: each test that they name exists, and the reference says what the docstrings say."""

import importlib.util
import inspect
import pathlib
import pkgutil
import re

import pytest

import trendedge.runtime
import trendedge.runtime.simulation

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPLANATION = (ROOT / "docs" / "explanation" / "runtime.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", EXPLANATION)))


def test_the_explanation_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_explanation_names_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), flags=re.MULTILINE)


def test_the_reference_says_what_the_docstrings_say() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.TARGET.read_text() == script.reference(), "run: python scripts/reference.py"


def test_every_class_that_the_reference_names_is_public() -> None:
    page = (ROOT / "docs" / "reference" / "runtime.md").read_text()
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
    named = set(re.findall(r"`([A-Z]\w+)", page)) & classes
    assert named - set(trendedge.runtime.__all__) - set(trendedge.runtime.simulation.__all__) == set()


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in trendedge.runtime.__all__ if not getattr(trendedge.runtime, name).__doc__] == []
