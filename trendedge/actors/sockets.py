"""The sockets that are open right now. Kept beside the hub, not in it, so that they outlive a restart of the hub."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence

from trendedge.actors.websocket import text_frames

CHANNELS = ("trades", "trendlines", "system")
"""What a client can subscribe to (PRD INF-FR-012); all by default."""
LONGEST_BACKLOG = 256 * 1024
"""Bytes that may wait in a connection's write buffer, on top of what the kernel takes."""


class TooManyConnections(Exception):
    """The user has as many sockets open as are allowed."""

    def __init__(self, user_id: str, limit: int) -> None:
        super().__init__(f"user {user_id} already has {limit} sockets open")
        self.user_id, self.limit = user_id, limit


class SubscriberLagging(Exception):
    """The client takes its frames too slowly; what it missed it can resume after reconnecting."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} frames could not be sent: the client is too slow")
        self.waiting = waiting


class GoingAway(Exception):
    """The process is stopping."""


class Subscriber:
    """One socket's outgoing side. It never makes the sender wait.

    With a transport, frames are written to it at once: the same bytes for every socket, and no task to be woken for
    each (measured: see docs/explanation/performance.md, "Fan-out"). Without one they wait in a bounded queue.
    """

    __slots__ = ("_ended", "_frames", "_limit", "_transport", "_waiter", "channels", "user_id")

    def __init__(self, user_id: str, limit: int) -> None:
        self.user_id = user_id
        self.channels = set(CHANNELS)
        self._limit = limit
        self._frames: deque[str] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended: Exception | None = None
        self._transport: asyncio.WriteTransport | None = None

    def write_to(self, transport: asyncio.WriteTransport) -> None:
        """From now on write frames straight to the connection, which must speak WebSocket over HTTP/1.1."""
        self._transport = transport

    def push(self, frames: Sequence[str], wire: bytes) -> None:
        """Send frames, given as texts and as bytes. A client that takes them too slowly loses its socket."""
        if self._ended is not None:
            return
        transport = self._transport
        if transport is not None and not self._frames:
            if transport.get_write_buffer_size() > LONGEST_BACKLOG:
                self.end(SubscriberLagging(len(frames)))
            elif not transport.is_closing():
                transport.write(wire)
            return
        self._frames.extend(frames)
        if len(self._frames) > self._limit:
            self.end(SubscriberLagging(len(self._frames)))
            self._frames.clear()
        self._wake()

    def end(self, reason: Exception) -> None:
        """Let `next_frames` raise this once what is queued has been taken."""
        if self._ended is None:
            self._ended = reason
        self._wake()

    async def next_frames(self) -> list[str]:
        """All frames that wait, at least one, oldest first.

        :raises SubscriberLagging: the queue ran over
        :raises GoingAway: the process is stopping
        """
        while not self._frames:
            if self._ended is not None:
                raise self._ended
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Sockets:
    """All subscribers, by user."""

    def __init__(self, *, per_user: int = 10, queue_limit: int = 256) -> None:
        self._per_user = per_user
        self._queue_limit = queue_limit
        self._by_user: defaultdict[str, set[Subscriber]] = defaultdict(set)
        self._going_away = False

    def attach(self, user_id: str) -> Subscriber:
        """Register one more socket of this user, subscribed to every channel.

        :raises TooManyConnections: the user has as many open as are allowed
        :raises GoingAway: the process is stopping
        """
        if self._going_away:
            raise GoingAway
        if len(self._by_user.get(user_id, ())) >= self._per_user:
            raise TooManyConnections(user_id, self._per_user)
        subscriber = Subscriber(user_id, self._queue_limit)
        self._by_user[user_id].add(subscriber)
        return subscriber

    def detach(self, subscriber: Subscriber) -> None:
        """Forget a socket. Harmless when it is forgotten already."""
        mine = self._by_user.get(subscriber.user_id)
        if mine is not None:
            mine.discard(subscriber)
            if not mine:
                del self._by_user[subscriber.user_id]

    def push(self, user_id: str, channel: str, frames: Sequence[str]) -> int:
        """Send frames to the user's sockets that subscribed to the channel; answers how many those are."""
        mine = [one for one in self._by_user.get(user_id, ()) if channel in one.channels]
        if mine:
            wire = text_frames(frames)
            for subscriber in mine:
                subscriber.push(frames, wire)
        return len(mine)

    def reopen(self) -> None:
        """Take sockets again, after a `close_all`: the front was restarted, and the process goes on."""
        self._going_away = False

    def close_all(self) -> None:
        """Take no further socket, and let each open one end with `GoingAway`."""
        self._going_away = True
        for mine in self._by_user.values():
            for subscriber in mine:
                subscriber.end(GoingAway())

    def count(self) -> int:
        """How many sockets are open."""
        return sum(len(mine) for mine in self._by_user.values())
