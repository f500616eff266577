"""The hub: brings events to the sockets of their user, whether they come from inside or over Redis."""

from collections.abc import Callable

import anyio
import orjson
import structlog

from trendedge.actors.listening import Received, Subscribe, listen
from trendedge.actors.messages import PushEvents
from trendedge.actors.sockets import CHANNELS, Sockets
from trendedge.runtime import Actor, ActorRef, ActorStopped, Service, ServiceContext

log = structlog.get_logger("trendedge.hub")

PATTERN = "ws:*"
LONGEST_TEXT = 64 * 1024


class Hub(Actor[PushEvents]):
    """Pushes to this process's sockets. Never waits for a client: a slow one loses its socket instead."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    async def receive(self, message: PushEvents) -> int:
        """Queue the frames; answers how many sockets they reach."""
        return self._sockets.push(message.user_id, message.channel, message.frames)


def push(hub: ActorRef[PushEvents], events: PushEvents) -> None:
    """Hand events to the hub, if it takes any.

    While it is being restarted it does not. Nobody fails over that: what happened here is stored before it is told, and
    whoever missed it gets it with `resume`.
    """
    try:
        hub.tell_nowait(events)
    except ActorStopped:
        log.warning("hub takes nothing", user_id=events.user_id, channel=events.channel, frames=len(events.frames))


class Subscription(Service):
    """Listens for what others publish on `ws:{channel}:{user_id}` and hands it to the hub.

    That is JSON `{"type", "data"}`; what this system itself publishes also has `origin`, `id` and `at`.
    """

    def __init__(self, subscribe: Subscribe, hub: ActorRef[PushEvents], *, node: str, frame: "Frame") -> None:
        self._subscribe = subscribe
        self._hub = hub
        self._node = node
        self._frame = frame

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`."""
        context.started()  # a process without Redis is degraded, not dead: it must not hold up the start
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, self._subscribe, PATTERN, self._pass_on)
            await context.stopping.wait()
            tasks.cancel_scope.cancel()

    async def _pass_on(self, message: Received) -> None:
        pushed = self._read(message)
        if pushed is not None:
            push(self._hub, pushed)

    def _read(self, message: Received) -> PushEvents | None:
        _, channel, user_id = [*message.channel.split(":", 2), "", ""][:3]
        if channel not in CHANNELS or not user_id or len(message.payload) > LONGEST_TEXT:
            return None
        try:
            event = orjson.loads(message.payload)
        except orjson.JSONDecodeError:
            log.warning("unreadable publication", channel=message.channel)
            return None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str) or event.get("origin") == self._node:
            return None  # what this process published it has pushed already
        return PushEvents(user_id=user_id, channel=channel, frames=(self._frame(event),))


type Frame = Callable[[dict[str, object]], str]
