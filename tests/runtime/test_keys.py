"""What becomes of one key is no business of the others, nor of the tree."""

import asyncio
import contextlib
import contextvars
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_mailbox import Work
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    Durability,
    DurableRef,
    IntensityExceeded,
    MailboxSpec,
    RetryPolicy,
    Supervisor,
    SupervisorSpec,
)

KEYED = MailboxSpec(key=lambda work: work.key)


class Account(Actor[Work]):
    """There is none of the key `gone`: its state cannot be loaded."""

    def __init__(self, starts: list[str | None], handled: list[Work]) -> None:
        self.starts, self.handled = starts, handled

    async def on_start(self) -> None:
        self.starts.append(self.context.key)
        if self.context.key == "gone":
            raise LookupError("no such account")

    async def receive(self, message: Work) -> int:
        if message.number < 0:
            raise ValueError(message.number)
        self.handled.append(message)
        return message.number


async def test_a_message_for_a_key_that_cannot_start_is_given_up_and_ends_nobody() -> None:
    ref, starts, handled = ActorRef[Work]("a"), list[str | None](), list[Work]()
    retry = RetryPolicy(delays_s=(0.0, 0.0))
    child = ChildSpec("a", lambda: Account(starts, handled), ref, mailbox=KEYED, retry=retry)
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))) as root:
        await ref.tell(Work("good", 1))
        for number in range(1, 5):
            await ref.tell(Work("gone", number))
            await until(lambda number=number: ref.cell.stats.buried == number)  # type: ignore[misc]
            assert starts.count("gone") == 3 * number, "without mail it is not started again"
        await ref.tell(Work("good", 2))
        await until(lambda: len(handled) == 2)
        assert (list(ref.cell.entities), root.children[0].restarts) == (["good"], 0)


async def test_a_durable_message_for_a_key_that_cannot_start_ends_in_the_dead_letters_and_nobody_ends() -> None:
    ref, starts, handled, journal = DurableRef[Work]("a"), list[str | None](), list[Work](), MemoryJournal()
    durability = Durability(journal, "a", lambda work: work.key.encode(), lambda text: Work(text.decode()))
    retry = RetryPolicy(delays_s=(0.0,))
    child = ChildSpec("a", lambda: Account(starts, handled), ref, mailbox=KEYED, retry=retry, durability=durability)
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))) as root:
        await ref.tell(Work("gone"))
        await until(lambda: len(journal.letters) == 1)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert (starts, root.children[0].restarts) == (["gone"] * 2, 0)


async def test_a_crash_of_the_whole_actor_begins_those_with_mail_alone() -> None:
    ref, starts, handled = ActorRef[Work]("a"), list[str | None](), list[Work]()
    child = ChildSpec("a", lambda: Account(starts, handled), ref, mailbox=KEYED, retry=RetryPolicy(()))
    async with running(SupervisorSpec("root", [child], intensity=1, backoff=Backoff(0.0, jitter=0.0))) as root:
        for number in range(20):
            await ref.tell(Work(f"idle {number}", number))
        await until(lambda: len(handled) == 20)
        starts.clear()
        for number in (-1, -2):
            await ref.tell(Work(f"bad {number}", number))
        await until(lambda: root.children[0].restarts == 1)
        await ref.tell(Work("idle 0", 1))
        await until(lambda: len(handled) == 21)
        assert [key for key in starts if key is not None and key.startswith("idle")] == ["idle 0"]


class Commits(Actor[Work]):
    """Cannot be interrupted while it commits; fails over a number below 0."""

    def __init__(self, begun: anyio.Event, done: list[str], gate: anyio.Event) -> None:
        self.begun, self.done, self.gate = begun, done, gate

    async def receive(self, message: Work) -> int:
        if message.number < 0:
            raise ValueError(message.number)
        with anyio.CancelScope(shield=True):
            self.begun.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.done.append("cut in two")
                raise
            self.done.append("whole")
        return message.number


