"""Messages in memory: one sender, one receiver, one event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

import anyio

from trendedge.runtime import Actor, ActorRef, ChildSpec, MailboxSpec, Request, SupervisorSpec, running

CAPACITY = 1024
"""Of every queue here: ours is bounded, so the others are too."""


@dataclass(frozen=True, slots=True)
class Add(Request[int]):
    """Add this; answers the sum."""

    number: int


class Sum(Actor[Add]):
    """Adds, and says when so many messages have come."""

    def __init__(self, expected: int, done: anyio.Event) -> None:
        self._left, self._sum, self._done = expected, 0, done

    async def receive(self, message: Add) -> int:
        self._sum += message.number
        self._left -= 1
        if not self._left:
            self._done.set()
        return self._sum


@asynccontextmanager
async def _summing(expected: int) -> AsyncIterator[tuple[ActorRef[Add], anyio.Event]]:
    ref, done = ActorRef[Add]("sum"), anyio.Event()
    child = ChildSpec("sum", lambda: Sum(expected, done), ref, mailbox=MailboxSpec(CAPACITY))
    async with running(SupervisorSpec("root", [child])):
        yield ref, done


async def tell(count: int) -> float:
    """Seconds for `count` tells, until the last was handled."""
    async with _summing(count) as (ref, done):
        begun = perf_counter()
        for number in range(count):
            await ref.tell(Add(number))
        await done.wait()
        return perf_counter() - begun


async def ask(count: int) -> float:
    """Seconds for `count` asks, one after the other."""
    async with _summing(count) as (ref, _):
        begun = perf_counter()
        for number in range(count):
            await ref.ask(Add(number), timeout_s=5)
        return perf_counter() - begun


async def queue(count: int) -> float:
    """Seconds for `count` messages through an `asyncio.Queue`: no supervision, no policy, no answer."""
    line: asyncio.Queue[Add] = asyncio.Queue(CAPACITY)

    async def receive() -> int:
        total = 0
        for _ in range(count):
            total += (await line.get()).number
        return total

    begun = perf_counter()
    receiver = asyncio.create_task(receive())
    for number in range(count):
        await line.put(Add(number))
    await receiver
    return perf_counter() - begun


async def stream(count: int) -> float:
    """Seconds for `count` messages through an anyio memory stream."""
    sender, receiver = anyio.create_memory_object_stream[Add](CAPACITY)

    async def receive() -> None:
        total = 0
        async for message in receiver:
            total += message.number

    begun = perf_counter()
    async with receiver, anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        async with sender:
            for number in range(count):
                await sender.send(Add(number))
    return perf_counter() - begun


type Measure = Callable[[int], Awaitable[float]]

OURS: dict[str, Measure] = {"tell": tell, "ask": ask}
FLOORS: dict[str, Measure] = {"asyncio.Queue": queue, "anyio stream": stream}
