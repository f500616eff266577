import pytest

from benchmarks.sustained import SearchBounds, find_highest, find_sustained_rate
from tests.benchmarks.fake_server import Faults, fake_server


@pytest.mark.parametrize("limit", [7.0, 30.0, 99.0, 100.0, 140.0, 399.0, 1000.0, 3199.0])
async def test_the_search_ends_just_below_the_limit(limit: float) -> None:
    tried: list[float] = []

    async def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    bounds = SearchBounds()
    found = await find_highest(holds, bounds=bounds)
    assert found is not None
    assert found <= limit <= found * (1 + bounds.resolution)
    assert found in tried
    assert len(tried) <= 15


async def test_a_server_that_holds_everything_ends_the_search_at_its_ceiling() -> None:
    async def holds(rate: float) -> bool:
        return rate <= 3200.0

    assert await find_highest(holds, bounds=SearchBounds()) == 3200.0


async def test_a_server_that_holds_nothing_ends_the_search() -> None:
    tried: list[float] = []

    async def holds(rate: float) -> bool:
        tried.append(rate)
        return False

    assert await find_highest(holds, bounds=SearchBounds()) is None
    assert len(tried) <= 6


async def test_a_hiccup_is_tried_again_and_a_real_limit_is_not_passed() -> None:
    bounds = SearchBounds(start=50.0, ceiling=100.0, seconds=0.2, limit_ms=1e6, resolution=0.3)
    async with fake_server(Faults(refuse=frozenset({15}))) as (_, target):
        found = await find_sustained_rate(target, bounds=bounds)
    # At 50/s there are 10 alerts, and number 15 does not come; from 80/s on it is refused each time.
    assert found.rate is not None
    assert 50.0 <= found.rate < 80.0
    assert not found.at_ceiling
    failed = [attempt.rate for attempt in found.attempts if not attempt.holds(1e6)]
    assert all(failed.count(rate) == 2 for rate in failed)
    assert found.problems == []
