"""The pytest fixture `actors`: `pytest_plugins = ["trendedge.runtime.simulation.pytest_plugin"]` in a conftest."""

from collections.abc import Iterator

import pytest

from trendedge.runtime.simulation.actors import Actors


@pytest.fixture
def actors() -> Iterator[Actors]:
    """Actors under test on a virtual clock; see docs/how-to/test-an-actor.md."""
    with Actors() as test:
        yield test
