import asyncio
import threading
import time
from itertools import pairwise
from time import perf_counter

import pytest

from benchmarks.pacer import paced


async def test_each_call_is_made_once_in_order_and_never_before_it_is_due() -> None:
    calls: list[tuple[int, float, float]] = []
    await paced(50, rate=500.0, send=lambda number, due: calls.append((number, due, perf_counter())))
    assert [number for number, _, _ in calls] == list(range(50))
    assert all(at >= due for _, due, at in calls)
    gaps = [later[1] - earlier[1] for earlier, later in pairwise(calls)]
    assert gaps == pytest.approx([0.002] * 49)


async def test_what_is_overdue_keeps_its_due_time() -> None:
    """The generator is held up for 0.1 s, and goes on as if it had not been."""
    calls: list[tuple[float, float]] = []

    def send(number: int, due: float) -> None:
        if number == 5:
            time.sleep(0.1)  # the loop is blocked on purpose
        calls.append((due, perf_counter()))

    await paced(40, rate=200.0, send=send)
    assert len(calls) == 40
    assert calls[-1][0] - calls[0][0] == pytest.approx(39 / 200)
    assert calls[6][1] - calls[6][0] >= 0.09


async def test_a_cancelled_clock_leaves_no_thread() -> None:
    clock = asyncio.create_task(paced(1000, rate=1.0, send=lambda _number, _due: None))
    await asyncio.sleep(0)
    clock.cancel()
    await asyncio.wait([clock])
    assert clock.cancelled()
    assert not [thread for thread in threading.enumerate() if thread.name == "pacer"]
