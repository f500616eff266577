"""What the replay of a dead signal means: it may trade after all, once, on the book as it then is."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import orjson

from trendedge.actors.executor import request_of
from trendedge.actors.messages import ExecuteSignal
from trendedge.domain.execution import LAST_PRICE_MAX_AGE, Execution, decide, duplicate_of
from trendedge.storage.execution_rows import encode, fill_item, trade_item
from trendedge.storage.executions import Trace, load_book, select_outcome
from trendedge.storage.postgres import Database
from trendedge.storage.prices import select_last_price


def revival(reopen: Callable[[str], Awaitable[bool]]) -> Callable[[ExecuteSignal], Awaitable[None]]:
    """What is done before a dead letter is replayed: the signal's outcome `dead` is taken back.

    It is `accepted` again, as its owner was told at first. The next commit gives it an outcome, and only one does:
    however often it is delivered, it trades once. A signal with another outcome keeps that, and its replay trades
    nothing.

    :param reopen: takes back the outcome of the signal of this id, on behalf of who has its mail
    """

    async def revive(message: ExecuteSignal) -> None:
        await reopen(message.signal_id)

    return revive


class Rehearsal:
    """What a replay would do now: the decision on the present book and at the present time, and nothing stored."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def __call__(self, message: ExecuteSignal) -> dict[str, Any]:
        """`{"trades", "note", "decision"}`; no decision where there is nothing to decide any more.

        :raises UnknownAccount: the account is gone; a replay would be buried again
        :raises StoreUnavailable: PostgreSQL is down
        """
        known = await select_outcome(
            self._database, message.signal_id, mark=message.signal.meaning(message.user_id), at=message.received_at
        )
        if known.status not in (None, "dead", "accepted"):
            note = f"The signal already has the outcome {known.status}: a replay trades nothing."
            return {"trades": False, "note": note, "decision": None}
        execution = await self._decide(message, first=known.first_id)
        note = "A replay now would be decided so."
        return {"trades": bool(execution.orders), "note": note, "decision": _shown(message, execution)}

    async def _decide(self, message: ExecuteSignal, *, first: str | None) -> Execution:
        book, now = await load_book(self._database, message.account_id), self._clock()
        if first is not None:
            return duplicate_of(request_of(message), first=first, book=book)
        last_price = await select_last_price(
            self._database,
            user_id=message.user_id,
            root=message.signal.symbol.root,
            since=now - LAST_PRICE_MAX_AGE,
        )
        return decide(request_of(message), book=book, last_price=last_price, now=now)


def _shown(message: ExecuteSignal, execution: Execution) -> dict[str, Any]:
    trace: dict[str, Any] = orjson.loads(encode(request_of(message), execution, Trace(raw=message.raw)))
    return {
        **{name: trace["signal"][name] for name in ("status", "rejection", "contract", "checks")},
        "orders": trace["orders"],
        "fills": [fill_item(fill) for fill in execution.fills],
        "trades": [trade_item(trade) for trade in execution.trades],
        "positions": trace["positions"],
    }
