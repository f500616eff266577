"""What waits in the mailbox of an actor that drains is handled before its stop, whatever state the stop finds it in."""

import asyncio

import anyio
import pytest
import structlog

from tests.runtime.support import running, until
from tests.runtime.test_mailbox import Gate, Work, tree
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    MailboxSpec,
    RetryPolicy,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.simulation import Actors


async def test_drain_works_off_what_waits_before_the_stop() -> None:
    ref, log, permits = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(5)
    async with running(tree(ref, Gate(log, permits), MailboxSpec(drain=True))):
        for number in range(5):
            await ref.tell(Work(number=number))
    assert [number for _, number in log] == [0, 1, 2, 3, 4]


def test_a_drain_handles_neither_what_is_stashed_nor_timers_nor_results_of_piped_work(actors: Actors) -> None:
    handled: list[object] = []

    class Waits(Actor[Work | str]):
        async def on_start(self) -> None:
            self.context.tell_self_after(2.0, "tick")
            self.context.pipe_to_self(anyio.sleep(2.0), lambda _: "result")

        async def receive(self, message: Work | str) -> None:
            if isinstance(message, Work) and message.number == 1:
                self.context.stash()
                return
            await anyio.sleep(5.0)
            handled.append(message)

    ref = ActorRef[Work | str]("waits")
    child = ChildSpec("waits", Waits, ref, mailbox=MailboxSpec(drain=True), shutdown_s=60.0)

    async def main() -> None:
        async with running(SupervisorSpec("root", [child])):
            stashed = asyncio.ensure_future(ref.ask(Work(number=1), timeout_s=60.0))
            await anyio.sleep(1.0)
            await ref.tell(Work(number=2))
            await ref.tell(Work(number=3))
        with pytest.raises(ActorStopped):
            await stashed

    actors.run(main())
    assert handled == [Work(number=2), Work(number=3)]
    assert ref.cell.stats.dropped == 1


class Worker(Actor[Work]):
    """Crashes at its stop over messages with a number above 10, each time."""

    def __init__(self, begun: anyio.Event, gate: anyio.Event, tried: list[int]) -> None:
        self.begun, self.gate, self.tried = begun, gate, tried

    async def receive(self, message: Work) -> int:
        self.begun.set()
        await self.gate.wait()
        self.tried.append(message.number)
        if message.number > 10:
            raise ValueError(message.number)
        return message.number


async def test_a_drain_goes_on_for_an_actor_that_waits_for_its_restart() -> None:
    ref, begun, gate, tried = ActorRef[Work]("worker"), anyio.Event(), anyio.Event(), list[int]()
    retry, mailbox = RetryPolicy(delays_s=(0.001,)), MailboxSpec(drain=True)
    child = ChildSpec("worker", lambda: Worker(begun, gate, tried), ref, mailbox=mailbox, retry=retry, shutdown_s=20)
    gate.set()
    async with running(SupervisorSpec("root", [child], backoff=Backoff(first_s=600, longest_s=600))) as root:
        for number in (1, 11, 2, 12, 3):
            await ref.tell(Work(number=number))
        await until(lambda: root.children[0].status == "crashed")
        assert tried == [1, 11]
    assert tried == [1, 11, 11, 2, 12, 12, 3]


class LoadsSlowly(Worker):
    """Its second start, and no other, hangs."""

    starts = 0

    async def on_start(self) -> None:
        LoadsSlowly.starts += 1
        if LoadsSlowly.starts == 2:
            await anyio.sleep_forever()


async def test_a_drain_goes_on_for_an_actor_that_is_starting_again() -> None:
    ref, begun, gate, tried = ActorRef[Work]("worker"), anyio.Event(), anyio.Event(), list[int]()
    retry, mailbox = RetryPolicy(delays_s=(0.001,)), MailboxSpec(drain=True)
    child = ChildSpec("worker", lambda: LoadsSlowly(begun, gate, tried), ref, mailbox=mailbox, retry=retry)
    LoadsSlowly.starts = 0
    gate.set()
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))):
        for number in (11, 1, 2):
            await ref.tell(Work(number=number))
        await until(lambda: LoadsSlowly.starts == 2)
    assert tried == [11, 11, 1, 2]


