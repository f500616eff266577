"""One connection to Redis: commands go out as they come, and answers come back in their order."""

import asyncio
import socket
from collections import deque
from typing import cast

import hiredis
from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from trendedge.runtime.latch import Latch

type Words = tuple[str | bytes | int | float, ...]

_NOTHING = object()
"""What the parser answers when there is no whole answer yet."""
_GRACE_S = 0.01
"""How long answers that seem too late are still waited for: they may have come while the event loop was busy."""
_FULL_BYTES = 1 << 20
"""Unsent bytes from which on whoever comes has to wait."""

_OF_A_REPLICA = ("READONLY", "MASTERDOWN")


def _refusal(said: str) -> RedisError:
    """What the server refuses a command with, as the driver would name it."""
    if said.startswith(("WRONGPASS", "NOAUTH", "ERR AUTH")):
        return AuthenticationError(said)
    if said.startswith("ERR max number of clients"):
        return RedisConnectionError(said.removeprefix("ERR "))
    return ResponseError(said.removeprefix("ERR "))


class Wire(asyncio.Protocol):
    """Sends each command once and gives each answer to whoever asked. Commands need not wait for each other.

    An answer that does not come within its time is nobody's: from there on it is unknown which answer belongs to whom,
    so the connection is given up, with all that was asked on it.
    """

    def __init__(self, answer_s: float) -> None:
        """:param answer_s: seconds that an answer may take"""
        self._answer_s = answer_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_refusal, notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._asked: deque[tuple[asyncio.Future[object], float]] = deque()
        """Who waits for an answer, the oldest first, and since when on the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        """At the last look the oldest answer was too late."""
        self._room: Latch | None = None
        """Set when there is room again; None while there is."""
        self._error: RedisError | None = None
        self._moved = False
        """The server is a replica by now: its address may lead to another one, which a new connection finds."""

    @property
    def usable(self) -> bool:
        """Whether `ask` may be called right now."""
        return self._room is None and not self.lost

    @property
    def lost(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return self._error is not None or self._moved or self._transport is None or self._transport.is_closing()

    async def room(self) -> None:
        """Return when what was asked before is on its way, or the connection lost."""
        while self._room is not None:
            await self._room.wait()

    def ask(self, words: Words) -> asyncio.Future[object]:
        """Send one command; the answer raises what the server refuses it with.

        :raises RedisError: in the answer: nobody knows what the server has done
        """
        answer: asyncio.Future[object] = self._loop.create_future()
        if self._transport is None or self.lost:
            answer.set_exception(self._error or RedisConnectionError("the connection is closed"))
            return answer
        self._transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub says: one word
        self._asked.append((answer, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._answer_s, self._look)
        return answer

    def give_up(self, error: RedisError) -> None:
        """Close the connection; whoever waits for an answer gets the error."""
        if self._error is not None:
            return
        self._error = error
        if self._transport is not None:
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        for answer, _ in self._asked:
            if not answer.done():
                answer.set_exception(error)
        self._asked.clear()

    def _look(self) -> None:
        """Whether the oldest answer is too late, at two looks in a row; one timer looks for all.

        Not whether it is the same one twice: of a server that is steadily too slow it is another at each look. What
        came while the loop was busy is read before the second look.
        """
        self._timer = None
        late, self._late = self._late, False
        if not self._asked:
            return
        _, since = self._asked[0]
        left_s = since + self._answer_s - self._loop.time()
        if left_s <= 0:
            if late:
                self.give_up(RedisTimeoutError(f"no answer within {self._answer_s:g} s"))
                return
            self._late = True
        self._timer = self._loop.call_later(max(left_s, _GRACE_S), self._look)

    # -- what the event loop calls --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol.connection_made`."""
        self._transport = stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(high=_FULL_BYTES)
        stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._error is not None:
            stream.abort()  # given up before it was there

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol.data_received`."""
        try:
            self._reader.feed(data)
            while (found := self._reader.gets()) is not _NOTHING:
                self._answered(found)
        except InvalidResponse as error:
            self.give_up(error)

    def _answered(self, found: object) -> None:
        if not self._asked:
            self.give_up(RedisConnectionError(f"the server says what nobody asked: {found!s:.100}"))
            return
        answer, _ = self._asked.popleft()
        if not answer.done():  # else whoever asked has been cancelled
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)
        self._moved = self._moved or (isinstance(found, ResponseError) and str(found).startswith(_OF_A_REPLICA))
        if self._moved and not self._asked:
            self.give_up(RedisConnectionError("the server is a replica by now"))

    def pause_writing(self) -> None:
        """As `asyncio.Protocol.pause_writing`."""
        if self._room is None:
            self._room = Latch()

    def resume_writing(self) -> None:
        """As `asyncio.Protocol.resume_writing`."""
        if self._room is not None:
            self._room.set()
            self._room = None

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.Protocol.connection_lost`."""
        self.give_up(RedisConnectionError(str(exc) if exc else "the server has closed the connection"))