async def test_a_key_that_crashes_too_often_cuts_no_shielded_handler_of_another() -> None:
    ref, begun, gate, done = ActorRef[Work]("a"), anyio.Event(), anyio.Event(), list[str]()
    child = ChildSpec("a", lambda: Commits(begun, done, gate), ref, mailbox=KEYED, retry=RetryPolicy(()))
    spec = SupervisorSpec("root", [child], intensity=1, backoff=Backoff(0.0, jitter=0.0))
    async with running(spec) as root:
        await ref.tell(Work("good"))
        await begun.wait()
        for number in (-1, -2):
            await ref.tell(Work(f"bad {number}", number))
        await until(lambda: ref.cell.stats.failed == 2)
        await anyio.wait_all_tasks_blocked()
        assert (done, root.children[0].status) == ([], "running")
        gate.set()
        await until(lambda: root.children[0].restarts == 1)
        assert done[:1] == ["whole"]


class SlowToGo(Actor[Work]):
    """Its passivation takes until it is let."""

    def __init__(self, going: anyio.Event, gate: anyio.Event, handled: list[int]) -> None:
        self.going, self.gate, self.handled = going, gate, handled

    async def receive(self, message: Work) -> int:
        self.handled.append(message.number)
        return message.number

    async def on_stop(self) -> None:
        self.going.set()
        await self.gate.wait()


@pytest.mark.parametrize("drain", [True, False])
async def test_what_comes_during_a_passivation_is_drained_at_a_stop(drain: bool) -> None:
    ref, going, gate, handled = ActorRef[Work]("a"), anyio.Event(), anyio.Event(), list[int]()
    mailbox = MailboxSpec(key=lambda work: work.key, idle_s=0.0, drain=drain)
    child = ChildSpec("a", lambda: SlowToGo(going, gate, handled), ref, mailbox=mailbox)
    async with running(SupervisorSpec("root", [child])) as root:
        await ref.tell(Work(number=1))
        await going.wait()
        await ref.tell(Work(number=2))
        root.request_stop()
        await until(lambda: ref.cell.stopping)
        gate.set()
    assert (handled, ref.cell.stats.dropped) == (([1, 2], 0) if drain else ([1], 1))


class Leaves(Actor[Work]):
    async def receive(self, message: Work) -> int:
        if message.number < 0:
            raise GeneratorExit
        return message.number


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_generator_exit_out_of_a_handler_is_a_crash_over_its_message(keyed: bool) -> None:
    ref = ActorRef[Work]("a")
    mailbox = KEYED if keyed else MailboxSpec()
    child = ChildSpec("a", Leaves, ref, mailbox=mailbox, retry=RetryPolicy(()))
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))):
        await ref.tell(Work(number=-1))
        await until(lambda: ref.cell.stats.buried == 1)
        assert await ref.ask(Work(number=1), timeout_s=5) == 1


tenant = contextvars.ContextVar("tenant", default="nobody")


class Tells(Actor[Work]):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def on_start(self) -> None:
        self.seen.append(tenant.get())

    async def receive(self, message: Work) -> int:
        self.seen.append(tenant.get())
        return 0


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_no_actor_runs_in_the_context_of_whoever_sent_its_first_message_or_added_it(keyed: bool) -> None:
    ref, seen = ActorRef[Work]("a"), list[str]()
    child = ChildSpec("a", lambda: Tells(seen), ref, mailbox=KEYED if keyed else MailboxSpec())
    async with running(SupervisorSpec("root", [])) as root:
        before = tenant.set("alice")
        await root.start_child(child)
        await ref.ask(Work(), timeout_s=5)
        tenant.reset(before)
    assert seen == ["nobody"] * 2


async def test_it_ends_the_tree_all_the_same_when_too_many_keys_crash() -> None:
    ref = ActorRef[Work]("a")
    child = ChildSpec("a", lambda: Account([], []), ref, mailbox=KEYED, retry=RetryPolicy(()))
    root = Supervisor(SupervisorSpec("root", [child], intensity=1, backoff=Backoff(0.0, jitter=0.0)))
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(fails(root))
        await until(lambda: root.status == "running")
        for time in (1, 2):
            for number in (-1, -2):
                await ref.tell(Work(f"{time}: {number}", number))
            if time == 1:
                await until(lambda: root.children[0].restarts == 1 and root.children[0].status == "running")
        assert await run == "root"


