"""`resume`: what a client missed while it was away, in the words in which it was told the others."""

from trendedge.actors.frames import event_frame, stored_wire
from trendedge.actors.sockets import Subscriber
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.events import select_events_after
from trendedge.storage.postgres import Database


async def frames_after(db: Database, subscriber: Subscriber, event_id: str) -> list[str] | None:
    """The frames of everything on the subscribed channels that came after that event, oldest first.

    None when the promise cannot be kept: the event is unknown, too much came after it, or PostgreSQL is away. An event
    that happens meanwhile may arrive twice, once live and once from here; its id is the same.
    """
    try:
        missed = await select_events_after(db, subscriber.user_id, event_id)
    except StoreUnavailable:
        return None
    if missed is None:
        return None
    return [event_frame(stored_wire(event)) for event in missed if event.channel in subscriber.channels]
