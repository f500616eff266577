"""Alerts from several connections at once, each with an id of its own, and what was answered to each."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
import httpx
import orjson

from tests.system.person import WEBHOOK, Person
from tests.system.product import Product
from tests.system.waiting import eventually

PAUSE_S = 0.05
"""Between an alert that got no answer and the next one of the same connection."""

type Body = tuple[bytes, str]
"""What TradingView would post, and the content type that it would give it."""


def real_alert(number: int, alert_id: str, key: str) -> Body:
    """The `number`-th of a round of vendors' payloads, made distinct by an id: entries on both sides, and exits."""
    side = ("buy", "sell", "buy", "close")[number // 4 % 4]
    match number % 4:
        case 0:
            fields: dict[str, Any] = {"ticker": "NQ1!", "action": side, "quantity": "1", "price": "18250.25"}
            return _json(fields | {"id": alert_id, "api_key": key, "time": "2026-02-11T15:00:00Z", "interval": "60"})
        case 1:
            fields = {
                "ticker": "MNQ",
                "action": side,
                "orderType": "market",
                "signalPrice": 18500,
                "order_id": alert_id,
            }
            return _json(fields | {"takeProfit": {"amount": 100}, "passphrase": key})
        case 2:
            fields = {"symbol": "CME_MINI:ES1!", "data": side, "quantity": 2, "price": "6100.25", "order_type": "MKT"}
            return _json(fields | {"tp": 0, "sl": 0, "update_tp": False, "alert_id": alert_id, "token": key})
        case _:
            text = f"EXCHANGE=CME_MINI\nSYMBOL=MES1!\nSIGNAL={side.upper()}\nPRICE=6100.25\nID={alert_id}\nTOKEN={key}"
            return text.encode(), "text/plain; charset=utf-8"


def _json(fields: dict[str, Any]) -> Body:
    return orjson.dumps(fields), "application/json"


@dataclass
class Load:
    """What became of each alert, by its id."""

    product: Product
    person: Person
    pace_s: float = 0.0
    """Seconds that each connection waits before its next alert."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Id of the signal by id of the alert: answered 2xx, so the product has promised an outcome."""
    unanswered: dict[str, Body] = field(default_factory=dict)
    """The connection broke. It may have been made durable or not."""
    refused: Counter[int] = field(default_factory=Counter)
    """How many answers were no 2xx, by status."""
    refusals: list[httpx.Response] = field(default_factory=list)
    lines: list[list[str]] = field(default_factory=list)
    """Of each connection the signals in the order in which they were acknowledged, one before the next was posted."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(self, *, connections: int) -> None:
        """Post until cancelled."""
        async with anyio.create_task_group() as tasks:
            for _ in range(connections):
                tasks.start_soon(self._connection)

    async def acknowledges(self, more: int) -> None:
        """Wait until so many more alerts have been acknowledged."""
        enough = len(self.acknowledged) + more

        async def reached() -> bool:
            return len(self.acknowledged) >= enough

        await eventually(reached, f"{more} more alerts are acknowledged ({dict(self.refused)} refused)")

    async def refuses(self, status: int) -> httpx.Response:
        """Wait for an alert to be refused with this status; the answer."""
        seen = len(self.refusals)

        async def refused() -> httpx.Response | None:
            return next((one for one in self.refusals[seen:] if one.status_code == status), None)

        return await eventually(refused, f"an alert is refused with {status} ({dict(self.refused)} so far)")

    async def post_again(self, to: Product | None = None) -> None:
        """Post what was never answered once more, as a sender does who does not know; each must be taken now."""
        async with (to or self.product).client() as client:
            for alert_id, (body, content_type) in list(self.unanswered.items()):
                answer = await client.post(WEBHOOK, content=body, headers={"Content-Type": content_type})
                assert answer.status_code == 202, answer.text
                self.acknowledged[alert_id] = answer.json()["signal_id"]
                del self.unanswered[alert_id]

    async def settled(self) -> None:
        """Wait until every acknowledged alert has its outcome in PostgreSQL."""
        ledger, signals = self.product.ledger, set(self.acknowledged.values())
        assert len(signals) == len(self.acknowledged), "two different alerts got the same signal's id"

        async def all_there() -> bool:
            return await ledger.have_outcomes(self.person.id, signals)

        try:
            await eventually(all_there, f"{len(signals)} acknowledged alerts have their outcome", within_s=45)
        except AssertionError as error:
            outcomes = await ledger.outcomes(self.person.id)
            error.add_note(f"missing: {sorted(signals - outcomes.keys())[:10]}; {Counter(outcomes.values())}")
            raise

    async def disorder(self) -> list[str]:
        """Signals that one connection had acknowledged one after the other and that were executed in another order.

        Two connections have no order between them, nor has what was never answered and is posted again.
        """
        places = await self.product.ledger.places(self.person.id)
        found: list[str] = []
        for line in self.lines:
            executed = [signal_id for signal_id in line if signal_id in places]
            in_turn = sorted(executed, key=lambda signal_id: places[signal_id])
            found += [
                f"{self.person.email}: {one}" for one, other in zip(executed, in_turn, strict=True) if one != other
            ]
        return found

    async def _connection(self) -> None:
        line: list[str] = []
        self.lines.append(line)
        async with self.product.client(timeout_s=20) as client:
            while True:
                await self._post(client, line)
                await anyio.sleep(self.pace_s)

    async def _post(self, client: httpx.AsyncClient, line: list[str]) -> None:
        alert_id = uuid4().hex
        body, content_type = real_alert(next(self._numbers), alert_id, self.person.key)
        try:
            answer = await client.post(WEBHOOK, content=body, headers={"Content-Type": content_type})
        except httpx.TransportError as error:
            if not isinstance(error, httpx.ConnectError):
                self.unanswered[alert_id] = body, content_type
            await anyio.sleep(PAUSE_S)
            return
        if answer.is_success:
            self.acknowledged[alert_id] = signal_id = answer.json()["signal_id"]
            line.append(signal_id)
        else:
            self.refused[answer.status_code] += 1
            self.refusals.append(answer)
            await anyio.sleep(PAUSE_S)


@asynccontextmanager
async def loading(product: Product, person: Person, *, connections: int = 6) -> AsyncIterator[Load]:
    """Post alerts for as long as the block runs."""
    load = Load(product, person)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: load.run(connections=connections))
        yield load
        tasks.cancel_scope.cancel()
