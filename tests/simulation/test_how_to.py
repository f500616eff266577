"""What docs/how-to/test-an-actor.md shows does what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trendedge.runtime.simulation import Actors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "test-an-actor.md"


[_, *blocks] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
CODE = "\n".join(blocks)


def shown() -> Iterator[tuple[str, Any]]:
    """The tests on the page, by name."""
    page = ModuleType("page_test_an_actor")
    sys.modules[page.__name__] = page  # its messages can be pickled then
    exec(CODE, vars(page))  # noqa: S102 - our own page
    yield from ((name, item) for name, item in vars(page).items() if name.startswith("test_"))


TESTS = dict(shown())


@pytest.mark.parametrize("name", sorted(TESTS))
def test_the_page_is_true(actors: Actors, name: str) -> None:
    TESTS[name](actors)


def test_a_strict_mypy_passes_the_page(tmp_path: Path) -> None:
    code = tmp_path / "page.py"
    code.write_text(CODE)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={os.devnull}", str(code)]
    found = subprocess.run(mypy, cwd=PAGE.parents[2], capture_output=True, text=True, check=False)
    assert found.stdout == "Success: no issues found in 1 source file\n"


def test_the_page_shows_several() -> None:
    assert len(TESTS) == 4
