"""An open-loop clock: call n is due at start + n/rate, whatever became of the calls before it."""

import asyncio
from collections.abc import Callable
from threading import Event, Thread
from time import perf_counter

LEAD_S = 0.05
"""Between the call of `paced` and the first due time, for the clock's thread to start."""

Send = Callable[[int, float], None]
"""Called with the number of the call, from 0, and its due time (`perf_counter`)."""


async def paced(count: int, *, rate: float, send: Send) -> None:
    """Call `send` on the running loop `count` times at `rate` a second; return after the last one.

    A thread keeps the time. Both uvloop's and asyncio's timers are rounded to whole milliseconds, and an error of
    that size is a good part of the latencies that are measured here. Calls that are overdue are made at once, all of
    them, with their own due times.
    """
    loop = asyncio.get_running_loop()
    stop, done, start = Event(), asyncio.Event(), perf_counter() + LEAD_S

    def send_range(first: int, last: int) -> None:
        for number in range(first, last):
            send(number, start + number / rate)

    def tick() -> None:
        number = 0
        while number < count and not stop.wait(max(0.0, start + number / rate - perf_counter())):
            overdue = int((perf_counter() - start) * rate) + 1
            last = min(count, max(overdue, number + 1))
            loop.call_soon_threadsafe(send_range, number, last)
            number = last
        loop.call_soon_threadsafe(done.set)

    clock = Thread(target=tick, name="pacer", daemon=True)
    clock.start()
    try:
        await done.wait()
    finally:
        stop.set()
        clock.join()
