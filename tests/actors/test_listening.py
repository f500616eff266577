"""What is published is heard through outages, without asking all the time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio

from trendedge.actors.listening import PAUSES_S, Received, listen
from trendedge.runtime.simulation import SimulatedLoop, simulate
from trendedge.storage.errors import StoreUnavailable

REFUSED = StoreUnavailable("Redis", "NOPERM no permissions to access a channel")


class Server:
    """Takes each subscription, and ends it with an error after so many seconds."""

    def __init__(self, *lasts_s: float) -> None:
        self._lasts_s = iter(lasts_s)
        self.asked: list[float] = []

    @asynccontextmanager
    async def subscribe(self, _: str) -> AsyncIterator[AsyncIterator[Received]]:
        self.asked.append(anyio.current_time())
        yield self

    def __aiter__(self) -> AsyncIterator[Received]:
        return self

    async def __anext__(self) -> Received:
        await anyio.sleep(next(self._lasts_s))
        raise REFUSED


def subscriptions(server: Server, *, within_s: float) -> list[float]:
    """Seconds between the subscriptions."""

    async def hear(_: Received) -> None:
        raise AssertionError("nothing is said")

    async def main(_: SimulatedLoop) -> None:
        with anyio.move_on_after(within_s):
            await listen(server.subscribe, "ws:*", hear)

    simulate(main)
    return [round(later - earlier, 6) for earlier, later in pairwise(server.asked)]


def test_a_server_that_takes_each_subscription_and_ends_it_is_asked_less_and_less_often() -> None:
    assert subscriptions(Server(*[0.0] * 9), within_s=20) == [*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]]


def test_after_a_subscription_that_held_it_is_asked_again_at_once() -> None:
    assert subscriptions(Server(0.0, 0.0, 60.0, 0.0, 1000.0), within_s=100) == [0.2, 0.5, 60.2, 0.5]
