"""What others publish, on its way to the hub."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from tests.runtime.support import running
from trendedge.actors.frames import event_frame
from trendedge.actors.hub import Subscription
from trendedge.actors.listening import Received
from trendedge.actors.messages import PushEvents
from trendedge.runtime import ActorRef, ServiceSpec, SupervisorSpec


@dataclass
class Publication:
    channel: str = "ws:system:somebody"
    payload: bytes = b'{"type":"scan.complete","data":{}}'


async def test_a_hub_that_takes_nothing_ends_no_subscription() -> None:
    taken = anyio.Event()

    @asynccontextmanager
    async def subscribe(pattern: str) -> AsyncIterator[AsyncIterator[Received]]:
        async def messages() -> AsyncIterator[Received]:
            yield Publication()
            taken.set()  # whoever reads on has taken it
            await anyio.sleep_forever()

        yield messages()

    nobody = ActorRef[PushEvents]("hub")
    spec = ServiceSpec("subscription", lambda: Subscription(subscribe, nobody, node="n", frame=event_frame))
    async with running(SupervisorSpec("events", [spec])) as root:
        with anyio.fail_after(10):
            await taken.wait()
        assert root.children[0].restarts == 0
