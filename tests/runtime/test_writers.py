"""What writes to a journal beside the handlers, and somebody cancels who has nothing to do with it."""

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_first_steps import AT_ONCE, Writes, cancel_tasks
from trendedge.runtime import (
    Backoff,
    ChildSpec,
    Durability,
    DurableRef,
    Entry,
    Settlement,
    SupervisorSpec,
)
from trendedge.runtime.writers import Writers


class Slow(MemoryJournal):
    """Settles when it is let; a stubborn one ends with no cancellation sooner."""

    def __init__(self, *, stubborn: bool = False) -> None:
        super().__init__()
        self.gate, self.settling, self._stubborn = anyio.Event(), 0, stubborn

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        self.settling += 1
        cancelled: asyncio.CancelledError | None = None
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError as error:
                if not self._stubborn:
                    raise
                cancelled = error
        if cancelled is not None:
            raise cancelled
        await super().settle(mailbox, settlements, begin=begin)


def tree(journal: MemoryJournal, life: list[str], backoff: Backoff = AT_ONCE) -> tuple[DurableRef[str], SupervisorSpec]:
    ref = DurableRef[str]("a")
    durability = Durability(journal, "a", str.encode, bytes.decode)
    child = ChildSpec("a", lambda: Writes(life), ref, durability=durability)
    return ref, SupervisorSpec("root", [child], backoff=backoff)


@pytest.mark.parametrize("steps", [0, 1, 2, 20])
async def test_a_writer_that_is_cancelled_by_others_goes_on(steps: int) -> None:
    """Before its first step, too. What is handled is settled, and mail that has to be marked first holds up nobody."""
    journal, life = MemoryJournal(), list[str]()
    ref, spec = tree(journal, life)
    with anyio.fail_after(20):
        async with running(spec) as root:
            cancel_tasks("root/a")
            while not (root.children[0].generation == 2 and _is_there("root/a journal")):  # noqa: ASYNC110
                await asyncio.sleep(0)
            for _ in range(steps):
                await asyncio.sleep(0)
            cancel_tasks("root/a journal")
            await ref.tell("one")
            await until(lambda: not journal.entries)
            cancel_tasks("root/a journal")
            journal.orphans.append(Entry("000001", b"orphan", 0, 0.0))
            assert await ref.adopt() == 1
            await ref.tell("two")
            await until(lambda: life == ["one", "orphan", "two"] and not journal.entries)
            assert root.children[0].generation == 2


async def test_a_settlement_whose_task_is_cancelled_by_others_is_made() -> None:
    journal, life = Slow(), list[str]()
    ref, spec = tree(journal, life)
    with anyio.fail_after(20):
        async with running(spec):
            await ref.tell("one")
            await until(lambda: journal.settling == 1)
            cancel_tasks("root/a journal")
            journal.gate.set()
            await until(lambda: not journal.entries)
    assert journal.settling == 2


async def test_an_incarnation_that_is_cancelled_again_and_again_ends_after_its_writers() -> None:
    journal, life = Slow(stubborn=True), list[str]()
    ref, spec = tree(journal, life)
    with anyio.fail_after(20):
        async with running(spec) as root:
            await ref.tell("one")
            await until(lambda: journal.settling == 1)
            for _ in range(3):
                cancel_tasks("root/a")
                await anyio.wait_all_tasks_blocked()
            meanwhile = root.children[0].generation
            journal.gate.set()
            await until(lambda: root.children[0].generation == 2 and not journal.entries)
    assert meanwhile == 1


async def test_what_a_writer_raises_in_its_last_turn_is_raised() -> None:
    async def fails() -> None:
        raise OSError("no")

    writers = Writers([fails], name="writer", on_failure=lambda: None)
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="no"):
        await writers.end()


def _is_there(name: str) -> bool:
    return any(task.get_name() == name for task in asyncio.all_tasks())