async def fails(root: Supervisor) -> str:
    try:
        await root.run(lambda: None)
    except IntensityExceeded as error:
        return error.supervisor
    return "it has not"


@dataclass(frozen=True)
class Traced:
    request_id: str


class Binds(Actor[Traced]):
    def __init__(self, seen: list[dict[str, str]]) -> None:
        self.seen = seen

    async def on_start(self) -> None:
        structlog.contextvars.bind_contextvars(shard="7")

    async def receive(self, message: Traced) -> None:
        self.seen.append(structlog.contextvars.get_contextvars())


async def test_what_an_actor_has_bound_to_its_log_outlives_the_request_id_of_a_message() -> None:
    ref, seen = ActorRef[Traced]("a"), list[dict[str, str]]()
    async with running(SupervisorSpec("root", [ChildSpec("a", lambda: Binds(seen), ref)])):
        for number in "12":
            await ref.tell(Traced(number))
        await until(lambda: len(seen) == 2)
    assert seen == [{"shard": "7", "request_id": number} for number in "12"]


class Tired(Actor[Work]):
    """Stops itself in a handler that takes longer than its ticks, or when it starts."""

    def __init__(self, starts: list[int], at_the_start: bool) -> None:
        self.starts, self.at_the_start = starts, at_the_start

    async def on_start(self) -> None:
        self.starts.append(1)
        self.context.tell_self_every(0.001, Work(number=7))
        if self.at_the_start:
            self.context.stop()

    async def receive(self, message: Work) -> int:
        if message.number != 7:
            await anyio.sleep(0.02)
            self.context.stop()
        return message.number


@pytest.mark.parametrize("at_the_start", [False, True])
async def test_an_instance_that_stops_itself_is_begun_again_for_mail_of_others_alone(at_the_start: bool) -> None:
    ref, starts = ActorRef[Work]("a"), list[int]()
    async with running(
        SupervisorSpec("root", [ChildSpec("a", lambda: Tired(starts, at_the_start), ref, mailbox=KEYED)])
    ):
        for number in (1, 2):
            await ref.tell(Work(number=number))
        await until(lambda: not ref.cell.entities)
        assert len(starts) == 2, "one for each message"
        assert (ref.cell.depth, ref.cell.stats.handled >= 2) == (0, True)


def test_the_end_of_the_event_loop_ends_instances_that_have_not_begun() -> None:
    ref = ActorRef[Work]("a")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            root = Supervisor(SupervisorSpec("root", [ChildSpec("a", lambda: Account([], []), ref, mailbox=KEYED)]))
            tasks.start_soon(root.run, lambda: None)
            await root.begun.wait()
            ref.tell_nowait(Work())
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(main(), 10))
    assert ref.cell.hosted() == []


async def test_what_comes_while_a_cancelled_actor_still_ends_begins_nobody() -> None:
    ref, begun, gate, done = ActorRef[Work]("a"), anyio.Event(), anyio.Event(), list[str]()
    root = Supervisor(SupervisorSpec("root", [ChildSpec("a", lambda: Commits(begun, done, gate), ref, mailbox=KEYED)]))
    run = asyncio.create_task(root.run(lambda: None))
    await ready(root)
    await ref.tell(Work("first"))
    await begun.wait()
    scope = root.children[0]._scope
    assert scope is not None
    scope.cancel()  # as when its start is given up: it is not stopping
    await anyio.wait_all_tasks_blocked()
    await ref.tell(Work("second"))
    await anyio.wait_all_tasks_blocked()
    assert [entity.key for entity in ref.cell.hosted()] == ["first"]
    gate.set()
    root.request_stop()
    with anyio.fail_after(10):
        await run


async def ready(root: Supervisor) -> None:
    await until(lambda: root.status == "running")
