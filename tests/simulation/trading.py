"""One seed of the trading scenario, and what became of it."""

from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.simulation.invariants import Broken, check
from tests.simulation.world import Parts, World
from trendedge.runtime.simulation import SimulatedLoop, SimulationFault, simulate

MOST_STEPS = 400_000


@dataclass(frozen=True)
class Report:
    """What one seed led to."""

    seed: int
    digest: str
    steps: int
    counts: Counter[str]
    """What happened how often: faults, commits, answers."""
    failure: str | None
    broken: tuple[str, ...]
    """Names of the invariants that do not hold."""
    lines: tuple[str, ...]
    """The trace, when it was asked for."""


def tell(world: World) -> None:
    """Note what came of it all."""
    trace = world.loop.trace
    for row in world.bank.commits:
        trace.note(f"signal {row.execution.status.value}", row.request.signal_id)
    for outcome, times in sorted(world.bank.outcomes.items()):
        trace.counts[f"commit {outcome}"] += times
    for server in world.servers.values():
        trace.counts["adopted"] += sum(stored.moved for stored in server.accepted.values())
        trace.counts["buried"] += len(server.buried)
        trace.counts["attempt counted"] += server.begun.total()
    trace.counts["fenced"] += world.registry.refusals


def run_seed(seed: int, *, parts: Parts | None = None, verbose: bool = False) -> Report:
    """Run the trading scenario once and check every invariant."""

    async def main(loop: SimulatedLoop) -> None:
        world = World(loop, parts or Parts())
        await world.run()
        check(world)
        tell(world)

    return explore(seed, main, verbose=verbose)


def explore(seed: int, main: Callable[[SimulatedLoop], Coroutine[Any, Any, None]], *, verbose: bool = False) -> Report:
    """Run a scenario that raises `Broken` when something does not hold."""
    loop = SimulatedLoop(seed, verbose=verbose, most_steps=MOST_STEPS)
    failure: str | None = None
    broken: tuple[str, ...] = ()
    try:
        simulate(main, seed=seed, loop=loop)
    except Broken as error:
        failure, broken = str(error), error.names
    except SimulationFault as error:
        failure, broken = f"{type(error).__name__}: {error}", (type(error).__name__,)
    return Report(
        seed=seed,
        digest=loop.trace.digest(),
        steps=loop.steps,
        counts=loop.trace.counts,
        failure=failure,
        broken=broken,
        lines=tuple(loop.trace.lines),
    )
