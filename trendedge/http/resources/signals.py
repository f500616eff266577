"""Signals, those included that have no outcome yet."""

import orjson

from trendedge.http.resources.lists import Resource
from trendedge.http.services import Services
from trendedge.storage.postgres import Database
from trendedge.storage.signals import list_signals, select_signal_trace

STATUSES = ("accepted", "filled", "working", "rejected", "quarantined", "dead")


def signals(services: Services) -> Resource:
    """`GET /api/v1/signals` lists outcomes; `GET /api/v1/signals/{id}` also knows what waits for one."""

    async def select(db: Database, user_id: str, signal_id: str) -> bytes | None:
        stored = await select_signal_trace(db, user_id, signal_id)
        if stored is not None:
            return stored
        waiting = services.pending.find(user_id, signal_id)
        if waiting is not None:
            return orjson.dumps(waiting)
        # It may have got its outcome between the two looks.
        return await select_signal_trace(db, user_id, signal_id)

    return Resource(name="signals", list_items=list_signals, select_item=select, statuses=STATUSES)
