"""What an operator may do to a running tree."""

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_supervisor import AT_ONCE, Probe, probes, tree
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    Controls,
    Durability,
    DurableRef,
    Inspector,
    MailboxSpec,
    NotRestartable,
    NotSuspendable,
    Request,
    Restart,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    StartFailed,
    Strategy,
    Supervisor,
    SupervisorSpec,
    UnknownActor,
)
from trendedge.runtime.simulation import Actors


class Collector(Actor[str]):
    """Keeps what it is told."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def receive(self, message: str) -> None:
        self.seen.append(message)


class Question(Request[None]):
    """Asks anything."""


class Listener(Actor[str | Question]):
    """Keeps what it is told and asked."""

    def __init__(self, seen: list[object]) -> None:
        self.seen = seen

    async def receive(self, message: str | Question) -> None:
        self.seen.append(message)


class Idle(Service):
    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()


def status_of(inspector: Inspector, path: str) -> str:
    found = inspector.find(path)
    assert found is not None
    return str(found["status"])


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["b stopped", "b started"]),
        (Strategy.ONE_FOR_ALL, ["c stopped", "b stopped", "a stopped", "a started", "b started", "c started"]),
        (Strategy.REST_FOR_ONE, ["c stopped", "b stopped", "b started", "c started"]),
    ],
)
async def test_an_ordered_restart_follows_the_strategy(strategy: Strategy, expected: list[str]) -> None:
    life: list[str] = []
    async with running(tree(list(probes("abc", life).values()), strategy)) as root:
        life.clear()
        await Controls(root).restart("root/b")
        assert life == expected
        assert {child.status for child in root.children} == {"running"}


async def test_ordered_restarts_do_not_use_up_the_intensity() -> None:
    life: list[str] = []
    specs = probes("a", life)
    async with running(tree(list(specs.values()), Strategy.ONE_FOR_ONE, intensity=1)) as root:
        for _ in range(5):
            await Controls(root).restart("root/a")
        assert root.children[0].generation == 6
        specs["a"].ref.cell.put_nowait("crash", None)  # the first that counts
        await anyio.wait_all_tasks_blocked()
        assert root.children[0].status == "running"


async def test_a_restart_of_a_supervisor_starts_its_children_again() -> None:
    life: list[str] = []
    inner = SupervisorSpec("inner", list(probes("ab", life).values()), backoff=AT_ONCE)
    async with running(tree([inner], Strategy.ONE_FOR_ONE)) as root:
        life.clear()
        await Controls(root).restart("root/inner")
        assert life == ["b stopped", "a stopped", "a started", "b started"]


async def test_a_restarted_durable_actor_gets_its_unsettled_mail_again() -> None:
    seen: list[str] = []
    ref: DurableRef[str] = DurableRef("durable")
    durability = Durability(MemoryJournal(), "box", str.encode, bytes.decode)
    spec = ChildSpec("durable", lambda: Collector(seen), ref, durability=durability)
    async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root:
        controls = Controls(root)
        controls.suspend("root/durable")
        await ref.tell("kept")
        await controls.restart("root/durable")
        assert seen == []
        controls.resume("root/durable")
        await anyio.wait_all_tasks_blocked()
        assert seen == ["kept"]


@pytest.mark.parametrize("drain", [True, False])
async def test_a_suspended_actor_takes_nothing_until_it_is_resumed(drain: bool) -> None:
    seen: list[str] = []
    ref: ActorRef[str] = ActorRef("a")
    spec = ChildSpec("a", lambda: Collector(seen), ref, mailbox=MailboxSpec(drain=drain))
    async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root:
        controls, inspector = Controls(root), Inspector(root)
        controls.suspend("root/a")
        await ref.tell("1")
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        assert status_of(inspector, "root/a") == "suspended"
        controls.resume("root/a")
        await anyio.wait_all_tasks_blocked()
        assert seen == ["1"]
        assert status_of(inspector, "root/a") == "running"


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
def test_a_drain_waits_for_no_retry_of_a_suspended_actor(keyed: bool, actors: Actors) -> None:
    class Fails(Actor[str]):
        async def receive(self, message: str) -> None:
            raise ValueError(message)

    mailbox = MailboxSpec(key=(lambda message: message) if keyed else None, drain=True)
    ref = ActorRef[str]("fails")
    fails = actors.start(Fails, ref=ref, mailbox=mailbox, retry=RetryPolicy((3.0,)))
    fails.tell("1")
    actors.advance(1.0)
    ref.cell.suspend()
    stop_asked_at = actors.now
    actors.stop()
    assert actors.now == stop_asked_at


async def test_a_suspension_holds_through_restarts_of_the_actor_and_of_its_supervisor() -> None:
    seen: list[str] = []
    ref: ActorRef[str] = ActorRef("a")
    spec = ChildSpec("a", lambda: Collector(seen), ref, shutdown_s=60, mailbox=MailboxSpec(drain=True))
    inner = SupervisorSpec("inner", [spec], backoff=AT_ONCE)
    async with running(tree([inner], Strategy.ONE_FOR_ONE)) as root:
        controls = Controls(root)
        controls.suspend("root/inner/a")
        for path in ("root/inner/a", "root/inner"):
            await ref.tell(f"lost with the restart of {path}")
            with anyio.fail_after(30):  # less than its `shutdown_s`: it does not wait to drain what it may not take
                await controls.restart(path)
            await ref.tell("held")
            await anyio.wait_all_tasks_blocked()
            assert seen == []
        controls.resume("root/inner/a")
        await anyio.wait_all_tasks_blocked()
        assert seen == ["held"]


async def test_what_waits_for_a_suspended_actor_outlives_its_restart_if_it_is_journalled() -> None:
    """Neither the next incarnation nor, of what is in memory, the next process gets the rest."""
    lost: list[object] = []
    kept: list[str] = []
    durability = Durability(MemoryJournal(), "box", str.encode, bytes.decode)

    def both() -> tuple[ActorRef[str | Question], DurableRef[str], SupervisorSpec]:
        passing, lasting = ActorRef[str | Question]("passing"), DurableRef[str]("lasting")
        children: list[ChildSpec[Any]] = [
            ChildSpec("passing", lambda: Listener(lost), passing),
            ChildSpec("lasting", lambda: Collector(kept), lasting, durability=durability),
        ]
        return passing, lasting, tree(children, Strategy.ONE_FOR_ONE)

    passing, lasting, first = both()
    async with running(first) as root:
        controls = Controls(root)
        for path in ("root/passing", "root/lasting"):
            controls.suspend(path)
        await passing.tell("told")
        await lasting.tell("journalled")
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(ActorStopped):
                    await passing.ask(Question(), timeout_s=60)

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            for path in ("root/passing", "root/lasting"):
                await controls.restart(path)
        assert passing.cell.stats.dropped == 2
        assert (passing.cell.depth, lasting.cell.depth) == (0, 1)
    assert kept == []
    _, _, second = both()
    async with running(second):
        await until(lambda: kept == ["journalled"])
    assert lost == []


async def test_who_writes_to_an_actor_in_the_middle_of_its_ordered_restart_is_refused() -> None:
    stopping, go_on = anyio.Event(), anyio.Event()

    class Lingering(Listener):
        async def on_stop(self) -> None:
            stopping.set()
            await go_on.wait()

    seen: list[object] = []
    ref = ActorRef[str | Question]("a")
    children: list[ChildSpec[Any]] = [ChildSpec("a", lambda: Lingering(seen), ref, shutdown_s=60)]
    async with running(tree(children, Strategy.ONE_FOR_ONE)) as root, anyio.create_task_group() as tasks:
        tasks.start_soon(Controls(root).restart, "root/a")
        await stopping.wait()
        with pytest.raises(ActorStopped):
            await ref.tell("too early")
        with pytest.raises(ActorStopped):
            await ref.ask(Question(), timeout_s=60)
        go_on.set()
        await until(lambda: root.children[0].generation == 2 and root.children[0].status == "running")
        await ref.tell("in time")
        await until(lambda: seen == ["in time"])


async def test_what_cannot_be_done_says_why() -> None:
    children: list[ChildSpec[Any] | ServiceSpec] = [*probes("a", []).values(), ServiceSpec("idle", Idle)]
    async with running(tree(children, Strategy.ONE_FOR_ONE)) as root:
        controls = Controls(root)
        for act in (controls.suspend, controls.resume):
            with pytest.raises(UnknownActor, match="no actor 'root/nobody'"):
                act("root/nobody")
            with pytest.raises(NotSuspendable, match="root/idle is a service: it has no mailbox"):
                act("root/idle")
            with pytest.raises(NotSuspendable, match="root is a supervisor"):
                act("root")
        with pytest.raises(UnknownActor):
            await controls.restart("root/nobody")
        with pytest.raises(NotRestartable, match="restart the process"):
            await controls.restart("root")
        await controls.restart("root/idle")
        assert root.children[1].generation == 2


class FailsAgain(Probe):
    """Starts once, and never a second time until told so."""

    starts = 0
    mended = False

    async def on_start(self) -> None:
        type(self).starts += 1
        if self.starts > 1 and not self.mended:
            type(self).mended = self.starts == 3
            raise ValueError("not yet")


async def test_a_start_that_fails_after_an_order_is_a_crash_and_is_tried_again() -> None:
    spec = ChildSpec("a", lambda: FailsAgain("a", []), ActorRef[str]("a"))
    async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root:
        await Controls(root).restart("root/a")
        assert root.children[0].status == "running"
        assert FailsAgain.starts == 4
        assert root.intensity.recent(anyio.current_time()) == 2


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["b stopped"]),
        (Strategy.ONE_FOR_ALL, ["c stopped", "b stopped", "a stopped", "a started", "c started"]),
        (Strategy.REST_FOR_ONE, ["c stopped", "b stopped", "c started"]),
    ],
)
async def test_an_order_to_restart_who_is_never_restarted_and_cannot_start_ends_nobody_else(
    strategy: Strategy, expected: list[str]
) -> None:
    life: list[str] = []
    ill: list[bool] = []

    class Fragile(Probe):
        async def on_start(self) -> None:
            if ill:
                raise ValueError("ill")
            await super().on_start()

    others = probes("ac", life)
    fragile = ChildSpec("b", lambda: Fragile("b", life), ActorRef[str]("b"), restart=Restart.TEMPORARY)
    with anyio.fail_after(20):
        async with running(tree([others["a"], fragile, others["c"]], strategy)) as root:
            ill.append(True)
            life.clear()
            with pytest.raises(StartFailed, match="root/b: did not start: ValueError: ill"):
                await Controls(root).restart("root/b")
            assert life == expected
            assert [child.status for child in root.children] == ["running", "crashed", "running"]
            assert root.intensity.recent(anyio.current_time()) == 0
            with pytest.raises(ActorStopped):
                await fragile.ref.tell("anybody?")
            ill.clear()
            await Controls(root).restart("root/b")
            assert root.children[1].status == "running"


async def test_an_order_to_restart_a_child_that_was_removed_names_the_child() -> None:
    async with running(tree(list(probes("a", []).values()), Strategy.ONE_FOR_ONE)) as root:
        child = root.children[0]
        await root.stop_child("a")
        with pytest.raises(ActorStopped, match="root/a: stopped"):
            await root.restart(child)


class NeverReady(Service):
    """Is never ready, and ends when it is asked to."""

    def __init__(self, begun: anyio.Event) -> None:
        self.begun = begun

    async def run(self, context: ServiceContext) -> None:
        self.begun.set()
        await context.stopping.wait()


async def refused_order(root: Supervisor, path: str) -> None:
    with pytest.raises(ActorStopped, match=f"{path}: stopped"):
        await Controls(root).restart(path)


async def test_an_order_to_restart_a_child_that_is_removed_while_it_starts_is_refused() -> None:
    begun = anyio.Event()
    services: list[Service] = [NeverReady(begun), Idle()]
    spec = ServiceSpec("a", lambda: services.pop())
    with anyio.fail_after(20):
        async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root, anyio.create_task_group() as tasks:
            tasks.start_soon(refused_order, root, "root/a")
            await begun.wait()
            await root.stop_child("a")


@pytest.mark.parametrize("first", ["a", "b"])
async def test_an_order_to_restart_who_is_never_restarted_is_refused_when_a_crash_overtakes_it(first: str) -> None:
    """Another child fails its start, and the restart that follows starts all but this one."""
    ill: list[bool] = []

    class IllOnce(Probe):
        async def on_start(self) -> None:
            if ill:
                ill.clear()
                raise ValueError("ill")

    a = ServiceSpec("a", Idle, restart=Restart.TEMPORARY)
    b = ChildSpec("b", lambda: IllOnce("b", []), ActorRef[str]("b"))
    with anyio.fail_after(20):
        async with running(tree([a, b] if first == "a" else [b, a], Strategy.ONE_FOR_ALL)) as root:
            ill.append(True)
            await refused_order(root, "root/a")
            assert {child.spec.id: child.status for child in root.children} == {"a": "stopped", "b": "running"}
            await Controls(root).restart("root/a")
            assert [child.status for child in root.children] == ["running", "running"]


async def test_an_order_to_restart_who_ends_by_itself_as_soon_as_it_is_ready_has_been_obeyed() -> None:
    class Brief(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()

    spec = ServiceSpec("a", Brief, restart=Restart.TEMPORARY)
    async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root:
        for _ in range(2):
            await until(lambda: root.children[0].status == "stopped")
            await Controls(root).restart("root/a")


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_an_order_to_restart_a_child_whose_start_it_gives_up_brings_it_up_or_is_refused(
    strategy: Strategy,
) -> None:
    """Whoever adds the child is told that it did not start, and so it is not there any more."""
    begun = anyio.Event()
    elder = ServiceSpec("a", Idle)
    with anyio.fail_after(20):
        async with running(tree([elder], strategy)) as root, anyio.create_task_group() as tasks:

            async def add() -> None:
                with suppress(StartFailed):
                    await root.start_child(ServiceSpec("b", lambda: Idle() if begun.is_set() else NeverReady(begun)))

            async def order() -> None:
                with suppress(ActorStopped):
                    await Controls(root).restart("root/b")
                    assert [child.status for child in root.children] == ["running", "running"]

            tasks.start_soon(add)
            await begun.wait()
            tasks.start_soon(order)


class HangsOnce(Probe):
    """Is not ready at its second start."""

    async def on_start(self) -> None:
        await super().on_start()
        if self.life.count(f"{self.name} started") == 2:
            await anyio.sleep_forever()


async def test_an_order_ends_the_pause_before_a_restart() -> None:
    life: list[str] = []
    a, b = probes("ab", life).values()
    pause = Backoff(first_s=60.0, longest_s=60.0)
    async with running(SupervisorSpec("root", [b, a], strategy=Strategy.REST_FOR_ONE, backoff=pause)) as root:
        await a.ref.tell("crash")
        await until(lambda: root.children[1].status == "crashed")
        with anyio.fail_after(20):
            await Controls(root).restart("root/a")
        assert root.children[1].status == "running"
    assert life == ["b started", "a started", "a started", "a stopped", "b stopped"]


@pytest.mark.parametrize("first", ["crash", "order"])
async def test_an_order_gives_up_a_restart_that_hangs_and_starts_anew(first: str) -> None:
    life: list[str] = []
    spec = ChildSpec("a", lambda: HangsOnce("a", life), ActorRef[str]("a"))
    with anyio.fail_after(20):
        async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root, anyio.create_task_group() as tasks:
            if first == "crash":
                await spec.ref.tell("crash")
            else:
                tasks.start_soon(Controls(root).restart, "root/a")
            await until(lambda: life.count("a started") == 2)
            await Controls(root).restart("root/a")
            assert (root.children[0].status, life.count("a started")) == ("running", 3)


async def test_who_orders_a_restart_that_is_ordered_already_waits_for_that() -> None:
    life: list[str] = []
    async with running(tree(list(probes("a", life).values()), Strategy.ONE_FOR_ONE)) as root:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(Controls(root).restart, "root/a")
        assert life == ["a started", "a stopped", "a started"]


async def test_all_who_have_ordered_a_restart_have_it_when_one_of_them_gives_up_a_start_that_hangs() -> None:
    life: list[str] = []
    stopping, go_on = anyio.Event(), anyio.Event()

    class Lingering(HangsOnce):
        async def on_stop(self) -> None:
            stopping.set()
            await go_on.wait()

    spec = ChildSpec("a", lambda: Lingering("a", life), ActorRef[str]("a"), shutdown_s=60)
    with anyio.fail_after(20):
        async with running(tree([spec], Strategy.ONE_FOR_ONE)) as root, anyio.create_task_group() as tasks:
            tasks.start_soon(Controls(root).restart, "root/a")
            await stopping.wait()
            tasks.start_soon(Controls(root).restart, "root/a")
            await anyio.wait_all_tasks_blocked()
            go_on.set()
            await until(lambda: life.count("a started") == 2)
            await Controls(root).restart("root/a")
            assert (root.children[0].status, life.count("a started")) == ("running", 3)


async def test_a_supervisor_that_ends_refuses_what_it_was_still_asked() -> None:
    life: list[str] = []
    refused: list[ActorStopped] = []
    async with anyio.create_task_group() as tasks:
        async with running(tree(list(probes("a", life).values()), Strategy.ONE_FOR_ONE)) as root:

            async def ask() -> None:
                try:
                    await Controls(root).restart("root/a")
                except ActorStopped as error:
                    refused.append(error)

            root.request_stop()
            tasks.start_soon(ask)
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorStopped):
            await Controls(root).restart("root/a")
    assert len(refused) == 1
    assert life == ["a started", "a stopped"]


@pytest.mark.parametrize("how", ["stopped", "gave up"])
async def test_a_supervisor_that_never_begins_refuses_what_it_was_asked(how: str) -> None:
    """An elder sibling is not ready yet when the tree is stopped, or gives up."""
    starting, ill = anyio.Event(), anyio.Event()

    class Slow(Service):
        async def run(self, context: ServiceContext) -> None:
            starting.set()
            await ill.wait()
            raise OSError("port in use")

    inmost = SupervisorSpec("inmost", list(probes("a", []).values()))
    root = Supervisor(tree([ServiceSpec("slow", Slow), SupervisorSpec("inner", [inmost])], Strategy.ONE_FOR_ONE))

    async def run() -> None:
        with suppress(StartFailed):
            await root.run(lambda: None)

    async def order() -> None:
        with pytest.raises(ActorStopped):
            await Controls(root).restart("root/inner/inmost/a")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await starting.wait()
            tasks.start_soon(order)
            await anyio.wait_all_tasks_blocked()
            if how == "stopped":
                root.request_stop()
            else:
                ill.set()
        await order()
