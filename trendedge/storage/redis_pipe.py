"""Commands that are sent at the same time share one connection, which is opened again when it was lost."""

import asyncio
import ssl
from dataclasses import dataclass, field

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from trendedge.storage.redis_wire import Wire, Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server listens, and what it wants to hear first."""

    host: str = "localhost"
    port: int = 6379
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0

    async def connect(self, wire: Wire) -> None:
        """Open the connection, and say what has to be said first: nothing more than that, since commands are billed.

        :raises OSError: nobody listens there, or its certificate is not the right one
        :raises RedisConnectionError: the server refuses us
        """
        await asyncio.get_running_loop().create_connection(lambda: wire, self.host, self.port, ssl=self.tls)
        first: list[Words] = []
        if self.password is not None:
            first.append(("AUTH", self.username, self.password) if self.username else ("AUTH", self.password))
        if self.database:
            first.append(("SELECT", self.database))
        try:
            for words in first:
                await wire.ask(words)
        except ResponseError as error:
            raise RedisConnectionError(str(error)) from error


class Pipe:
    """Sends each command at once, behind those that have no answer yet.

    The client of redis-py would do, but its connections alone take 1.6 times as long for a command when there are few,
    and its pool and its time-outs of each read and each write take more. The figures are in
    docs/explanation/performance.md.
    """

    def __init__(self, endpoint: Endpoint, *, connect_s: float, answer_s: float) -> None:
        """:param connect_s: seconds until the server must have answered the first words
        :param answer_s: seconds that an answer may take
        """
        self._endpoint = endpoint
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[Wire] | None = None
        self._closed = False

    async def execute(self, *words: str | bytes | int | float) -> object:
        """Send one command and return its answer, or raise what the server refuses it with.

        :raises RedisError: nobody knows what the server has done
        :raises OSError: the server cannot be reached
        """
        wire = self._wire
        if wire is None or not wire.usable:
            wire = await self._usable()
        return await wire.ask(words)

    async def aclose(self) -> None:
        """Give up what waits, and the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._wire is not None:
            self._wire.give_up(RedisConnectionError("closed"))

    async def _usable(self) -> Wire:
        while (wire := self._wire) is not None and not wire.lost:
            if wire.usable:
                return wire
            await wire.room()
        if self._closed:
            raise RedisConnectionError("closed")
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="redis connects")
            self._connecting.add_done_callback(self._connected)
        connecting = self._connecting
        try:
            return await asyncio.shield(connecting)  # one connects for all; who gives up waiting disturbs nobody
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if connecting.cancelled() and not (task is not None and task.cancelling()):
                raise RedisConnectionError("closed") from None  # nobody has cancelled who waits
            raise

    async def _connect(self) -> Wire:
        wire = Wire(self._answer_s)
        try:
            async with asyncio.timeout(self._connect_s):
                await self._endpoint.connect(wire)
        except TimeoutError as error:
            raise RedisTimeoutError(f"no connection within {self._connect_s:g} s") from error
        else:
            self._wire = wire
            return wire
        finally:
            if self._wire is not wire:
                wire.give_up(RedisConnectionError("given up before it was connected"))

    def _connected(self, task: asyncio.Task[Wire]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more
