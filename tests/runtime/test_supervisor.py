"""Supervision: order, strategies, intensity, escalation and bounded stops."""

import asyncio
from collections.abc import Awaitable, Sequence

import anyio
import anyio.lowlevel
import pytest

from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    Controls,
    DuplicateChild,
    Inspector,
    IntensityExceeded,
    MailboxSpec,
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
)
from trendedge.runtime.simulation import Actors, SimulatedLoop, simulate

AT_ONCE = Backoff(first_s=0.0, jitter=0.0)


class Probe(Actor[str]):
    """Writes down its life; crashes when told to."""

    def __init__(self, name: str, life: list[str]) -> None:
        self.name, self.life = name, life

    async def on_start(self) -> None:
        self.life.append(f"{self.name} started")

    async def receive(self, message: str) -> None:
        if message == "crash":
            raise ValueError(message)

    async def on_stop(self) -> None:
        self.life.append(f"{self.name} stopped")


def probes(names: str, life: list[str], restart: Restart = Restart.PERMANENT) -> dict[str, ChildSpec[str]]:
    def spec(name: str) -> ChildSpec[str]:
        return ChildSpec(name, lambda: Probe(name, life), ActorRef[str](name), restart=restart)

    return {name: spec(name) for name in names}


def tree(
    children: Sequence[ChildSpec[str] | ServiceSpec | SupervisorSpec], strategy: Strategy, intensity: int = 5
) -> SupervisorSpec:
    return SupervisorSpec("root", children, strategy=strategy, intensity=intensity, backoff=AT_ONCE)


async def crash(spec: ChildSpec[str], life: list[str]) -> None:
    """Crash one child and wait until the tree has come to rest."""
    life.clear()
    spec.ref.cell.put_nowait("crash", None)
    await anyio.wait_all_tasks_blocked()


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    life: list[str] = []
    async with running(tree(list(probes("abc", life).values()), Strategy.ONE_FOR_ONE)):
        assert life == ["a started", "b started", "c started"]
        life.clear()
    assert life == ["c stopped", "b stopped", "a stopped"]


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_who_is_restarted_with_a_crashed_sibling_refuses_mail_until_then(strategy: Strategy, actors: Actors) -> None:
    crasher, healthy = ActorRef[str]("a"), ActorRef[str]("b")
    children = [ChildSpec(ref.name, lambda: Probe("", []), ref) for ref in (crasher, healthy)]
    backoff = Backoff(first_s=5.0, jitter=0.0)

    async def main() -> None:
        async with running(SupervisorSpec("root", children, strategy=strategy, backoff=backoff)):
            await crasher.tell("crash")
            await anyio.sleep(4.0)
            crasher.tell_nowait("it keeps this")
            with pytest.raises(ActorStopped):
                healthy.tell_nowait("refused")
            await anyio.sleep(2.0)
            healthy.tell_nowait("taken")

    actors.run(main())


async def test_two_children_of_one_id_are_refused() -> None:
    twice, below = ([*probes("ab", []).values(), *probes("a", []).values()] for _ in range(2))
    with pytest.raises(DuplicateChild, match="root/a: is there already"):
        Supervisor(tree(twice, Strategy.ONE_FOR_ONE))
    async with running(tree(twice[:2], Strategy.ONE_FOR_ONE)) as root:
        with pytest.raises(DuplicateChild, match="root/inner/a: is there already"):
            await root.start_child(SupervisorSpec("inner", below))
        assert [child.spec.id for child in root.children] == ["a", "b"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["b started"]),
        (Strategy.ONE_FOR_ALL, ["c stopped", "a stopped", "a started", "b started", "c started"]),
        (Strategy.REST_FOR_ONE, ["c stopped", "b started", "c started"]),
    ],
)
async def test_the_strategy_says_who_is_restarted(strategy: Strategy, expected: list[str]) -> None:
    life: list[str] = []
    children = probes("abc", life)
    async with running(tree(list(children.values()), strategy)):
        await crash(children["b"], life)
        assert life == expected


async def test_a_temporary_child_is_not_restarted() -> None:
    life: list[str] = []
    children = probes("a", life, Restart.TEMPORARY)
    async with running(tree(list(children.values()), Strategy.ONE_FOR_ONE)) as root:
        await crash(children["a"], life)
        assert life == []
        assert Inspector(root).running() == (0, 1)


