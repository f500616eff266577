"""What must not hold up an actor: its dead self, a retry that comes too late, and its own children."""

import anyio
import anyio.lowlevel
import pytest

from tests.runtime.support import running
from tests.runtime.test_mailbox import Work
from trendedge.runtime import (
    Actor,
    ActorRef,
    AskCycle,
    Backoff,
    ChildSpec,
    DeadlineExceeded,
    MailboxSpec,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    SupervisorSpec,
)
from trendedge.runtime.simulation.actors import Actors


class Down(Exception):
    """An outage."""


class Ticks(Actor[Work]):
    """Crashes over its own tick, which has the number 0."""

    def __init__(self, handled: list[tuple[float, int]], error: type[Exception]) -> None:
        self.handled, self.error = handled, error

    async def receive(self, message: Work) -> int:
        if message.number == 0:
            raise self.error
        self.handled.append((anyio.current_time(), message.number))
        self.context.tell_self_after(0.0, Work(number=0))
        self.context.tell_self_after(0.0, Work(number=0))
        return 0


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize(("error", "pause_s"), [(ValueError, 0.0), (Down, 7.0)])
def test_what_a_crashed_incarnation_has_sent_to_itself_holds_up_nobodys_mail(
    keyed: bool, error: type[Exception], pause_s: float, actors: Actors
) -> None:
    handled = list[tuple[float, int]]()
    mailbox = MailboxSpec(key=(lambda work: work.key) if keyed else None)
    retry = RetryPolicy(delays_s=(300.0,), outage=(Down,), outage_delays_s=(7.0,))
    one = actors.start(lambda: Ticks(handled, error), mailbox=mailbox, retry=retry)
    one.tell(Work(number=1))
    began = handled[0][0]
    one.tell(Work(number=2))
    actors.advance(20)
    assert [number for _, number in handled] == [1, 2]
    assert handled[1][0] == pytest.approx(began + pause_s, abs=3)


class Fails(Actor[Work]):
    async def receive(self, message: Work) -> int:
        raise ValueError(message.number)


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_message_whose_retry_would_come_after_its_deadline_expires_at_that(keyed: bool) -> None:
    ref = ActorRef[Work]("a")
    mailbox = MailboxSpec(key=(lambda work: work.key) if keyed else None)
    child = ChildSpec("a", Fails, ref, mailbox=mailbox, retry=RetryPolicy((600.0,)))
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))):
        with pytest.raises(DeadlineExceeded):
            await ref.ask(Work(), timeout_s=20, deadline_s=0.2)
        assert (ref.cell.stats.failed, ref.cell.stats.expired, ref.cell.depth) == (1, 1, 0)


class Child(Actor[Work]):
    """Asks its parent before it ends."""

    def __init__(self, parent: ActorRef[Work], errors: list[Exception]) -> None:
        self.parent, self.errors = parent, errors

    async def receive(self, message: Work) -> int:
        return message.number

    async def on_stop(self) -> None:
        try:
            await self.parent.ask(Work(number=7), timeout_s=20)
        except AskCycle as error:
            self.errors.append(error)


class Parent(Actor[Work]):
    def __init__(self, child: ChildSpec[Work]) -> None:
        self.child = child

    async def on_start(self) -> None:
        await self.context.spawn(self.child)

    async def receive(self, message: Work) -> int:
        if message.number == 1:
            await self.context.stop_child(self.child.id)
        if message.number == 2:
            raise ValueError(message.number)
        return message.number


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize("how", [1, 2], ids=["it is stopped", "its parent crashes"])
async def test_a_child_that_asks_who_waits_for_its_end_fails_at_once(how: int, keyed: bool) -> None:
    ref, kid, errors = ActorRef[Work]("parent"), ActorRef[Work]("kid"), list[Exception]()
    mailbox = MailboxSpec(key=(lambda work: work.key) if keyed else None)
    child = ChildSpec("kid", lambda: Child(ref, errors), kid, mailbox=mailbox, shutdown_s=15)
    parent = ChildSpec("parent", lambda: Parent(child), ref, retry=RetryPolicy(()))
    async with running(SupervisorSpec("root", [parent], backoff=Backoff(0.0, jitter=0.0))):
        await kid.ask(Work(), timeout_s=5)
        with anyio.fail_after(5):
            await ref.tell(Work(number=how))
            assert await ref.ask(Work(number=3), timeout_s=5) == 3
    name = "root/parent/kid[k]" if keyed else "root/parent/kid"
    assert str(errors[0]) == f"ask in a cycle: {name} -> root/parent -> {name}"


class Pipes(Actor[Work]):
    """Work beside it needs the pool to end in good order."""

    def __init__(self, life: list[str]) -> None:
        self.life = life

    async def receive(self, message: Work) -> int:
        self.context.pipe_to_self(self._work(), lambda _: Work())
        await anyio.lowlevel.checkpoint()
        return 0

    async def _work(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            self.life.append("rolled back")


class Pool(Service):
    def __init__(self, life: list[str]) -> None:
        self.life = life

    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()
        self.life.append("pool closed")


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_stop_waits_for_piped_work_before_it_stops_who_was_started_earlier(keyed: bool) -> None:
    ref, life = ActorRef[Work]("a"), list[str]()
    mailbox = MailboxSpec(key=(lambda work: work.key) if keyed else None)
    pool = ServiceSpec("pool", lambda: Pool(life))
    async with running(SupervisorSpec("root", [pool, ChildSpec("a", lambda: Pipes(life), ref, mailbox=mailbox)])):
        await ref.ask(Work(), timeout_s=5)
    assert life == ["rolled back", "pool closed"]
