"""Commands that are sent at the same time share a round trip, and a few connections."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

type Words = tuple[str | bytes | int | float, ...]

LANES = 4
"""Round trips that are under way at once. Whoever comes in between waits for the next one, with all the others."""
_BATCH = 256
"""Commands in one round trip, at most."""


@dataclass(eq=False, slots=True)
class Lane:
    """One connection, which is opened when it is first needed and again when it was lost."""

    connection: Connection
    """Without a time-out of its own for each read and each write: there is one for the whole round trip."""
    connect_s: float
    answer_s: float

    async def round_trip(self, commands: Sequence[Words]) -> list[object]:
        """Send commands, once, and read their answers. What the server refuses is among the answers, as an error.

        :raises RedisError: nobody knows what the server has done; the connection is closed
        """
        await self._connect()
        connection = self.connection
        try:
            async with asyncio.timeout(self.answer_s):
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                return [await self._answer() for _ in commands]
        except TimeoutError as error:
            raise RedisTimeoutError(f"no answer within {self.answer_s:g} s") from error

    async def _answer(self) -> object:
        try:
            return await self.connection.read_response()
        except ResponseError as error:
            return error

    async def _connect(self) -> None:
        connection = self.connection
        try:
            if connection.is_connected and await connection.can_read():
                # Nothing was asked: either the server has closed it, or it would give somebody else's answer.
                await connection.disconnect(nowait=True)
        except (RedisConnectionError, OSError):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            try:
                async with asyncio.timeout(self.connect_s):
                    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            except TimeoutError as error:
                await connection.disconnect(nowait=True)
                raise RedisTimeoutError(f"no connection within {self.connect_s:g} s") from error


class Pipe:
    """Sends each command once, alone while there is little to do and in a pipeline while there is much.

    A connection for each command would be as fast on a quiet day; under load the commands would queue for connections,
    and a healthy server would look like one that does not answer. The client of redis-py would do for it, but takes
    half as long again for a command: it locks its pool twice, and waits for each read and each write in a time-out of
    its own.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = tuple(lanes)
        self._free = list(lanes)
        self._waiting: deque[tuple[Words, asyncio.Future[object]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def execute(self, *words: str | bytes | int | float) -> object:
        """Send one command and return its answer, or raise what the driver raises."""
        if self._free and not self._waiting:
            lane = self._free.pop()
            try:
                (found,) = await lane.round_trip((words,))
            finally:
                self._free.append(lane)
                self._send_waiting()
            if isinstance(found, Exception):
                raise found
            return found
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((words, answer))
        return await answer

    async def aclose(self) -> None:
        """Give up what waits."""
        for sender in tuple(self._senders):
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._fail_waiting(RedisConnectionError("closed"))
        for lane in self._lanes:
            await lane.connection.disconnect()

    def _send_waiting(self) -> None:
        if self._waiting and self._free:
            sender = asyncio.create_task(self._send(self._free.pop()))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def _send(self, lane: Lane) -> None:
        try:
            while self._waiting:
                await self._send_batch(lane)
        finally:
            self._free.append(lane)

    async def _send_batch(self, lane: Lane) -> None:
        batch = list(islice(self._waiting, _BATCH))
        for _ in batch:
            self._waiting.popleft()
        wanted = [(words, answer) for words, answer in batch if not answer.done()]
        if not wanted:
            return
        try:
            found = await lane.round_trip([words for words, _ in wanted])
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
