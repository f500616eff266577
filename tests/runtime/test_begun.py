"""What an incarnation has begun is forgotten when it is given up again, and when it has ended."""

import gc
from collections.abc import Callable

import pytest

from trendedge.runtime import Actor, Context, Timer
from trendedge.runtime.simulation import Actors


def timers() -> int:
    gc.collect()
    return sum(isinstance(one, Timer) for one in gc.get_objects())


def test_a_timer_that_is_cancelled_is_forgotten(actors: Actors) -> None:
    class SetsItAnew(Actor[str]):
        async def receive(self, message: str) -> None:
            for _ in range(1000):
                self.context.tell_self_after(3600.0, "timed out").cancel()

    anew = actors.start(SetsItAnew)
    anew.tell("")
    assert timers() < 10


@pytest.mark.parametrize("begin", [Context.tell_self_after, Context.tell_self_every])
def test_an_incarnation_that_has_ended_begins_no_timer(
    begin: Callable[[Context, float, str], Timer], actors: Actors
) -> None:
    contexts: list[Context] = []

    class Fails(Actor[str]):
        async def receive(self, message: str) -> None:
            contexts.append(self.context)
            raise ValueError(message)

    fails = actors.start(Fails)
    fails.tell("")
    armed: list[Timer] = []
    actors.call(lambda: armed.append(begin(contexts[0], 1.0, "tick")))
    actors.advance(5.0)
    assert [one.pending for one in armed] == [False]
    assert actors.loop.next_timer() is None
    assert fails.handled == 0
