"""How long a start takes: to the first 200 on /health, and to the first trade event that a client sees."""

from dataclasses import dataclass

from benchmarks.progress import show
from benchmarks.system import SERVERS_UP, System
from benchmarks.warm_up import first_trade


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """One start, in seconds from the moment the process was launched."""

    how: str
    health_s: float
    trade_s: float


async def run_start(system: System, *, how: str) -> StartRun:
    """Start the system, send alerts until a trade event comes back, stop it.

    :raises BenchmarkError: it did not start, or no trade came of any alert
    """
    async with system.running() as running:
        trade_at = await first_trade(running.target)
        health_s = round(running.healthy_at - running.launched_at, 3)
        trade_s = round(trade_at - running.launched_at, 3)
    show(f"  {how}: /health after {health_s:.2f} s, trade event after {trade_s:.2f} s")
    return StartRun(how=how, health_s=health_s, trade_s=trade_s)


async def run_starts(system: System, *, repeats: int) -> tuple[StartRun, ...]:
    """Time each way of starting; the one that two systems are compared by, `repeats` times."""
    runs: list[StartRun] = []
    async with system.starts() as ways:
        for how, way in ways:
            for _ in range(repeats if how == SERVERS_UP else 1):
                runs.append(await run_start(way, how=how))
    return tuple(runs)
