"""The retry policies are those of PRD INF-FR-011's table."""

import pytest

from trendedge.actors import policies
from trendedge.runtime import RetryPolicy

TABLE = [
    # category, max retries, delays in seconds
    (policies.WEBHOOK_PROCESSING, 3, [5, 25, 125]),
    (policies.BROKER_CALLS, 5, [2, 8, 32, 128, 512]),
    (policies.TRENDLINE_SCAN, 2, [60, 60]),
    (policies.NOTIFICATION_DISPATCH, 3, [10, 60, 300]),
    (policies.AI_TASK, 1, [0]),
]


@pytest.mark.parametrize(("policy", "retries", "delays_s"), TABLE)
def test_a_retry_comes_when_the_table_says_and_no_sooner(
    policy: RetryPolicy, retries: int, delays_s: list[float]
) -> None:
    assert policy.delays_s == tuple(delays_s)
    for attempts, delay_s in enumerate(delays_s, start=1):
        drawn = [policy.delay_s(attempts) for _ in range(50)]
        assert all(one is not None and delay_s <= one <= delay_s * (1 + policy.jitter) for one in drawn)
    assert policy.delay_s(retries + 1) is None


def test_the_brokers_retries_are_spread_and_a_scan_is_not() -> None:
    assert len({policies.BROKER_CALLS.delay_s(1) for _ in range(50)}) > 1
    assert {policies.TRENDLINE_SCAN.delay_s(1) for _ in range(50)} == {60.0}


def test_three_broker_failures_within_five_minutes_halt_for_ten() -> None:
    breaker = policies.BROKER_BREAKER
    assert (breaker.failures, breaker.within_s, breaker.open_s) == (3, 300.0, 600.0)
    assert breaker.trips_on == (policies.BrokerUnavailable,)
