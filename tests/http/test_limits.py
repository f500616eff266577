"""The sliding window counts exactly from rest, fades, forgets the idle, and says when to come again."""

from hypothesis import given
from hypothesis import strategies as st

from trendedge.http.limits import SlidingWindow


class HandClock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_from_rest_is_counted_exactly() -> None:
    window = SlidingWindow(3, clock=HandClock())
    assert [window.take("a").allowed for _ in range(5)] == [True, True, True, False, False]
    assert window.take("b").allowed


def test_remaining_counts_down_to_zero() -> None:
    window = SlidingWindow(3, clock=HandClock())
    assert [window.take("a").remaining for _ in range(4)] == [2, 1, 0, 0]


def test_the_previous_window_counts_as_far_as_it_reaches_into_the_last_minute() -> None:
    clock = HandClock()
    window = SlidingWindow(10, clock=clock)
    for _ in range(10):
        window.take("a")
    clock.now += 90  # half of the first minute still counts
    assert [window.take("a").allowed for _ in range(6)] == [True] * 5 + [False]


def test_two_windows_of_rest_forget_everything() -> None:
    clock = HandClock()
    window = SlidingWindow(2, clock=clock)
    window.take("a")
    window.take("a")
    clock.now += 120
    assert [window.take("a").allowed for _ in range(3)] == [True, True, False]


def test_what_was_refused_does_not_count() -> None:
    clock = HandClock()
    window = SlidingWindow(1, clock=clock)
    window.take("a")
    for _ in range(100):
        assert not window.take("a").allowed
    clock.now += 120
    assert window.take("a").allowed


def test_beyond_its_capacity_the_longest_idle_key_is_forgotten() -> None:
    window = SlidingWindow(1, capacity=2, clock=HandClock())
    window.take("a")
    window.take("b")
    window.take("a")
    window.take("c")
    assert len(window) == 2
    assert not window.take("a").allowed
    assert window.take("b").allowed


def test_a_limit_of_zero_refuses_all() -> None:
    assert not SlidingWindow(0, clock=HandClock()).take("a").allowed


@given(limit=st.integers(1, 20), pauses=st.lists(st.floats(0, 200), max_size=60))
def test_after_retry_after_there_is_room(limit: int, pauses: list[float]) -> None:
    clock = HandClock()
    window = SlidingWindow(limit, clock=clock)
    for pause in pauses:
        clock.now += pause
        verdict = window.take("a")
        if not verdict.allowed:
            clock.now += verdict.retry_after_s
            assert window.take("a").allowed


@given(limit=st.integers(1, 20), pauses=st.lists(st.floats(0, 30), max_size=100))
def test_no_window_of_its_own_ever_holds_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    clock = HandClock()
    window = SlidingWindow(limit, clock=clock)
    allowed: list[float] = []
    for pause in pauses:
        clock.now += pause
        if window.take("a").allowed:
            allowed.append(clock.now)
    # The fading of the previous window is an estimate: over any minute it errs by less than one window's worth.
    assert all(sum(since <= at < since + 60 for at in allowed) < 2 * limit for since in allowed)


def test_the_headers_say_limit_remaining_and_reset() -> None:
    names = dict(SlidingWindow(7, clock=HandClock()).take("a").headers())
    assert names[b"x-ratelimit-limit"] == b"7"
    assert names[b"x-ratelimit-remaining"] == b"6"
    assert names[b"x-ratelimit-reset"].isdigit()