async def test_what_waits_for_an_actor_that_was_never_ready_is_not_drained() -> None:
    ref, gate, tried = ActorRef[Work]("worker"), anyio.Event(), list[int]()
    gate.set()
    LoadsSlowly.starts = 1
    mailbox = MailboxSpec(drain=True)
    child = ChildSpec("worker", lambda: LoadsSlowly(anyio.Event(), gate, tried), ref, mailbox=mailbox)
    root = Supervisor(SupervisorSpec("root", [child]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(root.run, lambda: None)
        await until(lambda: LoadsSlowly.starts == 2)
        await ref.tell(Work(number=1))
        root.request_stop()
    assert (LoadsSlowly.starts, tried, ref.cell.stats.dropped) == (2, [], 1)


async def test_a_drain_that_takes_too_long_to_start_is_named() -> None:
    ref, begun, gate = ActorRef[Work]("worker"), anyio.Event(), anyio.Event()
    gate.set()
    retry, mailbox = RetryPolicy(delays_s=(0.0,)), MailboxSpec(drain=True)
    LoadsSlowly.starts = 0
    child = ChildSpec(
        "worker", lambda: LoadsSlowly(begun, gate, []), ref, mailbox=mailbox, retry=retry, shutdown_s=0.01
    )
    with structlog.testing.capture_logs() as logs:
        async with running(SupervisorSpec("root", [child], backoff=Backoff(600, longest_s=600))) as root:
            await ref.tell(Work(number=11))
            await until(lambda: root.children[0].status == "crashed")
    assert [one["was"] for one in logs if one["event"] == "child overran its shutdown"] == ["draining"]


class Ill(Worker):
    """Starts once."""

    starts = 0

    async def on_start(self) -> None:
        Ill.starts += 1
        if Ill.starts > 1:
            raise ValueError("ill")


async def test_a_drain_is_given_up_for_an_actor_that_waits_for_its_restart_and_cannot_start() -> None:
    ref, gate = ActorRef[Work]("worker"), anyio.Event()
    gate.set()
    retry, mailbox = RetryPolicy(delays_s=(0.001,)), MailboxSpec(drain=True)
    child = ChildSpec("worker", lambda: Ill(anyio.Event(), gate, []), ref, mailbox=mailbox, retry=retry)
    async with running(SupervisorSpec("root", [child], backoff=Backoff(first_s=600, longest_s=600))) as root:
        await ref.tell(Work(number=11))
        await until(lambda: root.children[0].status == "crashed")
    assert 2 <= Ill.starts <= 8, "not more often than the intensity allows"


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_drain_goes_on_after_a_message_that_crashes(keyed: bool) -> None:
    ref, begun, gate, tried = ActorRef[Work]("worker"), anyio.Event(), anyio.Event(), list[int]()
    mailbox = MailboxSpec(drain=True, key=(lambda message: message.key) if keyed else None)
    retry = RetryPolicy(delays_s=(0.001,))
    child = ChildSpec("worker", lambda: Worker(begun, gate, tried), ref, mailbox=mailbox, retry=retry, shutdown_s=20)
    async with running(SupervisorSpec("root", [child])) as root:
        for number in (1, 11, 2, 12, 3):
            await ref.tell(Work(number=number))
        await begun.wait()
        root.request_stop()
        await until(lambda: ref.cell.stopping)
        gate.set()
    assert tried == [1, 11, 11, 2, 12, 12, 3]


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_drain_ends_with_more_crashes_than_the_intensity_allows(keyed: bool) -> None:
    ref, begun, gate, tried = ActorRef[Work]("worker"), anyio.Event(), anyio.Event(), list[int]()
    mailbox = MailboxSpec(drain=True, key=(lambda message: message.key) if keyed else None)
    child = ChildSpec("worker", lambda: Worker(begun, gate, tried), ref, mailbox=mailbox, shutdown_s=20)
    async with running(SupervisorSpec("root", [child], intensity=2)) as root:
        for number in (11, 12, 13, 14):
            await ref.tell(Work(number=number))
        await begun.wait()
        root.request_stop()
        await until(lambda: ref.cell.stopping)
        gate.set()
    assert tried == [11, 12, 13]
