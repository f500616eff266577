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

    None when the user has no such event (any more), or more than `limit` came after it: the client has to read
    everything anew.
    """
    rows = await db.fetch(_FROM, as_uuid(user_id), as_uuid(event_id), limit + 2)
    if not rows or len(rows) > limit + 1:
        return None
    return [_event(row) for row in rows[1:]]  # the first is the one that the client has


async def select_events_of_signal(db: Database, user_id: str, signal_id: str) -> list[StoredEvent]:
    """The events that one signal has caused, in their order. For a redelivery: it reads the user's newest events."""
    rows = await db.fetch(_OF_SIGNAL, as_uuid(user_id), signal_id)
    return [_event(row) for row in rows]


def _event(row: Row) -> StoredEvent:
    return StoredEvent(str(row["id"]), row["channel"], row["type"], row["at"], row["data"])


# One statement, and so one moment: were that event looked for first, a purge might take what follows it before that is
# read, and the client would never know.
_FROM = """
    select id, channel, type, at, data from events
    where user_id = $1 and seq >= (select seq from events where id = $2 and user_id = $1)
    order by seq limit $3
"""
_OF_SIGNAL = """
    select id, channel, type, at, data from events
    where user_id = $1 and data ->> 'signal_id' = $2 order by seq
"""
