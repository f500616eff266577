"""Mailboxes: bounds, policies, and the order within a key."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    AskTimeout,
    Backoff,
    ChildSpec,
    HandlerCrashed,
    MailboxFull,
    MailboxSpec,
    MessageRefused,
    MessageWithoutKey,
    Overflow,
    Request,
    RetryPolicy,
    Supervisor,
    SupervisorSpec,
)


@dataclass(frozen=True)
class Work(Request[int]):
    key: str = "k"
    number: int = 0


class Gate(Actor[Work]):
    """Handles one message for each permission that the test gives."""

    def __init__(self, log: list[tuple[str, int]], permits: anyio.Semaphore) -> None:
        self.log, self.permits = log, permits

    async def receive(self, message: Work) -> int:
        await self.permits.acquire()
        self.log.append((message.key, message.number))
        return message.number


def tree(ref: ActorRef[Work], actor: Gate, mailbox: MailboxSpec) -> SupervisorSpec:
    return SupervisorSpec("root", [ChildSpec("gate", lambda: actor, ref, mailbox=mailbox)])


async def test_fail_refuses_the_message_that_finds_the_mailbox_full() -> None:
    ref, log, permits = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(0)
    async with running(tree(ref, Gate(log, permits), MailboxSpec(2, Overflow.FAIL))):
        await ref.tell(Work(number=1))
        await ref.tell(Work(number=2))
        with pytest.raises(MailboxFull, match=r"gate: mailbox is full \(2 messages\)"):
            await ref.tell(Work(number=3))
        permits.release()
        permits.release()
        await anyio.wait_all_tasks_blocked()
    assert log == [("k", 1), ("k", 2)]


async def test_block_makes_the_sender_wait_until_there_is_room() -> None:
    ref, log, permits = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(0)
    async with running(tree(ref, Gate(log, permits), MailboxSpec(1, Overflow.BLOCK))), anyio.create_task_group() as tg:
        await ref.tell(Work(number=1))
        tg.start_soon(ref.tell, Work(number=2))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Work(number=3))
        permits.release()
        permits.release()
    assert log == [("k", 1), ("k", 2)]


async def test_who_is_refused_does_not_wait_for_room_before() -> None:
    def key(message: Work) -> str:
        if message.key == "broken":
            raise ValueError(message.key)
        return None if message.key == "nobody" else message.key  # type: ignore[return-value]  # what mypy would refuse

    ref, log, permits = ActorRef[Any]("gate"), list[tuple[str, int]](), anyio.Semaphore(0)
    with anyio.fail_after(20):
        async with running(tree(ref, Gate(log, permits), MailboxSpec(1, key=key))), anyio.create_task_group() as tasks:
            await ref.tell(Work(number=1))
            await anyio.wait_all_tasks_blocked()
            refused: list[tuple[Any, type[Exception]]] = [
                (object(), MessageRefused),
                (Work("nobody"), MessageWithoutKey),
                (Work("broken"), ValueError),
            ]
            for message, error in refused:
                with pytest.raises(error):
                    await ref.tell(message)
                with pytest.raises(error):
                    await ref.ask(message, timeout_s=60)
            tasks.start_soon(ref.tell, Work(number=2))
            permits.release()
            permits.release()
    assert log == [("k", 1), ("k", 2)]


@pytest.mark.parametrize("asks", [False, True])
async def test_who_is_refused_only_when_it_is_let_in_hands_on_its_turn(asks: bool) -> None:
    """Before its first start nobody knows what the actor handles."""
    ref, log, permits = ActorRef[Any]("gate"), list[tuple[str, int]](), anyio.Semaphore(2)
    root = Supervisor(tree(ref, Gate(log, permits), MailboxSpec(1)))
    unknown: Any = object()

    async def send() -> None:
        with pytest.raises(MessageRefused):
            await (ref.ask(unknown, timeout_s=60) if asks else ref.tell(unknown))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await ref.tell(Work(number=1))
            for sending in (send, lambda: ref.tell(Work(number=2))):
                tasks.start_soon(sending)
                await anyio.wait_all_tasks_blocked()
            tasks.start_soon(root.run, lambda: None)
            await until(lambda: log == [("k", 1), ("k", 2)])
            root.request_stop()


async def test_drop_oldest_drops_what_waits_longest_and_counts_it_but_never_what_is_being_handled() -> None:
    ref, log, permits = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(0)
    async with running(tree(ref, Gate(log, permits), MailboxSpec(2, Overflow.DROP_OLDEST))) as root:
        await ref.tell(Work(number=1))
        await anyio.wait_all_tasks_blocked()
        for number in (2, 3, 4):
            await ref.tell(Work(number=number))
        for _ in range(2):
            permits.release()
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.stats.dropped == 2
        assert root.children[0].status == "running"
    assert log == [("k", 1), ("k", 4)]


async def test_drop_oldest_never_drops_what_an_actor_gets_of_itself() -> None:
    ref, watched, log, permits = ActorRef[Any]("gate"), ActorRef[Work]("watched"), list[Any](), anyio.Semaphore(0)

    class Begins(Actor[Any]):
        async def receive(self, message: Any) -> None:
            if message == Work(number=0):
                self.context.watch(watched)
                self.context.tell_self_after(0.0, "tick")
                self.context.pipe_to_self(anyio.lowlevel.checkpoint(), lambda _: "result")
            await permits.acquire()
            log.append(message.number if isinstance(message, Work) else message)

    children = [
        ChildSpec("gate", Begins, ref, mailbox=MailboxSpec(4, Overflow.DROP_OLDEST)),
        ChildSpec("watched", lambda: Gate([], permits), watched),
    ]
    async with running(SupervisorSpec("root", children)) as root:
        await ref.tell(Work(number=0))
        await anyio.wait_all_tasks_blocked()
        await root.stop_child("watched")
        await until(lambda: ref.cell.depth == 4)
        with pytest.raises(MailboxFull):
            await ref.tell(Work(number=1))
        permits.release()
        await until(lambda: len(log) == 1)
        for number in (2, 3):
            await ref.tell(Work(number=number))
        assert ref.cell.stats.dropped == 1
        for _ in range(4):
            permits.release()
        await until(lambda: len(log) == 5)
    assert log[0] == 0
    assert {str(one) for one in log[1:-1]} == {"tick", "result", "Terminated(path='root/watched', cause=None)"}
    assert log[-1] == 3


async def test_different_keys_run_at_once_and_one_key_in_order() -> None:
    log: list[tuple[str, int]] = []
    gates: dict[str, anyio.Event] = defaultdict(anyio.Event)

    class PerKey(Actor[Work]):
        async def receive(self, message: Work) -> int:
            if message.number == 1:
                await gates[message.key].wait()
            log.append((message.key, message.number))
            return message.number

    ref = ActorRef[Work]("keyed")
    spec = SupervisorSpec("root", [ChildSpec("keyed", PerKey, ref, mailbox=MailboxSpec(key=lambda m: m.key))])
    async with running(spec):
        for key in ("a", "b"):
            await ref.tell(Work(key, 1))
            await ref.tell(Work(key, 2))
        await anyio.wait_all_tasks_blocked()
        assert log == []
        gates["b"].set()
        await anyio.wait_all_tasks_blocked()
        assert log == [("b", 1), ("b", 2)]
        gates["a"].set()
        await anyio.wait_all_tasks_blocked()
    assert log == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]


async def test_a_retry_blocks_its_key_alone() -> None:
    log: list[tuple[str, int]] = []
    failed = anyio.Event()
    release = anyio.Event()

    class FailsOnceForA(Actor[Work]):
        async def on_start(self) -> None:
            if failed.is_set() and self.context.key == "a":
                await release.wait()

        async def receive(self, message: Work) -> int:
            if message.key == "a" and not failed.is_set():
                failed.set()
                raise ValueError("once")
            log.append((message.key, message.number))
            return message.number

    ref = ActorRef[Work]("keyed")
    child = ChildSpec(
        "keyed", FailsOnceForA, ref, mailbox=MailboxSpec(key=lambda m: m.key), retry=RetryPolicy(delays_s=(0.0, 0.0))
    )
    async with running(SupervisorSpec("root", [child])):
        await ref.tell(Work("a", 1))
        await ref.tell(Work("a", 2))
        await failed.wait()
        assert await ref.ask(Work("b", 1), timeout_s=5) == 1
        assert log == [("b", 1)]
        release.set()
        assert await ref.ask(Work("a", 3), timeout_s=5) == 3
    assert log == [("b", 1), ("a", 1), ("a", 2), ("a", 3)]


async def test_an_idle_instance_is_passivated_and_comes_back_with_fresh_state() -> None:
    starts: list[str | None] = []

    class Counting(Actor[Work]):
        async def on_start(self) -> None:
            starts.append(self.context.key)

        async def receive(self, message: Work) -> int:
            return message.number

    ref = ActorRef[Work]("keyed")
    mailbox = MailboxSpec(key=lambda m: m.key, idle_s=0.0)
    async with running(SupervisorSpec("root", [ChildSpec("keyed", Counting, ref, mailbox=mailbox)])):
        await ref.ask(Work("a", 1), timeout_s=5)
        while ref.cell.entities:
            await anyio.lowlevel.checkpoint()
        await ref.ask(Work("a", 2), timeout_s=5)
    assert starts == ["a", "a"]


async def test_an_ask_that_nobody_answers_times_out_and_names_the_request() -> None:
    ref = ActorRef[Work]("gate")
    permits = anyio.Semaphore(0)
    async with running(tree(ref, Gate([], permits), MailboxSpec())):
        with pytest.raises(AskTimeout, match="gate: no answer to Work within 0 s"):
            await ref.ask(Work(), timeout_s=0.0)
        permits.release()


async def test_asks_to_a_stopped_actor_settle() -> None:
    ref, permits = ActorRef[Work]("gate"), anyio.Semaphore(0)
    outcome: list[str] = []

    async def ask() -> None:
        try:
            await ref.ask(Work(number=2), timeout_s=60)
        except ActorStopped as error:
            outcome.append(str(error))

    async with anyio.create_task_group() as tg, running(tree(ref, Gate([], permits), MailboxSpec())) as root:
        await ref.tell(Work(number=1))
        tg.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        root.request_stop()
        await anyio.wait_all_tasks_blocked()
        permits.release()
    assert outcome == ["root/gate: stopped"]
    with pytest.raises(ActorStopped):
        await ref.tell(Work())


@pytest.mark.parametrize("key", [None, lambda work: work.key], ids=["unkeyed", "keyed"])
async def test_who_asked_for_what_is_given_up_is_told_what_the_handler_crashed_of(key: Any) -> None:
    class Fragile(Actor[Work]):
        async def receive(self, message: Work) -> int:
            if message.number < 0:
                attempts.append(message.number)
                raise ValueError(f"no {len(attempts)}")
            return message.number

    ref, attempts = ActorRef[Work]("a"), list[int]()
    spec = ChildSpec("a", Fragile, ref, mailbox=MailboxSpec(key=key), retry=RetryPolicy(delays_s=(0.0,)))
    async with running(SupervisorSpec("r", [spec], backoff=Backoff(0.0))):
        with pytest.raises(HandlerCrashed, match=r"^r/a: crashed over this request: ValueError: no 2$") as told:
            await ref.ask(Work(number=-1), timeout_s=60)
        assert isinstance(told.value, ActorStopped)  # whoever has caught that goes on doing so
        assert (told.value.actor, repr(told.value.__cause__)) == ("r/a", "ValueError('no 2')")
        assert await ref.ask(Work(number=1), timeout_s=60) == 1


async def test_who_asked_an_instance_that_cannot_start_is_told_what_it_crashed_of() -> None:
    class Stillborn(Actor[Work]):
        async def on_start(self) -> None:
            raise OSError("no state")

    ref = ActorRef[Work]("a")
    async with running(SupervisorSpec("r", [ChildSpec("a", Stillborn, ref, mailbox=MailboxSpec(key=lambda _: "k"))])):
        with pytest.raises(HandlerCrashed, match=r"^r/a: crashed over this request: OSError: no state$"):
            await ref.ask(Work(), timeout_s=60)


@pytest.mark.parametrize("drain", [False, True])
async def test_who_waits_for_room_is_refused_as_soon_as_the_actor_is_to_stop(drain: bool) -> None:
    ref, log, permits, outcome = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(0), list[str]()

    async def send() -> None:
        try:
            await ref.tell(Work(number=2))
        except ActorStopped as error:
            outcome.append(str(error))

    mailbox = MailboxSpec(1, drain=drain)
    child = ChildSpec("gate", lambda: Gate(log, permits), ref, mailbox=mailbox, shutdown_s=60.0)
    async with anyio.create_task_group() as tasks, running(SupervisorSpec("root", [child])) as root:
        await ref.tell(Work(number=1))
        for _ in range(2):
            tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        root.request_stop()
        await until(lambda: len(outcome) == 2)
        assert log == []
        permits.release()
    assert outcome == ["root/gate: stopped"] * 2


async def test_control_overtakes_mail() -> None:
    ref, log, permits = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(0)
    async with running(tree(ref, Gate(log, permits), MailboxSpec())) as root:
        for number in range(5):
            await ref.tell(Work(number=number))
        await anyio.wait_all_tasks_blocked()
        root.request_stop()
        await anyio.wait_all_tasks_blocked()
        for _ in range(5):
            permits.release()
    assert log == [("k", 0)]


async def test_a_suspended_actor_takes_no_message_until_it_is_resumed() -> None:
    ref, log, permits = ActorRef[Work]("gate"), list[tuple[str, int]](), anyio.Semaphore(5)
    async with running(tree(ref, Gate(log, permits), MailboxSpec())):
        ref.cell.suspend()
        await ref.tell(Work(number=1))
        await anyio.wait_all_tasks_blocked()
        assert log == []
        ref.cell.resume()
        await anyio.wait_all_tasks_blocked()
    assert log == [("k", 1)]


async def test_mail_that_comes_while_a_keyed_actor_gives_up_is_handled_by_its_next_incarnation() -> None:
    handled: list[str] = []
    ref = ActorRef[Work]("keyed")

    class Poisoned(Actor[Work]):
        async def receive(self, message: Work) -> int:
            if message.key == "poison":
                raise ValueError
            handled.append(message.key)
            return 0

    children = [ChildSpec("keyed", Poisoned, ref, mailbox=MailboxSpec(key=lambda m: m.key))]
    spec = SupervisorSpec("root", children, intensity=1, backoff=Backoff(first_s=0.0, jitter=0.0))
    async with running(spec) as root:
        for key in ("fine", "poison", "poison"):
            await ref.tell(Work(key))
        for turn in range(30):  # at each moment of the giving up
            await ref.tell(Work(f"turn {turn}"))
            await anyio.lowlevel.checkpoint()
        await until(lambda: len(handled) == 31)
        assert root.children[0].restarts == 1
    assert handled[1:] == [f"turn {turn}" for turn in range(30)]


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize("deadline_s", [None, 60.0], ids=["the short way", "the long way"])
async def test_an_actor_that_tells_itself_its_next_step_lets_the_event_loop_turn(
    keyed: bool, deadline_s: float | None
) -> None:
    ref, steps, over = ActorRef[Work]("steps"), 0, False

    class Steps(Actor[Work]):
        async def receive(self, message: Work) -> int:
            nonlocal steps
            steps += 1
            if not over and steps < 100_000:
                await ref.tell(message, deadline_s=deadline_s)
            return steps

    mailbox = MailboxSpec(key=(lambda message: message.key) if keyed else None)
    async with running(SupervisorSpec("root", [ChildSpec("steps", Steps, ref, mailbox=mailbox)])):
        await ref.tell(Work())
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        over = True
    assert 100 < steps < 10_000
