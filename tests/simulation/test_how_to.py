"""What docs/how-to/test-an-actor.md shows does what it says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trendedge.runtime.simulation import Actors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "test-an-actor.md"


def shown() -> Iterator[tuple[str, Any]]:
    """The tests on the page, by name."""
    [_, *blocks] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    page = ModuleType("page_test_an_actor")
    sys.modules[page.__name__] = page  # its messages can be pickled then
    exec("\n".join(blocks), vars(page))  # noqa: S102 - our own page
    yield from ((name, item) for name, item in vars(page).items() if name.startswith("test_"))


TESTS = dict(shown())


@pytest.mark.parametrize("name", sorted(TESTS))
def test_the_page_is_true(actors: Actors, name: str) -> None:
    TESTS[name](actors)


def test_the_page_shows_several() -> None:
    assert len(TESTS) == 4