async def test_more_restarts_than_the_intensity_stop_the_tree_and_fail_upwards() -> None:
    life: list[str] = []
    children = probes("ab", life)
    root = Supervisor(tree(list(children.values()), Strategy.ONE_FOR_ONE, intensity=2))
    failure: list[BaseException] = []

    async def run() -> None:
        try:
            await root.run(lambda: None)
        except IntensityExceeded as error:
            failure.append(error)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                await crash(children["a"], life)
    assert str(failure[0]) == "root: 3 restarts within 60 s, the last by root/a"
    assert life == ["b stopped"]


def test_restarts_that_lie_back_longer_than_the_period_count_no_more(actors: Actors) -> None:
    """On a virtual clock: two within the period are allowed, and there is a third only once the first has passed."""
    life: list[str] = []
    child = probes("a", life)["a"]
    gave_up: list[IntensityExceeded] = []
    spec = SupervisorSpec("root", [child], intensity=2, period_s=10.0, backoff=AT_ONCE)

    async def main() -> None:
        async def run() -> None:
            try:
                await root.run(lambda: None)
            except IntensityExceeded as error:
                gave_up.append(error)

        root = Supervisor(spec)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for pause_s in (1.0, 4.0, 7.0, 4.0, 1.0):
                await anyio.sleep(pause_s)
                assert gave_up == []
                await child.ref.tell("crash")

    actors.run(main())  # crashes at 1, 5, 12, 16 and 17 s
    assert str(gave_up[0]) == "root: 3 restarts within 10 s, the last by root/a"
    assert life == ["a started"] * 5


def test_the_pause_before_a_restart_doubles_up_to_the_longest_and_is_stretched_at_random() -> None:
    backoff = Backoff(first_s=1.0, longest_s=10.0, jitter=0.5)
    assert [backoff.nominal_s(restarts) for restarts in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 10, 10]
    pauses = [backoff.delay_s(3) for _ in range(200)]
    assert all(4 <= pause <= 6 for pause in pauses)
    assert max(pauses) - min(pauses) > 1


async def test_one_message_that_kills_again_and_again_counts_once_and_is_given_up() -> None:
    life: list[str] = []
    ref = ActorRef[str]("a")
    child = ChildSpec("a", lambda: Probe("a", life), ref, retry=RetryPolicy(delays_s=(0.0,) * 10))
    async with running(tree([child], Strategy.ONE_FOR_ONE, intensity=1)) as root:
        await crash(child, life)
        while ref.cell.stats.buried == 0:
            await anyio.lowlevel.checkpoint()
        assert ref.cell.stats.failed == 11
        await until(lambda: root.children[0].status == "running")


async def test_a_child_that_fails_to_start_fails_the_start_and_stops_those_before_it() -> None:
    life: list[str] = []

    class Broken(Service):
        async def run(self, context: ServiceContext) -> None:
            raise OSError("port in use")

    children: list[ChildSpec[str] | ServiceSpec] = [*probes("a", life).values(), ServiceSpec("front", Broken)]
    with anyio.fail_after(20), pytest.raises(StartFailed, match="root/front: did not start: OSError: port in use"):
        await Supervisor(tree(children, Strategy.ONE_FOR_ONE)).run(lambda: None)
    assert life == ["a started", "a stopped"]


async def test_a_nested_supervisor_that_gives_up_is_restarted_by_its_parent() -> None:
    life: list[str] = []
    children = probes("a", life)
    inner = SupervisorSpec("inner", list(children.values()), intensity=0, backoff=AT_ONCE)
    async with running(tree([inner], Strategy.ONE_FOR_ONE)) as root:
        await crash(children["a"], life)
        assert life == ["a started"]
        assert [actor["path"] for actor in Inspector(root).actors()] == ["root", "root/inner", "root/inner/a"]
        assert root.children[0].generation == 2


