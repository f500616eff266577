"""The command line on this session's servers."""

from functools import partial
from pathlib import Path

import pytest

from tests.commands.support import TrendEdge, run_command


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def bare(home: Path) -> TrendEdge:
    """`trendedge` without any setting but its home."""
    return partial(run_command, home)


@pytest.fixture
def trendedge(bare: TrendEdge, database_url: str, redis_url: str) -> TrendEdge:
    """`trendedge` on a migrated database of the test's own."""
    return partial(bare, DATABASE_URL=database_url, UPSTASH_REDIS_URL=redis_url)
