"""Events as they go over the wire: to sockets as frames, to Redis as publications."""

from typing import Any

import orjson

from trendedge.domain.events import CHANNEL, TradeEvent
from trendedge.domain.wire import instant
from trendedge.storage.events import StoredEvent


def event_frame(event: dict[str, Any]) -> str:
    """The text of a WebSocket frame: `{"type", "id", "at", "data"}`; what else a publication holds stays behind."""
    return orjson.dumps({name: event[name] for name in ("type", "id", "at", "data") if name in event}).decode()


def event_wire(event: TradeEvent) -> dict[str, Any]:
    """A trade event as the frame's fields."""
    return {"type": event.type.value, "id": event.id, "at": instant(event.at), "data": dict(event.data)}


def stored_wire(event: StoredEvent) -> dict[str, Any]:
    """An event that was told before, as the frame's fields."""
    return {"type": event.type, "id": event.id, "at": instant(event.at), "data": dict(event.data)}


def publication(wire: dict[str, Any], *, origin: str) -> bytes:
    """What is published on Redis: the frame's fields, and the node that it comes from, which will not push it again."""
    return orjson.dumps(wire | {"origin": origin})


def channel_key(user_id: str, channel: str = CHANNEL) -> str:
    """The Redis channel of a user (PRD INF-FR-007)."""
    return f"ws:{channel}:{user_id}"
