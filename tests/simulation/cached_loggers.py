"""Prints what the test kit tells of a failure, where loggers are cached that were used before it: as JSON.

In a process of its own: what is cached stays so.
"""

import io
import json
import sys
from typing import Any

import structlog

from trendedge.runtime import Actor, ChildSpec, voice
from trendedge.runtime.logs import configure_logs
from trendedge.runtime.ref import ActorRef
from trendedge.runtime.simulation import Actors, simulate
from trendedge.runtime.simulation.loop import SimulatedLoop

log = structlog.get_logger("of an actor")


class Fails(Actor[str]):
    """Gives up each message."""

    async def receive(self, message: str) -> None:
        log.info("received")
        raise ValueError(message)


class Parent(Actor[str]):
    """Lets its child fail."""

    async def receive(self, message: str) -> None:
        child = ActorRef[str]("child")
        await self.context.spawn(ChildSpec("child", Fails, child))
        await child.tell(message)


async def in_a_simulation(loop: SimulatedLoop) -> None:
    log.info("simulated")


def told() -> dict[str, Any]:
    with Actors() as actors:
        actors.start(Fails, name="own").tell("a")
        actors.start(Parent, name="parent").tell("b")
        dead = [(one.actor, one.message, str(one.error), one.attempts) for one in actors.dead_letters]
    loop = SimulatedLoop(0)
    loop.trace.verbose = True
    simulate(in_a_simulation, loop=loop)
    traced = sum("simulated" in line for line in loop.trace.lines)
    return {"dead": dead, "logged": [line["event"] for line in actors.log], "traced": traced}


def configure(whose: str, stream: io.BytesIO) -> None:
    if whose == "ours":
        configure_logs("INFO", stream=stream)
        return
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(io.TextIOWrapper(stream, write_through=True)),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    stream = io.BytesIO()
    configure(sys.argv[1], stream)
    if sys.argv[2] == "used before":
        for one in (voice.log, log):
            one.info("before")
    found = told()
    for one in (voice.log, log):
        one.info("after")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    sys.stdout.write(json.dumps(found | {"written": [line.get("message") or line.get("event") for line in lines]}))
