"""What a process takes back when it leaves in good order: it lives, so none of its attempts was its death."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    Backoff,
    ChildSpec,
    Durability,
    DurableRef,
    MailboxSpec,
    Restart,
    RetryPolicy,
    Strategy,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.child import LEAVE_S


class Clumsy(Actor[str]):
    """Fails as soon as it is let; or hangs, and is cancelled."""

    def __init__(self, begun: anyio.Event, gate: anyio.Event) -> None:
        self._begun, self._gate = begun, gate

    async def receive(self, message: str) -> None:
        self._begun.set()
        await self._gate.wait()
        raise ValueError(message)


class Leaver:
    """A process that finds one message in its journal, tried once before: by one that died."""

    def __init__(
        self,
        journal: Callable[..., MemoryJournal] = MemoryJournal,
        *,
        keyed: bool,
        delay_s: float = 0.0,
        shutdown_s: float = 5.0,
        restart: Restart = Restart.PERMANENT,
    ) -> None:
        self.journal = journal(entries={"1": b"message"}, attempts={"1": 1})
        self.begun, self.gate = anyio.Event(), anyio.Event()
        self.ref = DurableRef[str]("a")
        self.child = ChildSpec(
            "a",
            lambda: Clumsy(self.begun, self.gate),
            self.ref,
            restart,
            shutdown_s=shutdown_s,
            mailbox=MailboxSpec(key=(lambda message: message) if keyed else None),
            retry=RetryPolicy(delays_s=(delay_s, delay_s)),
            durability=Durability(self.journal, "a", str.encode, bytes.decode),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Supervisor]:
        async with running(SupervisorSpec("root", [self.child], backoff=Backoff(600, longest_s=600))) as root:
            await self.begun.wait()
            assert self.journal.attempts == {"1": 2}
            yield root
        assert self.journal.entries == {"1": b"message"}


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_handler_that_fails_at_an_orderly_stop_has_killed_nobody(keyed: bool) -> None:
    leaver = Leaver(keyed=keyed)
    async with leaver.running() as root:
        root.request_stop()
        await until(lambda: leaver.ref.cell.stopping)
        leaver.gate.set()
    assert leaver.journal.attempts == {"1": 1}


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_handler_that_waits_for_its_retry_at_an_orderly_stop_has_killed_nobody(keyed: bool) -> None:
    leaver = Leaver(keyed=keyed, delay_s=600)
    leaver.gate.set()
    async with leaver.running():
        await until(lambda: leaver.ref.cell.stats.failed == 1)
    assert leaver.journal.attempts == {"1": 1}


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_handler_that_overruns_an_orderly_stop_has_killed_nobody(keyed: bool) -> None:
    leaver = Leaver(keyed=keyed, shutdown_s=0.01)
    async with leaver.running():
        pass
    assert leaver.journal.attempts == {"1": 1}


@pytest.mark.parametrize("ends", ["by itself", "removed"])
async def test_a_child_that_ends_and_is_brought_back_has_killed_nobody(ends: str) -> None:
    leaver = Leaver(keyed=False, restart=Restart.TEMPORARY, shutdown_s=0.01)
    async with leaver.running() as root:
        for _ in range(4):
            if ends == "by itself":
                leaver.gate.set()
                await until(lambda: leaver.ref.cell.closed)
            if root.children:  # of the spec: it stays known when it has ended
                await root.stop_child("a")
            assert leaver.journal.attempts == {"1": 1}
            leaver.begun, leaver.gate = anyio.Event(), anyio.Event()
            await root.start_child(leaver.child)
            await leaver.begun.wait()
    assert (leaver.journal.attempts, leaver.journal.dead) == ({"1": 1}, [])


class Silent(MemoryJournal):
    """Never answers who leaves."""

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        await anyio.sleep_forever()


async def test_a_stop_waits_a_second_for_a_journal_that_does_not_answer() -> None:
    leaver = Leaver(Silent, keyed=True, shutdown_s=0.01)
    async with leaver.running() as root:
        before = anyio.current_time()
        root.request_stop()
        await root.ended.wait()
        assert LEAVE_S <= anyio.current_time() - before < LEAVE_S + 2
    assert leaver.journal.attempts == {"1": 2}


class Defective(MemoryJournal):
    """Has a mistake where attempts are taken back."""

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        raise KeyError(*entry_ids)


async def test_a_journal_that_fails_when_an_actor_leaves_keeps_nobody_from_stopping() -> None:
    leaver = Leaver(Defective, keyed=True, shutdown_s=0.01)
    with structlog.testing.capture_logs() as logs:
        async with leaver.running() as root:
            pass
    assert root.ended.is_set()
    assert [one["cause"] for one in logs if one["event"] == "crashed"] == ["KeyError: '1'"]


class SlowToLeave(MemoryJournal):
    """Takes its time where attempts are taken back."""

    asked: anyio.Event
    answer: anyio.Event

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        self.asked.set()
        await self.answer.wait()
        await super().uncount(mailbox, entry_ids)


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_child_that_is_removed_while_it_leaves_ends_nobody(strategy: Strategy) -> None:
    leaver = Leaver(SlowToLeave, keyed=False, restart=Restart.TEMPORARY)
    assert isinstance(leaver.journal, SlowToLeave)
    leaver.journal.asked, leaver.journal.answer = anyio.Event(), anyio.Event()
    spec = SupervisorSpec("root", [leaver.child], strategy=strategy, intensity=0)
    async with running(spec) as root, anyio.create_task_group() as tasks:
        await leaver.begun.wait()
        leaver.gate.set()
        await leaver.journal.asked.wait()
        tasks.start_soon(root.stop_child, "a")
        await anyio.wait_all_tasks_blocked()
        leaver.journal.answer.set()
        await until(lambda: not (root.children or root.members.leaving))
        assert root.status == "running"
