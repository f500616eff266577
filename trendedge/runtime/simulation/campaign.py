"""Many seeds on all cores: one digest over all of them, and a count of what happened."""

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TextIO

CHUNK = 20


class SeedReport(Protocol):
    """What one seed led to."""

    @property
    def seed(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def counts(self) -> Counter[str]: ...
    @property
    def failure(self) -> str | None:
        """What was found, in a sentence."""
        ...


@dataclass(frozen=True, slots=True)
class Campaign:
    """What many seeds led to."""

    seeds: int
    digest: str
    """32 hexadecimal digits over the digests of all seeds, in the order of the seeds."""
    counts: Counter[str]
    failures: tuple[SeedReport, ...]


def run_seeds(
    run: Callable[[int], SeedReport],
    seeds: range,
    *,
    processes: int | None = None,
    on_report: Callable[[SeedReport], None] = lambda report: None,
) -> Campaign:
    """Run every seed, spread over the cores; the result does not depend on how many there are.

    :param run: a function of a module, so that other processes find it. What it raises ends the campaign, with a note
        of the seed
    :param processes: 1 stays in this process
    """
    digest, counts, failures = hashlib.blake2b(digest_size=16), Counter[str](), list[SeedReport]()
    for report in _reports(run, seeds, processes or os.cpu_count() or 1):
        digest.update(bytes.fromhex(report.digest))
        counts.update(report.counts)
        if report.failure is not None:
            failures.append(report)
        on_report(report)
    return Campaign(len(seeds), digest.hexdigest(), counts, tuple(failures))


def _reports(run: Callable[[int], SeedReport], seeds: Iterable[int], processes: int) -> Iterator[SeedReport]:
    named = partial(_named, run)
    if processes == 1:
        yield from map(named, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(named, seeds, chunksize=CHUNK)


def _named(run: Callable[[int], SeedReport], seed: int) -> SeedReport:
    try:
        return run(seed)
    except Exception as error:
        error.add_note(f"in seed {seed}")
        raise


class Progress:
    """A bar on a terminal; a line now and then elsewhere."""

    def __init__(self, total: int, stream: TextIO | None = None, *, name: str = "") -> None:
        """:param name: what is run, to stand before it"""
        self._total = total
        self._name = f"{name} " if name else ""
        self._stream = stream or sys.stderr
        self._began = self._shown_at = time.monotonic()
        self._done = self._failed = 0
        self._every_s = 0.1 if self._stream.isatty() else 10.0

    def __call__(self, report: SeedReport) -> None:
        """Count one seed."""
        self._done += 1
        self._failed += report.failure is not None
        now = time.monotonic()
        if now - self._shown_at >= self._every_s or self._done == self._total:
            self._shown_at = now
            self._show(now)

    def _show(self, now: float) -> None:
        share = self._done / self._total
        bar = "#" * int(share * 30)
        rate = self._done / max(now - self._began, 1e-9)
        text = f"{self._name}[{bar:<30}] {self._done}/{self._total} seeds, {self._failed} failed, {rate:.0f}/s"
        terminal = self._stream.isatty()
        self._stream.write(f"\r{text}" if terminal else f"{text}\n")
        if terminal and self._done == self._total:
            self._stream.write("\n")
        self._stream.flush()
