"""One run of a simulation, from its seed to its digest."""

import random
from collections.abc import Callable, Coroutine, Generator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog
from structlog.typing import Processor

from trendedge.runtime.simulation.boundary import sealed
from trendedge.runtime.simulation.loop import MOST_STEPS, SimulatedLoop


@dataclass(frozen=True, slots=True)
class Run[T]:
    """What a run led to."""

    result: T
    digest: str
    steps: int
    seconds: float
    """Virtual ones."""


def simulate[T](
    main: Callable[[SimulatedLoop], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    loop: SimulatedLoop | None = None,
    most_steps: int = MOST_STEPS,
) -> Run[T]:
    """Run `main` on a loop of its own. The same seed gives the same run, in any process and on any day.

    The module `random` is seeded for the time of the run; what it would have given otherwise, it gives afterwards.

    :param loop: to look at its trace afterwards, also when the run fails
    :raises NotSimulated: the code reached outside
    :raises Deadlocked: nothing was left to happen
    """
    loop = loop or SimulatedLoop(seed, most_steps=most_steps)
    with seeded(seed), recorded(loop):
        try:
            with sealed():
                result = loop.run_until_complete(main(loop))
            return Run(result, loop.trace.digest(), loop.steps, loop.time())
        finally:
            loop.dispose()


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Jitter comes from the module `random`: let it come from the seed."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def recorded(loop: SimulatedLoop) -> Generator[None]:
    """Log lines go into the trace, where a person reads them beside the steps, and nowhere else."""

    def keep(_: Any, method: str, event: MutableMapping[str, Any]) -> NoReturn:
        if loop.trace.verbose:
            facts = " ".join(f"{name}={value!r}" for name, value in event.items() if name != "event")
            loop.trace.comment(f"{method}: {event.get('event')} {facts}")
        raise structlog.DropEvent

    with processed(keep):
        yield


@contextmanager
def processed(*processors: Processor) -> Generator[None]:
    """Log lines go through these, and no others.

    They take the others' place in the very list that is configured, as in structlog's own `capture_logs`: a cached
    logger has kept that, whatever is configured later. One that was cached under an earlier configuration does not
    notice, nor one whose processors are no list.
    """
    before = structlog.get_config()
    configured, own = before["processors"], list(before["processors"])
    if isinstance(configured, list):
        configured[:] = processors
    else:
        structlog.configure(processors=list(processors))
    try:
        yield
    finally:
        if isinstance(configured, list):
            configured[:] = own
        structlog.configure(**before)
