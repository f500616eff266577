"""Hear what others publish on Redis, through every outage of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from itertools import chain, repeat
from typing import Protocol

import anyio
import structlog

from trendedge.storage.errors import StoreUnavailable

log = structlog.get_logger("trendedge.listening")

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Between attempts to subscribe again; the last one repeats."""


class Received(Protocol):
    """One message from a Redis channel."""

    @property
    def channel(self) -> str:
        """Name of the channel."""
        ...

    @property
    def payload(self) -> bytes:
        """What was published."""
        ...


type Subscribe = Callable[[str], AbstractAsyncContextManager[AsyncIterator[Received]]]
"""Listens on the channels that match a pattern. Raises `StoreUnavailable` without a connection, and when it is lost."""


async def listen(subscribe: Subscribe, pattern: str, take: Callable[[Received], Awaitable[None]]) -> None:
    """Call `take` with each message on the channels that match, one after the other, until cancelled.

    Messages that are published while the connection is lost are lost, as Redis has it. An outage is no crash: restarts
    would use up the intensity of a supervisor and take the whole tree down.
    """
    pauses = chain(PAUSES_S, repeat(PAUSES_S[-1]))
    while True:
        begun = anyio.current_time()
        try:
            async with subscribe(pattern) as messages:
                async for message in messages:
                    await take(message)
        except StoreUnavailable as error:
            # Not as soon as it is subscribed: whether the server allows it is told with the first message.
            if anyio.current_time() - begun > PAUSES_S[-1]:
                pauses = chain(PAUSES_S, repeat(PAUSES_S[-1]))
            log.warning("subscription lost", pattern=pattern, error=str(error))
            await anyio.sleep(next(pauses))
