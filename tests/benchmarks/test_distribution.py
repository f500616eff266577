import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.distribution import Distribution, percentile


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_the_percentile_of_few_values_is_the_largest_that_is_needed() -> None:
    assert percentile([1.0, 2.0, 3.0], 95) == 3.0
    assert percentile([7.0], 50) == 7.0


@given(st.lists(st.floats(0, 1e3), min_size=1), st.floats(0, 100))
def test_a_percentile_was_measured_and_covers_its_share(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= len(ordered) * percent / 100 - 1e-9


def test_no_values_have_no_percentile_and_no_distribution() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    assert Distribution.of([]) is None


def test_a_distribution_is_in_milliseconds() -> None:
    assert Distribution.of([0.004, 0.001, 0.002, 0.003]) == Distribution(
        count=4, p50_ms=2.0, p95_ms=4.0, p99_ms=4.0, max_ms=4.0
    )