async def test_what_is_known_of_an_actor_outlives_the_restart_of_its_supervisor() -> None:
    child = ChildSpec("a", lambda: Probe("a", []), ActorRef[str]("a"))
    inner = SupervisorSpec("inner", [child], intensity=1, backoff=AT_ONCE)
    async with running(tree([inner], Strategy.ONE_FOR_ONE)) as root:
        await child.ref.tell("well")
        for _ in range(2):
            await child.ref.tell("crash")
        await until(lambda: root.children[0].restarts == 1 and root.children[0].status == "running")
        nested, actor = Inspector(root).find("root/inner"), Inspector(root).find("root/inner/a")
    assert nested is not None
    assert actor is not None
    assert [(one["cause"].partition(":")[0], one["message"]) for one in nested["restart_history"]] == [
        ("IntensityExceeded", "str")
    ]
    assert [(one["cause"], one["message"]) for one in actor["restart_history"]] == [
        ("with root/inner", None),
        ("ValueError: crash", "str"),
    ]
    assert (actor["handled"], actor["failed"], actor["restarts"], actor["incarnation"]) == (1, 2, 2, 3)
    assert actor["last_error"] == "str: ValueError: crash"


async def test_a_child_that_overruns_its_shutdown_is_cancelled() -> None:
    ended: list[str] = []

    class Stubborn(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("cancelled")

    async with running(tree([ServiceSpec("stubborn", Stubborn, shutdown_s=0.0)], Strategy.ONE_FOR_ONE)):
        pass
    assert ended == ["cancelled"]


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize("where", ["handler", "on_stop"])
def test_who_overruns_and_swallows_its_cancellation_is_cancelled_until_it_ends_and_named(
    actors: Actors, where: str, keyed: bool
) -> None:
    swallowed: list[int] = []

    class Stubborn(Actor[str]):
        async def receive(self, message: str) -> None:
            if message == "handler":
                await self._hold_on()

        async def on_stop(self) -> None:
            await self._hold_on()

        async def _hold_on(self) -> None:
            while len(swallowed) < 5:
                try:
                    await anyio.sleep_forever()
                except asyncio.CancelledError:
                    swallowed.append(len(swallowed))
            await anyio.sleep_forever()

    mailbox = MailboxSpec(key=(lambda message: message) if keyed else None)
    stubborn = actors.start(Stubborn, name="stubborn", mailbox=mailbox)
    stubborn.tell(where)
    actors.stop()
    assert len(swallowed) == 5
    [overrun] = [line for line in actors.log if line["event"] == "child overran its shutdown"]
    assert (overrun["actor"], overrun["was"]) == ("test/stubborn", "running")
    assert overrun["instances"] == [f"test/stubborn[{where}]" if keyed else "test/stubborn"]


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_who_overruns_ends_after_its_children_however_long_they_take(keyed: bool) -> None:
    life: list[str] = []
    gate = anyio.Event()

    class Unhurried(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()
            await context.stopping.wait()
            await gate.wait()
            life.append("child stopped")

    class Parent(Actor[str]):
        async def receive(self, message: str) -> None:
            await self.context.spawn(ServiceSpec("child", Unhurried, shutdown_s=60))
            try:
                await anyio.sleep_forever()
            finally:
                life.append("parent cancelled")

    ref, mailbox = ActorRef[str]("parent"), MailboxSpec(key=(lambda message: message) if keyed else None)
    async with running(tree([], Strategy.ONE_FOR_ONE)) as root:
        await root.start_child(ChildSpec("parent", Parent, ref, mailbox=mailbox, shutdown_s=0.0))
        await ref.tell("spawn")
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.stop_child, "parent")
            await until(lambda: "parent cancelled" in life)
            for _ in range(20):  # turns of the loop in which it might be cancelled once more
                await anyio.lowlevel.checkpoint()
            assert [instance.key for instance in ref.cell.hosted()] == ["spawn" if keyed else None]
            gate.set()
    assert life == ["parent cancelled", "child stopped"]


async def test_a_significant_child_that_ends_takes_its_supervisor_with_it() -> None:
    class Brief(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()

    life: list[str] = []
    brief = ServiceSpec("brief", Brief, restart=Restart.TEMPORARY, significant=True)
    with anyio.fail_after(20):
        await Supervisor(tree([*probes("a", life).values(), brief], Strategy.ONE_FOR_ONE)).run(lambda: None)
    assert life == ["a started", "a stopped"]


async def test_a_stop_while_a_child_is_starting_gives_the_start_up() -> None:
    class NeverReady(Service):
        async def run(self, context: ServiceContext) -> None:
            await anyio.sleep_forever()

    root = Supervisor(tree([ServiceSpec("slow", NeverReady)], Strategy.ONE_FOR_ONE))
    became_ready: list[bool] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, lambda: became_ready.append(True))
            await anyio.wait_all_tasks_blocked()
            root.request_stop()
    assert became_ready == []


async def test_everything_in_the_tree_shows_the_same_fields() -> None:
    class Idle(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()
            await context.stopping.wait()

    life: list[str] = []
    children: list[ChildSpec[str] | ServiceSpec] = [*probes("a", life).values(), ServiceSpec("idle", Idle)]
    async with running(tree(children, Strategy.ONE_FOR_ONE)) as root:
        actors = Inspector(root).actors()
        assert [(actor["path"], actor["kind"], actor["status"]) for actor in actors] == [
            ("root", "supervisor", "running"),
            ("root/a", "actor", "running"),
            ("root/idle", "service", "running"),
        ]
        for actor in actors:
            assert {"path", "kind", "status", "incarnation", "handled", "failed", "restarts", "handling"} <= set(actor)
            assert {"depth", "capacity", "oldest_age_s"} <= set(actor["mailbox"])
            assert set(actor["latency_ms"]) == {"p50", "p95", "p99"}
        assert Inspector(root).find("root/a") == actors[1]
        assert Inspector(root).find("nowhere") is None


async def test_an_actor_that_dies_while_it_starts_counts_each_time() -> None:
    starts: list[int] = []

    class Stillborn(Actor[str]):
        async def on_start(self) -> None:
            starts.append(len(starts))
            if len(starts) > 1:
                raise OSError("no")

        async def receive(self, message: str) -> None:
            raise ValueError(message)

    ref = ActorRef[str]("a")
    spec = ChildSpec("a", Stillborn, ref, retry=RetryPolicy(delays_s=(0.0,) * 10))
    root = Supervisor(tree([spec], Strategy.ONE_FOR_ONE, intensity=3))
    ready = anyio.Event()
    gave_up: list[IntensityExceeded] = []

    async def run() -> None:
        try:
            await root.run(ready.set)
        except IntensityExceeded as error:
            gave_up.append(error)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await ready.wait()
            await ref.tell("crash")
    assert gave_up[0].restarts == 4
    assert len(starts) == 4  # the first, and three that died; the crash over the message was the first of the four


async def test_who_waits_for_a_retry_keeps_its_supervisor_from_nothing() -> None:
    """Neither from the restart of another child nor from its stop, although the delay is an hour."""
    life: list[str] = []
    ref = ActorRef[str]("patient")
    patient = ChildSpec("patient", lambda: Probe("patient", life), ref, retry=RetryPolicy(delays_s=(3600.0,)))
    other = probes("b", life)["b"]
    with anyio.fail_after(20):
        async with running(tree([patient, other], Strategy.ONE_FOR_ONE)) as root:
            await ref.tell("crash")
            await until(lambda: root.children[0].generation == 2)
            await other.ref.tell("crash")
            await until(lambda: root.children[1].generation == 2 and root.children[1].status == "running")
            assert [child.status for child in root.children] == ["running", "running"]
    assert life == ["patient started", "b started", "b started", "b stopped"]


class HangsAgain(Probe):
    """Is never ready a second time."""

    async def on_start(self) -> None:
        await super().on_start()
        if self.life.count(f"{self.name} started") > 1:
            await anyio.sleep_forever()


async def test_a_restart_that_hangs_keeps_its_supervisor_from_no_other_child() -> None:
    life: list[str] = []
    hangs = ChildSpec("a", lambda: HangsAgain("a", life), ActorRef[str]("a"))
    other = probes("b", life)["b"]
    with anyio.fail_after(20):
        async with running(tree([hangs, other], Strategy.ONE_FOR_ONE)) as root:
            await hangs.ref.tell("crash")
            await until(lambda: life.count("a started") == 2)
            await other.ref.tell("crash")
            await until(lambda: life.count("b started") == 2)
            await Controls(root).restart("root/b")
            await root.start_child(probes("c", life)["c"])
            assert [child.status for child in root.children] == ["restarting", "running", "running"]
            refused = asyncio.create_task(Controls(root).restart("root/a"))
            await anyio.lowlevel.checkpoint()
    assert life == [
        *("a started", "b started", "a started", "b started"),
        *("b stopped", "b started", "c started", "c stopped", "b stopped"),
    ]
    with pytest.raises(ActorStopped):
        await refused


async def test_a_child_whose_restart_hangs_can_be_removed() -> None:
    life: list[str] = []
    hangs = ChildSpec("a", lambda: HangsAgain("a", life), ActorRef[str]("a"), shutdown_s=0.01)
    with anyio.fail_after(20):
        async with running(tree([hangs], Strategy.ONE_FOR_ONE)) as root:
            await hangs.ref.tell("crash")
            await until(lambda: life.count("a started") == 2)
            await root.stop_child("a")
            with pytest.raises(ActorStopped):
                await hangs.ref.tell("anybody?")
            assert (root.status, root.children) == ("running", [])


async def test_more_restarts_than_the_intensity_end_it_also_while_a_restart_hangs() -> None:
    life: list[str] = []
    hangs = ChildSpec("a", lambda: HangsAgain("a", life), ActorRef[str]("a"))
    other, third = probes("bc", life).values()
    root = Supervisor(tree([hangs, other, third], Strategy.ONE_FOR_ONE, intensity=1))
    ended: list[type[Exception]] = []

    async def write_down(work: Awaitable[None]) -> None:
        try:
            await work
        except (IntensityExceeded, ActorStopped) as error:
            ended.append(type(error))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_down, root.run(lambda: None))
            await until(lambda: root.status == "running")
            await hangs.ref.tell("crash")
            await until(lambda: life.count("a started") == 2)
            tasks.start_soon(write_down, Controls(root).restart("root/a"))
            await anyio.wait_all_tasks_blocked()
            await other.ref.tell("crash")
    assert ended == [ActorStopped, IntensityExceeded]
    assert life[-1] == "c stopped"
    assert {child.status for child in root.children} == {"stopped", "crashed"}


def test_each_child_has_a_pause_of_its_own_before_its_restart() -> None:
    """By the clock of a simulated loop: the pauses do not add up."""
    started: list[tuple[str, float]] = []

    class Clocked(Actor[str]):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_start(self) -> None:
            started.append((self.name, round(anyio.current_time(), 3)))

        async def receive(self, message: str) -> None:
            raise ValueError(message)

    async def main(_: SimulatedLoop) -> None:
        refs = {name: ActorRef[str](name) for name in "ab"}
        children = [ChildSpec(name, lambda name=name: Clocked(name), ref) for name, ref in refs.items()]  # type: ignore[misc]
        spec = SupervisorSpec("root", children, backoff=Backoff(first_s=3.0, longest_s=3.0, jitter=0.0))
        async with running(spec):
            await refs["a"].tell("crash")
            await anyio.sleep(2.0)
            await refs["b"].tell("crash")
            await anyio.sleep(10.0)

    simulate(main)
    assert started == [("a", 0.0), ("b", 0.0), ("a", 3.0), ("b", 5.0)]


@pytest.mark.parametrize(
    ("retry_s", "starts_at"), [(0.0, [0, 1, 1, 1, 3]), (0.5, [0, 1, 1.5, 1.5, 3.5]), (4.0, [0, 4, 8, 8, 12])]
)
def test_a_keyed_instance_pauses_before_its_restart_and_a_retry_waits_no_longer_for_that(
    retry_s: float, starts_at: list[float]
) -> None:
    """What is no more than a further crash over the same message pauses for its retry alone, as it does not count."""
    starts: list[float] = []

    class Clocked(Actor[str]):
        async def on_start(self) -> None:
            starts.append(round(anyio.current_time(), 3))

        async def receive(self, message: str) -> None:
            raise ValueError(message)

    async def main(_: SimulatedLoop) -> None:
        ref, mailbox = ActorRef[str]("a"), MailboxSpec(key=lambda _: "k", drain=True)
        child = ChildSpec("a", Clocked, ref, mailbox=mailbox, retry=RetryPolicy((retry_s, retry_s)))
        backoff = Backoff(first_s=1.0, longest_s=1000.0, jitter=0.0)
        async with running(SupervisorSpec("root", [child], backoff=backoff)):
            await ref.tell("1")
            await anyio.sleep(0.25)
            await ref.tell("2")
            await anyio.sleep(20.0)
            await ref.tell("3")
            await anyio.sleep(0.25)
            stop_asked_at = anyio.current_time()
        starts.append(round(anyio.current_time() - stop_asked_at, 3))

    simulate(main)
    assert starts[:5] == starts_at
    assert starts[-1] <= 2 * retry_s  # the stop drained, and paused for retries alone


async def test_a_stop_gives_up_a_restart_that_hangs_and_begins_no_further_one() -> None:
    life: list[str] = []

    class Once(Service):
        """Ready at its first start and never again."""

        async def run(self, context: ServiceContext) -> None:
            life.append("service began")
            if life.count("service began") > 1:
                await anyio.sleep_forever()
            context.started()
            await context.stopping.wait()

    by_name = probes("ac", life)
    root = Supervisor(tree([by_name["a"], ServiceSpec("b", Once), by_name["c"]], Strategy.ONE_FOR_ALL))
    ready = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, ready.set)
            await ready.wait()
            await by_name["a"].ref.tell("crash")
            await until(lambda: life.count("service began") == 2)
            life.clear()
            root.request_stop()
    assert life == ["a stopped"]


