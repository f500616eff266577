"""What an idle actor costs: ten thousand of them have to fit into 60 MB."""

import gc
import tracemalloc

import anyio

from tests.runtime.support import running
from trendedge.runtime import Actor, ActorRef, ChildSpec, SupervisorSpec

MANY = 500
MOST_BYTES = 6_000


class Idle(Actor[str]):
    """Does nothing."""

    async def receive(self, message: str) -> None:
        pass


async def test_an_idle_child_takes_six_thousand_bytes_at_most_its_spec_and_address_included() -> None:
    async with running(SupervisorSpec("root", [])) as root:
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(MANY):
                await root.start_child(ChildSpec(str(number), Idle, ActorRef[str](str(number))))
            await anyio.wait_all_tasks_blocked()
            gc.collect()
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert taken / MANY <= MOST_BYTES
