"""Before anything is measured: does the way of an alert work at all, and has everything run once?"""

import asyncio
from time import perf_counter

import orjson

from benchmarks.errors import BenchmarkError, NoTradeEvent, SocketRefused
from benchmarks.flatten import fetch, flatten
from benchmarks.http_client import Response
from benchmarks.session import AlertSession, Patience, open_session
from benchmarks.target import Target

PROBE_EVERY_S = 0.25
IN_FLIGHT = 8


async def first_trade(target: Target, *, timeout_s: float = 30.0, patience: Patience | None = None) -> float:
    """Post alerts until a trade event comes back; the moment (`perf_counter`) at which it was there.

    A server that is still starting may refuse the socket or the alert: both are tried again. An unanswered probe is
    repeated, because the first may have been executed before anybody listened.

    :raises NoTradeEvent: none came within `timeout_s`
    """
    started, last = perf_counter(), "the WebSocket was never open"
    while perf_counter() - started < timeout_s:
        try:
            async with open_session(target, connections=1) as session:
                remaining_s = timeout_s - (perf_counter() - started)
                return await _probe(target, session, timeout_s=remaining_s, patience=patience or Patience())
        except (SocketRefused, OSError) as error:
            last = str(error)
            await asyncio.sleep(0.02)
    raise NoTradeEvent(probes=0, waited_s=timeout_s, explanation=last)


async def _probe(target: Target, session: AlertSession, *, timeout_s: float, patience: Patience) -> float:
    started, answers, probes = perf_counter(), [], 0
    while perf_counter() - started < timeout_s:
        answers.append(session.fire(perf_counter()))
        probes += 1
        next_at = perf_counter() + PROBE_EVERY_S
        while perf_counter() < next_at:
            if (delivered_at := session.ledger.first_event_at) is not None:
                await session.settle(patience)
                return delivered_at
            await asyncio.sleep(0.001)
    explanation = await _explain(target, answers)
    raise NoTradeEvent(probes=probes, waited_s=timeout_s, explanation=explanation)


async def _explain(target: Target, answers: list[asyncio.Future[Response]]) -> str:
    """What the server says about the newest probe that it answered: its answer, or the signal's own story."""
    done = [a for a in answers if a.done() and not a.cancelled() and a.exception() is None]
    if not done:
        return "no POST was answered"
    response = done[-1].result()
    said = f"the POST was answered {response.status} {response.body[:300].decode('utf-8', 'replace')}"
    try:
        signal_id = orjson.loads(response.body)["signal_id"]
        trace = orjson.loads((await fetch(target, target.get(f"/api/v1/signals/{signal_id}"))).body)
        return f"{said}; the signal is {trace['status']!r}, rejection {trace.get('rejection')}"
    except (orjson.JSONDecodeError, KeyError, TypeError, OSError, BenchmarkError):
        return said


async def warm_up(target: Target, *, alerts: int) -> None:
    """Post `alerts` alerts, a few at a time, and wait for their events: caches, pools and plans are then filled.

    :raises NoTradeEvent: the way of an alert does not work
    """
    await first_trade(target)
    await flatten(target)
    async with open_session(target, connections=IN_FLIGHT) as session:

        async def post(share: int) -> None:
            for _ in range(share):
                await asyncio.wait([session.fire(perf_counter())])

        await asyncio.gather(*(post(alerts // IN_FLIGHT) for _ in range(IN_FLIGHT)))
        await session.settle(Patience())
