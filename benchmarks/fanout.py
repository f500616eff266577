"""One event to many sockets: how long until each of them, and the last of them, has it."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from uuid import uuid4

from benchmarks.distribution import Distribution
from benchmarks.errors import BenchmarkError, SocketRefused, UnexpectedAnswer
from benchmarks.event_socket import EventSocket, open_socket
from benchmarks.events import TradeEvent, read_event, read_receipt
from benchmarks.flatten import flatten
from benchmarks.http_client import HttpPool, Response
from benchmarks.pacer import paced
from benchmarks.progress import show
from benchmarks.session import Patience
from benchmarks.target import Match, Target
from benchmarks.warm_up import first_trade
from benchmarks.webhooks import collector_off

HANDSHAKES_AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FanoutRun:
    """What `sockets` sockets of one user got of `events` events. Latencies count from when each POST was due."""

    sockets: int
    events: int
    expected: int
    received: int
    """Different ones: an event that one socket got twice counts once here, and once as doubled."""
    doubled: int
    each: Distribution | None
    """To every socket."""
    last: Distribution | None
    """To the last socket of each event that reached all."""

    @property
    def problems(self) -> list[str]:
        lost = self.expected - self.received
        found = [f"{lost} lost"] if lost else []
        found += [f"{self.doubled} doubled"] if self.doubled else []
        return [f"fan-out to {self.sockets} sockets: {problem}" for problem in found]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One trade event on one socket."""

    socket: int
    event: TradeEvent
    at: float


def sum_up(deliveries: list[Delivery], *, due_at: dict[str, float], sockets: int) -> FanoutRun:
    """Match deliveries with the alerts that caused them, by key. Events of other alerts do not count."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    seen: Counter[tuple[int, str]] = Counter()
    for delivery in deliveries:
        key = delivery.event.key
        if key not in due_at:
            continue
        seen[delivery.socket, key] += 1
        if seen[delivery.socket, key] == 1:
            times[key].append(delivery.at - due_at[key])
    return FanoutRun(
        sockets=sockets,
        events=len(due_at),
        expected=len(due_at) * sockets,
        received=len(seen),
        doubled=seen.total() - len(seen),
        each=Distribution.of([duration for durations in times.values() for duration in durations]),
        last=Distribution.of([max(durations) for durations in times.values() if len(durations) == sockets]),
    )


async def run_fanout(
    target: Target, *, sockets: int, events: int = 50, rate: float = 5.0, patience: Patience | None = None
) -> FanoutRun:
    """Open `sockets` sockets of one user, cause `events` events by webhook, and time each delivery.

    :raises SocketRefused: a socket was not let in, or was closed before the end
    :raises UnexpectedAnswer: an alert was not acknowledged
    """
    patience, deliveries = patience or Patience(), list[Delivery]()
    # A thousand sockets get the same bytes: one of them is parsed.
    read = cache(partial(read_event, match=target.match))
    pool = HttpPool(target.address)
    try:
        await pool.open(4)
        async with _open_sockets(target, sockets, deliveries, read) as opened:
            await first_trade(target)
            await flatten(target)
            with collector_off():
                due_at = await _cause_events(target, pool, count=events, rate=rate)
                await _until(lambda: _complete(deliveries, due_at, sockets), deliveries, patience)
            dead = [socket.lost for socket in opened if socket.lost is not None]
            if dead:
                raise SocketRefused(f"{len(dead)} of {sockets} did not last: {dead[0]}")
    finally:
        await pool.close()
    return sum_up(deliveries, due_at=due_at, sockets=sockets)


Read = Callable[[bytes], TradeEvent | None]


@asynccontextmanager
async def _open_sockets(
    target: Target, count: int, deliveries: list[Delivery], read: Read
) -> AsyncIterator[list[EventSocket]]:
    opened: list[EventSocket] = []

    def on_text(socket: int, payload: bytes, at: float) -> None:
        event = read(payload)
        if event is not None:
            deliveries.append(Delivery(socket, event, at))

    try:
        for first in range(0, count, HANDSHAKES_AT_ONCE):
            numbers = range(first, min(first + HANDSHAKES_AT_ONCE, count))
            batch = (open_socket(target, partial(on_text, number)) for number in numbers)
            opened += await asyncio.gather(*batch)
        show(f"  {count} sockets are open")
        yield opened
    finally:
        for socket in opened:
            socket.close()
        await asyncio.gather(*(socket.closed for socket in opened))


async def _cause_events(target: Target, pool: HttpPool, *, count: int, rate: float) -> dict[str, float]:
    """Post alerts at `rate`; for each its key and when it was due."""
    run, sent = uuid4().hex[:12], list[tuple[str, float, asyncio.Future[Response]]]()

    def send(number: int, due_at: float) -> None:
        alert_id = f"{run}-{number}"
        answer = pool.submit(target.alert(alert_id, action="sell" if number % 2 else "buy"))
        sent.append((alert_id, due_at, answer))

    await paced(count, rate=rate, send=send)
    due: dict[str, float] = {}
    for alert_id, due_at, answer in sent:
        async with asyncio.timeout(30.0):
            response = await answer
        receipt = read_receipt(response.body)
        if response.status not in (200, 201, 202):
            raise UnexpectedAnswer("alert for a fan-out", status=response.status, body=response.body)
        key = alert_id if target.match is Match.ALERT_ID else receipt.key
        if key is None:
            raise BenchmarkError(f"the answer names no signal: {response.body[:200]!r}")
        due[key] = due_at
    return due


def _complete(deliveries: list[Delivery], due_at: dict[str, float], sockets: int) -> bool:
    enough = len(deliveries) >= len(due_at) * sockets
    return enough and sum_up(deliveries, due_at=due_at, sockets=sockets).received == len(due_at) * sockets


async def _until(complete: Callable[[], bool], deliveries: list[Delivery], patience: Patience) -> None:
    started = changed = perf_counter()
    heard = len(deliveries)
    while not complete():
        now = perf_counter()
        if len(deliveries) != heard:
            heard, changed = len(deliveries), now
        if now - changed > patience.quiet_s or now - started > patience.limit_s:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(patience.linger_s)
