"""What many idle actors cost. Run as a program of its own, so that the process holds nothing else."""

import asyncio
import gc
import json
import sys
from time import perf_counter

import anyio
import psutil

from trendedge.runtime import Actor, ActorRef, ChildSpec, MailboxSpec, Supervisor, SupervisorSpec


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
    root, ready = Supervisor(SupervisorSpec("root", specs)), anyio.Event()
    async with anyio.create_task_group() as tasks:
        begun = perf_counter()
        tasks.start_soon(root.run, ready.set)
        await ready.wait()
        started_s = perf_counter() - begun
        taken_mb = _resident_mb() - before
        root.request_stop()
    return {"start_s": started_s, "mb": taken_mb}


async def instances(count: int) -> dict[str, float]:
    """A keyed actor with `count` instances that have each handled one message: MB that they take."""
    ref, ready = ActorRef[str]("keyed"), anyio.Event()
    mailbox = MailboxSpec(count, key=lambda message: message)
    root = Supervisor(SupervisorSpec("root", [ChildSpec("keyed", Idle, ref, mailbox=mailbox)]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(root.run, ready.set)
        await ready.wait()
        before = _resident_mb()
        for number in range(count):
            await ref.tell(str(number))
        while ref.cell.depth:  # noqa: ASYNC110 - a mailbox has no event for outsiders
            await asyncio.sleep(0.01)
        taken_mb = _resident_mb() - before
        root.request_stop()
    return {"mb": taken_mb}


if __name__ == "__main__":
    what, many = sys.argv[1], int(sys.argv[2])
    print(json.dumps(asyncio.run({"children": children, "instances": instances}[what](many))))