async def test_nobody_waits_below_a_supervisor_that_was_not_started_again() -> None:
    """Its own supervisor is restarted once more, and puts another in its place."""
    life, starts = list[str](), list[int]()
    gate = anyio.Event()

    class Elder(Service):
        async def run(self, context: ServiceContext) -> None:
            starts.append(1)
            if len(starts) == 2:
                await gate.wait()
                raise OSError("no")
            context.started()
            await context.stopping.wait()

    ref = ActorRef[Request[None]]("a")
    child = ChildSpec("a", Actor[Request[None]], ref)
    inner = SupervisorSpec("inner", [ServiceSpec("elder", Elder), SupervisorSpec("inmost", [child])])
    with anyio.fail_after(20):
        async with running(tree([inner, *probes("b", life).values()], Strategy.ONE_FOR_ONE)) as root:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Controls(root).restart, "root/inner")
                await until(lambda: len(starts) == 2)
                asked = asyncio.create_task(ref.ask(Request[None](), timeout_s=3600))
                await anyio.wait_all_tasks_blocked()
                assert not asked.done()
                gate.set()
                with pytest.raises(ActorStopped):
                    await asked
            assert Inspector(root).running() == (3, 3)


async def test_nobody_waits_below_a_supervisor_that_was_never_started() -> None:
    """Its actors have addresses from the beginning; when an elder sibling fails to start, who asked them is told."""

    class Stillborn(Service):
        async def run(self, context: ServiceContext) -> None:
            await asked.wait()
            raise OSError("no")

    life: list[str] = []
    asked = anyio.Event()
    inner = probes("a", life)["a"]
    root = Supervisor(tree([ServiceSpec("elder", Stillborn), SupervisorSpec("nested", [inner])], Strategy.ONE_FOR_ONE))
    answers: list[Exception] = []

    async def ask() -> None:
        reply = asyncio.get_running_loop().create_future()
        inner.ref.cell.put_nowait("hello", reply)
        asked.set()
        try:
            await reply
        except ActorStopped as error:
            answers.append(error)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with pytest.raises(StartFailed):
                await root.run(lambda: None)
    assert [str(error) for error in answers] == [str(ActorStopped("root/nested/a"))]
    assert inner.ref.cell.stats.dropped == 1
    with pytest.raises(ActorStopped):
        await inner.ref.tell("too late")


def test_a_tree_is_made_outside_of_an_event_loop() -> None:
    runs: list[str] = []

    class Once(Service):
        async def run(self, context: ServiceContext) -> None:
            runs.append("run")
            context.started()

    once = ServiceSpec("s", Once, Restart.TEMPORARY, significant=True)
    asyncio.run(Supervisor(SupervisorSpec("root", [once])).run(lambda: None))
    assert runs == ["run"]
