"""What many idle actors cost. Run as a program of its own, so that the process holds nothing else."""

import asyncio
import gc
import json
import sys
from time import perf_counter

import psutil

from trendedge.runtime import Actor, ActorRef, ChildSpec, MailboxSpec, SupervisorSpec, running


class Idle(Actor[str]):
    """Does nothing."""

    async def receive(self, message: str) -> None:
        pass


def _resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 1e6)


async def children(count: int) -> dict[str, float]:
    """A supervisor with `count` children: seconds until all are ready, MB that they take."""
    before = _resident_mb()
    specs = [ChildSpec(str(number), Idle, ActorRef[str](str(number))) for number in range(count)]
    begun = perf_counter()
    async with running(SupervisorSpec("root", specs)):
        started_s = perf_counter() - begun
        return {"start_s": started_s, "mb": _resident_mb() - before}


async def instances(count: int) -> dict[str, float]:
    """A keyed actor with `count` instances that have each handled one message: MB that they take."""
    ref = ActorRef[str]("keyed")
    mailbox = MailboxSpec(count, key=lambda message: message)
    async with running(SupervisorSpec("root", [ChildSpec("keyed", Idle, ref, mailbox=mailbox)])):
        before = _resident_mb()
        for number in range(count):
            await ref.tell(str(number))
        while ref.cell.depth:  # noqa: ASYNC110 - a mailbox has no event for outsiders
            await asyncio.sleep(0.01)
        return {"mb": _resident_mb() - before}


if __name__ == "__main__":
    what, many = sys.argv[1], int(sys.argv[2])
    print(json.dumps(asyncio.run({"children": children, "instances": instances}[what](many))))
