"""One seed of the scenario of random trees, and what became of it."""

from collections.abc import Callable
from typing import Any

from tests.simulation.supervision import World
from tests.simulation.supervision_invariants import actors, check
from tests.simulation.trading import Report, explore
from trendedge.runtime import ChildSpec
from trendedge.runtime.simulation import SimulatedLoop


def run_tree(
    seed: int, change: Callable[[ChildSpec[Any]], ChildSpec[Any]] = lambda spec: spec, *, verbose: bool = False
) -> Report:
    """Run a random tree once and check every invariant."""

    async def main(loop: SimulatedLoop) -> None:
        world = World(loop, change)
        await world.run()
        check(world)
        for lines in actors(world):
            stats = lines[0].cell.stats
            for what, times in (("expired", stats.expired), ("dropped", stats.dropped), ("given up", stats.buried)):
                loop.trace.counts[what] += times

    return explore(seed, main, verbose=verbose)
