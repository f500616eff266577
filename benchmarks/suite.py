"""Which measurements are made of a system, in which order."""

import os
import platform
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from benchmarks.fanout import FanoutRun, run_fanout
from benchmarks.memory import MemoryUse, measure_memory
from benchmarks.progress import show
from benchmarks.reads import ReadRun, ensure_trades, run_reads
from benchmarks.start import StartRun, run_starts
from benchmarks.sustained import SearchBounds, SustainedRate, find_sustained_rate
from benchmarks.system import Running, System
from benchmarks.target import HEALTH_PATH, TRADES_PATH, Target
from benchmarks.warm_up import warm_up
from benchmarks.webhooks import WebhookRun, run_webhooks


class Section(StrEnum):
    """One kind of measurement."""

    START = "start"
    WEBHOOKS = "webhooks"
    SUSTAINED = "sustained"
    READS = "reads"
    FANOUT = "fanout"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and for how long. The defaults are those of `make bench`."""

    sections: frozenset[Section] = frozenset(Section)
    rates: tuple[float, ...] = (20.0, 50.0, 100.0, 200.0)
    seconds: float = 15.0
    search: SearchBounds = field(default_factory=SearchBounds)
    read_seconds: float = 5.0
    sockets: tuple[int, ...] = (100, 1000)
    events: int = 50
    warm_up_alerts: int = 200
    starts: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was measured of one system, and where."""

    system: str
    at: datetime
    machine: str
    starts: tuple[StartRun, ...] = ()
    webhooks: tuple[WebhookRun, ...] = ()
    sustained: SustainedRate | None = None
    reads: tuple[ReadRun, ...] = ()
    fanout: tuple[FanoutRun, ...] = ()
    memory: tuple[MemoryUse, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What makes the run a failure: lost, doubled, or not measured. Never a time."""
        found = [problem for run in self.webhooks for problem in run.problems]
        found += [] if self.sustained is None else self.sustained.problems
        found += [problem for run in self.reads for problem in run.problems]
        found += [problem for run in self.fanout for problem in run.problems]
        return found


async def measure(system: System, plan: Plan) -> Report:
    """Start the system, measure what the plan asks for, stop it.

    :raises BenchmarkError: something could not be measured at all
    """
    report = Report(
        system=system.name,
        at=datetime.now(UTC),
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}",
    )
    if Section.START in plan.sections:
        show(f"{system.name}: timing its start")
        report = replace(report, starts=await run_starts(system, repeats=plan.starts))
    if plan.sections == {Section.START}:
        return report
    show(f"{system.name}: starting")
    async with system.running() as running:
        return await _load(running, plan, report)


async def _load(running: Running, plan: Plan, report: Report) -> Report:
    target, wanted = running.target, plan.sections
    await warm_up(target, alerts=0)
    memory = _memory(running, wanted, when="idle")
    show(f"{report.system}: warm-up")
    await warm_up(target, alerts=plan.warm_up_alerts)
    webhooks = await _webhooks(target, plan) if Section.WEBHOOKS in wanted else ()
    reads = await _reads(target, plan) if Section.READS in wanted else ()
    fanout = await _fanout(target, plan) if Section.FANOUT in wanted else ()
    memory += _memory(running, wanted, when="after load")
    # Last: it ends in overload, and nothing should be measured in its wake.
    sustained = await _sustained(target, plan) if Section.SUSTAINED in wanted else None
    return replace(report, webhooks=webhooks, reads=reads, fanout=fanout, memory=memory, sustained=sustained)


async def _webhooks(target: Target, plan: Plan) -> tuple[WebhookRun, ...]:
    runs: list[WebhookRun] = []
    for rate in plan.rates:
        show(f"webhooks at {rate:g}/s for {plan.seconds:g} s")
        runs.append(await run_webhooks(target, rate=rate, seconds=plan.seconds))
    return tuple(runs)


async def _sustained(target: Target, plan: Plan) -> SustainedRate:
    show(f"searching the highest rate that holds p95 under {plan.search.limit_ms:g} ms")
    return await find_sustained_rate(target, bounds=plan.search)


async def _reads(target: Target, plan: Plan) -> tuple[ReadRun, ...]:
    await ensure_trades(target)
    runs: list[ReadRun] = []
    for path in (TRADES_PATH, HEALTH_PATH):
        show(f"GET {path} for {plan.read_seconds:g} s")
        await run_reads(target, path, seconds=min(1.0, plan.read_seconds))
        runs.append(await run_reads(target, path, seconds=plan.read_seconds))
    return tuple(runs)


async def _fanout(target: Target, plan: Plan) -> tuple[FanoutRun, ...]:
    runs: list[FanoutRun] = []
    for sockets in plan.sockets:
        show(f"{plan.events} events to {sockets} sockets")
        runs.append(await run_fanout(target, sockets=sockets, events=plan.events))
    return tuple(runs)


def _memory(running: Running, wanted: frozenset[Section], *, when: str) -> tuple[MemoryUse, ...]:
    if Section.MEMORY not in wanted or running.pid is None:
        return ()
    return (measure_memory(running.pid, when=when),)
