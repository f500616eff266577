"""Rounds of everything in turn, and the table with the ratios of each round."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.distribution import Distribution
from benchmarks.progress import show
from benchmarks.runtime.durable import Durables, durable
from benchmarks.runtime.messages import FLOORS, OURS
from benchmarks.runtime.peers import ACTOR_LIBRARIES, JOB_LIBRARIES, PeerFailed, Peers
from benchmarks.servers import own_servers
from benchmarks.table import Cell, render
from trendedge.storage.migrate import upgrade

OUR_NAME = "trendedge"
IN_ORDER = "trendedge, one key"
"""All messages one after the other. Everybody else handles ten at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much is measured in a round."""

    messages: int = 200_000
    asks: int = 40_000
    peer_tells: int = 100_000
    peer_asks: int = 20_000
    durables: int = 5_000
    seconds: float = 4.0
    idle: int = 10_000
    children: int = 1_000
    rounds: int = 3


QUICK = Counts(
    messages=5_000,
    asks=1_000,
    peer_tells=500,
    peer_asks=100,
    durables=300,
    seconds=1.0,
    idle=500,
    children=100,
    rounds=1,
)


@dataclass(slots=True)
class Findings:
    """One list of values a system and figure, a value a round."""

    tells: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    asks: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    durables: dict[str, list[Durables]] = field(default_factory=lambda: defaultdict(list))
    footprint: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)


async def measure(counts: Counts, pythons: Sequence[Path], scratch: Path) -> Findings:
    """Measure all, round by round; what a peer cannot do is a problem, and the others go on."""
    findings, peers = Findings(), await Peers.found(pythons)
    async with own_servers(scratch) as servers:
        await asyncio.to_thread(upgrade, servers["DATABASE_URL"])
        for number in range(1, counts.rounds + 1):
            show(f"round {number} of {counts.rounds}: messages in memory")
            await _messages(findings, counts, peers)
            show(f"round {number} of {counts.rounds}: durable messages")
            await _durables(findings, counts, peers, servers, scratch)
            show(f"round {number} of {counts.rounds}: idle actors")
            await _footprint(findings, counts)
    return findings


async def _messages(findings: Findings, counts: Counts, peers: Peers) -> None:
    findings.tells[OUR_NAME].append(counts.messages / await OURS["tell"](counts.messages))
    for name, go in FLOORS.items():
        findings.tells[name].append(counts.messages / await go(counts.messages))
    findings.asks[OUR_NAME].append(counts.asks / await OURS["ask"](counts.asks))
    for library in ACTOR_LIBRARIES:
        for what, rates, count in (
            ("tell", findings.tells, counts.peer_tells),
            ("ask", findings.asks, counts.peer_asks),
        ):
            if library in peers.pythons:
                try:
                    rates[library].append(count / await peers.messages(library, what, count))
                except PeerFailed as failure:
                    findings.problems.append(str(failure))


async def _durables(
    findings: Findings, counts: Counts, peers: Peers, servers: Mapping[str, str], scratch: Path
) -> None:
    for name, ten_keys in ((OUR_NAME, True), (IN_ORDER, False)):
        found = await durable(servers, counts.durables, counts.seconds, ten_keys=ten_keys)
        findings.durables[name].append(found)
    redis_url = servers["UPSTASH_REDIS_URL"]
    for library in JOB_LIBRARIES:
        if library in peers.pythons:
            try:
                found = await peers.jobs(library, redis_url, scratch, counts.durables, counts.seconds)
                findings.durables[library].append(found)
            except PeerFailed as failure:
                findings.problems.append(str(failure))


async def _footprint(findings: Findings, counts: Counts) -> None:
    for what, many, figure, name in (
        ("children", counts.idle, "mb", f"{counts.idle:,} idle actors, children of one supervisor: MB"),
        ("instances", counts.idle, "mb", f"{counts.idle:,} idle instances of one keyed actor: MB"),
        ("children", counts.children, "start_s", f"start of a tree of {counts.children:,} children: s"),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.runtime.footprint", what, str(many), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        findings.footprint[name].append(json.loads(out)[figure])


def tables(findings: Findings) -> str:
    """What was found, as Markdown."""
    return "\n".join(
        [
            _rates("Messages in memory, tell", findings.tells),
            _rates("Messages in memory, ask", findings.asks),
            _durable_table(findings.durables),
            render(
                "Idle actors",
                ("", "median", "worst"),
                [(name, median(values), max(values)) for name, values in findings.footprint.items()],
            ),
        ]
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Ours by theirs, of each round by itself: median and lowest."""
    found = [our / their for our, their in zip(ours, theirs, strict=False)]
    return median(found), min(found)


def _rates(title: str, rates: Mapping[str, Sequence[float]]) -> str:
    rows: list[Sequence[Cell]] = []
    for name, values in rates.items():
        middle, lowest = ratios(rates[OUR_NAME], values)
        rows.append((name, round(median(values)), middle, lowest))
    return render(title, ("", "a second", "ours / theirs", "lowest round"), rows)


def _durable_table(durables: Mapping[str, Sequence[Durables]]) -> str:
    ours = durables[OUR_NAME]
    rows: list[Sequence[Cell]] = []
    for name, found in durables.items():
        rows.append(
            (
                name,
                _middle([one.append_per_s for one in found]),
                _middle([one.drained_per_s for one in found]),
                ratios([_rate(one.drained_per_s) for one in ours], [_rate(one.drained_per_s) for one in found])[0],
                _middle([_p(one.latency, "p50_ms") for one in found]),
                _middle([_p(one.latency, "p95_ms") for one in found]),
                ratios([_p(one.latency, "p50_ms") for one in ours], [_p(one.latency, "p50_ms") for one in found])[0],
            )
        )
    header = ("", "sent/s", "drained/s", "ours / theirs", "p50 ms at 100/s", "p95 ms", "p50: ours / theirs")
    return render("Durable messages on one Redis", header, rows)


def _rate(value: float | None) -> float:
    return float("nan") if value is None else value


def _p(latency: Distribution | None, name: str) -> float:
    return float("nan") if latency is None else float(getattr(latency, name))


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
