"""The lanes as actors use them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from tests.runtime.support import running, until
from trendedge.actors.lanes import LANES, LOW
from trendedge.runtime import Actor, ActorRef, ChildSpec, Lanes, LanesService, ServiceSpec, SupervisorSpec


@dataclass(frozen=True)
class Compute:
    number: int


@dataclass(frozen=True)
class Computed:
    result: int


@dataclass(frozen=True)
class Crash:
    pass


@dataclass
class Workshop:
    """What the work does, and what is to be seen of it."""

    go_on: anyio.Event = field(default_factory=anyio.Event)
    begun: int = 0
    ended: int = 0
    results: list[int] = field(default_factory=list)

    async def square(self, number: int) -> int:
        self.begun += 1
        try:
            await self.go_on.wait()
        finally:
            self.ended += 1
        return number * number


class Mathematician(Actor[Compute | Computed | Crash]):
    def __init__(self, lanes: Lanes, workshop: Workshop) -> None:
        self._lanes, self._workshop = lanes, workshop

    async def receive(self, message: Compute | Computed | Crash) -> None:
        match message:
            case Compute():
                self.context.pipe_to_self(self._lanes.run(LOW, self._workshop.square, message.number), Computed)
            case Computed():
                self._workshop.results.append(message.result)
            case Crash():
                raise ValueError("crash")


@dataclass
class Scene:
    ref: ActorRef[Compute | Computed | Crash]
    lanes: Lanes
    workshop: Workshop

    def counted(self, what: str) -> int:
        return next(int(lane[what]) for lane in self.lanes.snapshot() if lane["name"] == LOW)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    lanes, workshop = Lanes(LANES), Workshop()
    ref: ActorRef[Compute | Computed | Crash] = ActorRef("mathematician")
    children: list[ServiceSpec | ChildSpec[Compute | Computed | Crash]] = [
        ServiceSpec("lanes", lambda: LanesService(lanes, drain_s=1)),
        ChildSpec("mathematician", lambda: Mathematician(lanes, workshop), ref),
    ]
    async with running(SupervisorSpec("root", children)):
        yield Scene(ref, lanes, workshop)


def test_the_lanes_are_the_requirements_queues() -> None:
    assert [(lane.name, lane.concurrency) for lane in LANES] == [
        ("high", 2),
        ("default", 4),
        ("low", 2),
        ("notifications", 2),
    ]


async def test_an_actor_goes_on_meanwhile_and_gets_the_result_as_a_message() -> None:
    async with scene() as on:
        for number in (2, 3, 4):
            await on.ref.tell(Compute(number))
        await until(lambda: (on.counted("active"), on.counted("pending")) == (2, 1))
        assert on.ref.cell.stats.handled == 3
        on.workshop.go_on.set()
        await until(lambda: sorted(on.workshop.results) == [4, 9, 16])


async def test_the_crash_of_an_actor_cancels_its_jobs_those_that_run_and_those_that_wait() -> None:
    async with scene() as on:
        for number in (2, 3, 4):
            await on.ref.tell(Compute(number))
        await until(lambda: (on.counted("active"), on.counted("pending")) == (2, 1))
        await on.ref.tell(Crash())
        await until(lambda: on.counted("cancelled") == 3)
        assert (on.workshop.begun, on.workshop.ended, on.counted("active")) == (2, 2, 0)
        on.workshop.go_on.set()
        await on.ref.tell(Compute(5))
        await until(lambda: on.workshop.results == [25])
