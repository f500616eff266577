"""The way to a store in memory, and all that can go wrong on it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from trendedge.runtime.simulation.loop import SimulatedLoop
from trendedge.runtime.simulation.process import current_process


class Wire(Protocol):
    """Brings one operation to a store. `effect` is atomic: it happens as a whole, or not at all."""

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """What `effect` returns. Raises the client's error when the store does not answer."""
        ...


class GoodWire:
    """Nothing goes wrong; other tasks get their turn on the way there and back."""

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """As `Wire.call`."""
        await asyncio.sleep(0)
        answer = effect()
        await asyncio.sleep(0)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probabilities, for each operation, of what may go wrong with it; at most one does."""

    crash_before: float = 0.0
    """The process dies while the request is on its way: no effect."""
    crash_after: float = 0.0
    """The process dies with the effect done and the answer on its way."""
    reply_lost: float = 0.0
    """The effect is done, and the client gets an error."""
    late: float = 0.0
    """The client gives up, and the effect happens afterwards."""
    refused: float = 0.0
    """No effect, and an error."""
    slow: float = 0.0
    """All is well, after up to `slow_s`."""
    latency_s: float = 0.002
    slow_s: float = 0.4
    late_s: float = 3.0

    def kinds(self) -> tuple[tuple[str, float], ...]:
        """Names and probabilities."""
        names = ("crash_before", "crash_after", "reply_lost", "late", "refused", "slow")
        return tuple((name, getattr(self, name)) for name in names)


class FaultyWire:
    """Goes wrong as the loop's seed says. Every fault is noted in the trace as `<store>.<kind>`."""

    def __init__(
        self, loop: SimulatedLoop, store: str, faults: Faults, unavailable: Callable[[str, str], Exception]
    ) -> None:
        self.faults = faults
        self.down = False
        """The store is switched off: every operation fails without an effect."""
        self.failed: set[tuple[str, str]] = set()
        """Operations that did not come to their end, with the name of the process that had called."""
        self._loop = loop
        self._store = store
        self._unavailable = unavailable

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """As `Wire.call`."""
        fault = "down" if self.down else self._draw()
        if fault is not None:
            caller = getattr(current_process(), "name", "")
            self._loop.trace.note(f"{self._store}.{fault}", f"{operation} {caller}")
            if fault != "slow":
                self.failed.add((operation, caller))
        await self._travel(slow=fault == "slow")
        if self.down or fault == "refused":
            self.failed.add((operation, getattr(current_process(), "name", "")))
            raise self._unavailable(self._store, fault or "down")
        if fault == "late":
            self._later(effect)
            raise self._unavailable(self._store, "late")
        if fault == "crash_before":
            await self._die()
        answer = effect()
        if fault == "crash_after":
            await self._die()
        await self._travel()
        if fault == "reply_lost":
            raise self._unavailable(self._store, "reply lost")
        return answer

    def _draw(self) -> str | None:
        point = self._loop.random.random()
        for name, share in self.faults.kinds():
            point -= share
            if point < 0:
                return name
        return None

    async def _travel(self, *, slow: bool = False) -> None:
        longest_s = self.faults.slow_s if slow else self.faults.latency_s
        await asyncio.sleep(self._loop.random.random() * longest_s)

    def _later(self, effect: Callable[[], object]) -> None:
        # The request has left the process: its death does not call it back.
        delay_s = self._loop.random.random() * self.faults.late_s
        self._loop.outside.run(self._loop.call_later, delay_s, self._unheard, effect)

    @staticmethod
    def _unheard(effect: Callable[[], object]) -> None:
        with suppress(Exception):  # what the store refuses is told to nobody any more
            effect()

    async def _die(self) -> None:
        process = current_process()
        if process is None:
            return
        process.kill()
        await self._loop.create_future()
