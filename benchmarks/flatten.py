"""Closing what earlier alerts left open, so that each pair of alerts is a trade of its own again.

A probe, or an alert that was refused under overload, leaves a position; every later buy and sell would then only grow
and shrink it, the list of trades would stay empty, and something else would be measured than a trade's way.
"""

import asyncio
from decimal import Decimal
from time import perf_counter
from typing import Any
from uuid import uuid4

import orjson

from benchmarks.errors import BenchmarkError, UnexpectedAnswer
from benchmarks.http_client import HttpPool, Response
from benchmarks.target import POSITIONS_PATH, Target

EVENT_AFTER_S = 0.25
"""The event of the closing trade follows its commit. Whoever opens a socket meanwhile would count it as a stray one."""


async def fetch(target: Target, request: bytes, *, timeout_s: float = 10.0) -> Response:
    """Send one request on a connection of its own.

    :raises OSError: nobody listens there, or no answer came within `timeout_s`
    """
    pool = HttpPool(target.address)
    try:
        async with asyncio.timeout(timeout_s):
            return await pool.submit(request)
    finally:
        await pool.close()


async def flatten(target: Target, *, timeout_s: float = 20.0) -> None:
    """Bring the user's net position to zero, and wait until it is. Nothing to do where positions are not served.

    :raises UnexpectedAnswer: the closing alert was refused
    :raises BenchmarkError: the position is not flat after `timeout_s`
    """
    deadline, asked = perf_counter() + timeout_s, 0
    while held := await _held(target):
        if perf_counter() > deadline:
            raise BenchmarkError(f"a position of {held} contracts could not be closed in {timeout_s:.0f} s")
        if held != asked:
            await _trade_away(target, held)
            asked = held
        await asyncio.sleep(0.02)
    if asked:
        await asyncio.sleep(EVENT_AFTER_S)


async def _held(target: Target) -> int:
    response = await fetch(target, target.get(POSITIONS_PATH))
    if response.status == 404:
        return 0
    if response.status != 200:
        raise UnexpectedAnswer(f"GET {POSITIONS_PATH}", status=response.status, body=response.body)
    items: Any = orjson.loads(response.body)["items"]
    return sum(int(Decimal(item["quantity"])) for item in items)


async def _trade_away(target: Target, held: int) -> None:
    action = "sell" if held > 0 else "buy"
    request = target.alert(f"flat-{uuid4().hex[:12]}", action=action, quantity=abs(held))
    response = await fetch(target, request)
    if not 200 <= response.status < 300:
        raise UnexpectedAnswer("alert that closes a position", status=response.status, body=response.body)
