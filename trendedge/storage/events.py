"""What a user was told, in order: a client that was away asks for what it has missed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trendedge.storage.postgres import Database, Row
from trendedge.storage.values import as_uuid


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as it was told. `data` is ready for JSON."""

    id: str
    channel: str
    type: str
    at: datetime
    data: Mapping[str, Any]


async def select_events_after(
    db: Database, user_id: str, event_id: str, *, limit: int = 1000
) -> list[StoredEvent] | None:
    """The user's events after that one, in the order in which they happened, at most `limit`.

    None when the user has no such event, or more than `limit` came after it: the client has to read everything anew.
    """
    user, event = as_uuid(user_id), as_uuid(event_id)
    seq = await db.fetchval("select seq from events where id = $1 and user_id = $2", event, user)
    if seq is None:
        return None
    rows = await db.fetch(_AFTER, user, seq, limit + 1)
    if len(rows) > limit:
        return None
    return [_event(row) for row in rows]


async def select_events_of_signal(db: Database, user_id: str, signal_id: str) -> list[StoredEvent]:
    """The events that one signal has caused, in their order. For a redelivery: it reads the user's newest events."""
    rows = await db.fetch(_OF_SIGNAL, as_uuid(user_id), signal_id)
    return [_event(row) for row in rows]


def _event(row: Row) -> StoredEvent:
    return StoredEvent(str(row["id"]), row["channel"], row["type"], row["at"], row["data"])


_AFTER = """
    select id, channel, type, at, data from events where user_id = $1 and seq > $2 order by seq limit $3
"""
_OF_SIGNAL = """
    select id, channel, type, at, data from events
    where user_id = $1 and data ->> 'signal_id' = $2 order by seq
"""
