"""Commands that are sent at the same time share a round trip, and a few connections."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

type Words = tuple[str | bytes | int | float, ...]

_LANES = 4
"""Round trips that are under way at once. Whoever comes in between waits for the next one, with all the others."""
_BATCH = 256
"""Commands in one round trip, at most."""


class Pipe:
    """Sends each command once, alone while there is little to do and in a pipeline while there is much.

    A connection for each command would be as fast on a quiet day; under load the commands would queue for connections,
    and a healthy server would look like one that does not answer.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._alone: Callable[..., Awaitable[object]] = client.execute_command
        self._under_way = 0
        self._waiting: deque[tuple[Words, asyncio.Future[object]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def execute(self, *words: str | bytes | int | float) -> object:
        """Send one command and return its answer, or raise what the driver raises."""
        if self._under_way < _LANES and not self._waiting:
            self._under_way += 1
            try:
                return await self._alone(*words)
            finally:
                self._under_way -= 1
                self._send_waiting()
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((words, answer))
        return await answer

    async def aclose(self) -> None:
        """Give up what waits."""
        for sender in tuple(self._senders):
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._fail_waiting(RedisConnectionError("closed"))

    def _send_waiting(self) -> None:
        if self._waiting and self._under_way < _LANES:
            self._under_way += 1
            sender = asyncio.create_task(self._send())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def _send(self) -> None:
        try:
            while self._waiting:
                await self._send_batch()
        finally:
            self._under_way -= 1

    async def _send_batch(self) -> None:
        batch = list(islice(self._waiting, _BATCH))
        for _ in batch:
            self._waiting.popleft()
        wanted = [(words, answer) for words, answer in batch if not answer.done()]
        try:
            found = await self._round_trip([words for words, _ in wanted])
        except BaseException as error:
            for _, answer in wanted:
                _settle(answer, _known(error))
            # They would only find out the same, one time-out after the other.
            self._fail_waiting(_known(error))
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), one in zip(wanted, found, strict=True):
            _settle(answer, one)

    async def _round_trip(self, commands: Sequence[Words]) -> Sequence[object]:
        if not commands:
            return ()
        pipeline = self._client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        found: list[object] = await pipeline.execute(raise_on_error=False)
        return found

    def _fail_waiting(self, error: Exception) -> None:
        while self._waiting:
            _settle(self._waiting.popleft()[1], error)


def _known(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RedisConnectionError("the connection was given up")


def _settle(answer: asyncio.Future[object], found: object) -> None:
    if answer.done():
        return  # whoever asked has been cancelled
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
