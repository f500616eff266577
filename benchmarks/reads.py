"""GET requests a second over a fixed number of connections, each of which asks again as soon as it is answered."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import orjson

from benchmarks.distribution import Distribution
from benchmarks.errors import TooFewTrades, UnexpectedAnswer
from benchmarks.flatten import fetch
from benchmarks.http_client import HttpPool
from benchmarks.target import TRADES_PATH, Target
from benchmarks.warm_up import warm_up
from benchmarks.webhooks import collector_off

TRADES_WANTED = 50
FILLINGS = 3
"""A buy and a sell make a trade, unless two buys overtake one another on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRun:
    """What `connections` clients got from one path in `seconds`. Closed loop: the latency is that at full load."""

    path: str
    connections: int
    seconds: float
    per_second: float
    """Answers with status 200 only."""
    latency: Distribution | None
    answers: dict[str, int]

    @property
    def problems(self) -> list[str]:
        bad = {status: count for status, count in self.answers.items() if status != "200"}
        if not bad and self.latency is not None:
            return []
        return [f"GET {self.path}: {bad or 'no answer at all'}"]


async def run_reads(target: Target, path: str, *, connections: int = 32, seconds: float = 5.0) -> ReadRun:
    """Ask for `path` as fast as it is answered.

    :raises OSError: nobody listens there
    """
    pool = HttpPool(target.address, limit=connections)
    answers, durations = Counter[str](), list[float]()
    try:
        await pool.open(connections)
        with collector_off():
            started = perf_counter()
            asking = (_ask(pool, target.get(path), started + seconds, answers, durations) for _ in range(connections))
            await asyncio.gather(*asking)
            elapsed_s = perf_counter() - started
    finally:
        await pool.close()
    return ReadRun(
        path=path,
        connections=connections,
        seconds=seconds,
        per_second=round(len(durations) / elapsed_s, 1),
        latency=Distribution.of(durations),
        answers=dict(sorted(answers.items())),
    )


async def _ask(pool: HttpPool, request: bytes, until: float, answers: Counter[str], durations: list[float]) -> None:
    """One client: ask, book the answer, ask again, until the time is over."""
    while (asked_at := perf_counter()) < until:
        try:
            async with asyncio.timeout(30.0):
                response = await pool.submit(request)
        except OSError as error:
            answers[type(error).__name__] += 1
            continue
        answers[str(response.status)] += 1
        if response.status == 200:
            durations.append(response.at - asked_at)


async def ensure_trades(target: Target) -> None:
    """Make the list as long as a page: reading an empty one says nothing.

    :raises UnexpectedAnswer: the list cannot be read
    :raises TooFewTrades: it stays shorter than a page
    """
    for _ in range(FILLINGS):
        if await _trades_listed(target) >= TRADES_WANTED:
            return
        await warm_up(target, alerts=TRADES_WANTED * 2)
    if (listed := await _trades_listed(target)) < TRADES_WANTED:
        raise TooFewTrades(listed=listed, wanted=TRADES_WANTED)


async def _trades_listed(target: Target) -> int:
    response = await fetch(target, target.get(TRADES_PATH))
    if response.status != 200:
        raise UnexpectedAnswer(f"GET {TRADES_PATH}", status=response.status, body=response.body)
    listing: Any = orjson.loads(response.body)
    items = listing.get("items", []) if isinstance(listing, dict) else listing
    return len(items)
