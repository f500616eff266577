"""What cannot work is refused where it is declared."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    BreakerSpec,
    ChildSpec,
    Controls,
    DuplicateChild,
    DuplicateRef,
    Durability,
    DurableRef,
    Every,
    Lanes,
    LaneSpec,
    LanesService,
    LoopLag,
    MailboxSpec,
    Request,
    Restart,
    RetryPolicy,
    Schedules,
    ScheduleSpec,
    ServiceSpec,
    Supervisor,
    SupervisorSpec,
    Watchdog,
)


class Echo(Actor[str]):
    async def on_start(self) -> None:
        started.append(self.context.path)

    async def receive(self, message: str) -> None:
        if message == "crash":
            raise ValueError(message)


started: list[str] = []


@pytest.fixture(autouse=True)
def _nobody_has_started() -> None:
    started.clear()


def child(id: str, ref: ActorRef[str]) -> ChildSpec[str]:
    return ChildSpec(id, Echo, ref)


@pytest.mark.parametrize(
    ("ref", "durability", "why"),
    [
        (
            ActorRef[str]("a"),
            Durability(MemoryJournal(), "a", str.encode, bytes.decode),
            "journalled.* takes a DurableRef",
        ),
        (DurableRef[str]("a"), None, "a DurableRef takes a `durability`"),
    ],
    ids=["mail that would not be journalled", "mail that could be journalled nowhere"],
)
def test_a_ref_that_does_not_fit_the_mailbox_is_refused_where_it_is_declared(
    ref: ActorRef[str] | DurableRef[str], durability: Durability | None, why: str
) -> None:
    with pytest.raises(ValueError, match=f"child 'a': .*{why}"):
        ChildSpec("a", Echo, ref, durability=durability)


def nested(*children: Any) -> SupervisorSpec:
    return SupervisorSpec("nested", children)


SHARED = ActorRef[str]("shared")


@pytest.mark.parametrize(
    ("children", "said"),
    [
        ([child("a", SHARED), child("b", SHARED)], "root/b: its ref 'shared' is that of root/a"),
        ([child("a", SHARED), nested(child("b", SHARED))], "root/nested/b: its ref 'shared' is that of root/a"),
        ([nested(child("a", SHARED)), child("b", SHARED)], "root/b: its ref 'shared' is that of root/nested/a"),
    ],
    ids=["beside", "below", "above"],
)
async def test_two_actors_of_one_address_are_refused_wherever_they_stand(children: list[Any], said: str) -> None:
    with pytest.raises(DuplicateRef, match=said):
        Supervisor(SupervisorSpec("root", children))
    async with running(SupervisorSpec("root", children[:1])) as root:
        with pytest.raises(DuplicateRef, match=said):
            await root.start_child(children[1])
        await SHARED.tell("for who was there first")


REF = ActorRef[str]("a")
DOWN = (OSError,)


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: MailboxSpec(0), "capacity is 0"),
        (lambda: MailboxSpec(idle_s=-1.0), "idle_s is -1.0"),
        (lambda: LaneSpec("low", 0, 2, 60.0), "concurrency is 0"),
        (lambda: LaneSpec("low", 1, -1, 60.0), "pending_limit is -1"),
        (lambda: LaneSpec("low", 1, 2, 0.0), "timeout_s is 0.0"),
        (lambda: Lanes([], processes=0), "processes is 0"),
        (lambda: LanesService(Lanes([]), drain_s=-1.0), "drain_s is -1.0"),
        (lambda: BreakerSpec(DOWN, failures=0), "failures is 0"),
        (lambda: BreakerSpec(DOWN, within_s=-1.0), "within_s is -1.0"),
        (lambda: BreakerSpec(DOWN, open_s=0.0), "open_s is 0.0"),
        (lambda: RetryPolicy(delays_s=(1.0, -1.0)), "delays_s has -1.0 among them"),
        (lambda: RetryPolicy(outage_delays_s=(math.inf,)), "outage_delays_s has inf among them"),
        (lambda: RetryPolicy(jitter=-0.1), "jitter is -0.1"),
        (lambda: RetryPolicy(max_deliveries=0), "max_deliveries is 0"),
        (lambda: Backoff(first_s=-1.0), "first_s is -1.0"),
        (lambda: Backoff(longest_s=math.nan), "longest_s is nan"),
        (lambda: Backoff(jitter=-1.0), "jitter is -1.0"),
        (lambda: ChildSpec("a", Echo, REF, shutdown_s=-1.0), "shutdown_s is -1.0"),
        (lambda: ServiceSpec("a", lambda: LanesService(Lanes([]), drain_s=0.0), shutdown_s=-1.0), "shutdown_s is -1.0"),
        (lambda: SupervisorSpec("root", [], intensity=-1), "intensity is -1"),
        (lambda: SupervisorSpec("root", [], period_s=0.0), "period_s is 0.0"),
        (lambda: SupervisorSpec("root", [], shutdown_s=-1.0), "shutdown_s is -1.0"),
        (lambda: ScheduleSpec(id="a", when=Every(1.0), target=REF, message=str, grace_s=-1.0), "grace_s is -1.0"),
        (lambda: Schedules([], load_s=-1.0), "load_s is -1.0"),
        (lambda: Every(0.0), "every 0.0 s"),
        (lambda: Watchdog(lambda: Supervisor(SupervisorSpec("root", [])), LoopLag(), slow_s=-1.0), "slow_s is -1.0"),
        (
            lambda: Watchdog(lambda: Supervisor(SupervisorSpec("root", [])), LoopLag(), blocked_s=0.0),
            "blocked_s is 0.0",
        ),
        (lambda: Watchdog(lambda: Supervisor(SupervisorSpec("root", [])), LoopLag(), every_s=0.0), "every_s is 0.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_number_that_makes_no_sense_is_refused_where_it_is_declared(declare: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        declare()


def test_an_outage_has_a_pause() -> None:
    with pytest.raises(ValueError, match="needs a pause"):
        RetryPolicy(outage_delays_s=())


@dataclass(frozen=True)
class Spawn(Request[None]):
    spec: ChildSpec[Any]


class Parent(Actor[Spawn]):
    declared = (DuplicateRef,)

    async def receive(self, message: Spawn) -> None:
        await self.context.spawn(message.spec)


async def test_an_address_is_refused_to_who_is_added_or_spawned_anywhere_in_the_tree() -> None:
    ref, parent = ActorRef[str]("a"), ActorRef[Spawn]("parent")
    children: list[Any] = [child("a", ref), ChildSpec("parent", Parent, parent), SupervisorSpec("inner", [])]
    async with running(SupervisorSpec("root", children)) as root:
        inner = cast("Supervisor", root.children[2].process)
        with pytest.raises(DuplicateRef, match="root/inner/b: its ref 'a' is that of root/a"):
            await inner.start_child(child("b", ref))
        with pytest.raises(DuplicateRef, match="root/inner/c/b: its ref 'a' is that of root/a"):
            await inner.start_child(SupervisorSpec("c", [child("b", ref)]))
        with pytest.raises(DuplicateRef, match="root/parent/b: its ref 'a' is that of root/a"):
            await parent.ask(Spawn(child("b", ref)), timeout_s=20)
        await ref.tell("for who was there first")
        await root.stop_child("a")
        await inner.start_child(child("b", ref))
        await ref.tell("for who is there now")


async def test_an_address_is_free_when_its_actor_was_removed_and_outlives_all_restarts() -> None:
    ref = ActorRef[str]("a")
    tree = SupervisorSpec("root", [SupervisorSpec("inner", [child("a", ref)], intensity=0)], backoff=Backoff(0.0))
    async with running(tree) as root:
        await ref.tell("crash")  # too often for its supervisor, which is restarted: a new cell has the same address
        await until(lambda: len(started) == 2)
        await Controls(root).restart("root/inner/a")
        await root.stop_child("inner")
        await root.start_child(child("b", ref))
    assert started == ["root/inner/a"] * 3 + ["root/b"]


async def test_the_address_of_who_has_ended_and_may_come_back_is_not_free() -> None:
    """A TRANSIENT child that has ended in good order is started again by order, and with others."""

    class Ends(Echo):
        async def receive(self, message: str) -> None:
            self.context.stop()

    ref = ActorRef[str]("a")
    async with running(SupervisorSpec("root", [ChildSpec("a", Ends, ref, Restart.TRANSIENT)])) as root:
        await ref.tell("end")
        await until(lambda: root.children[0].status == "stopped")
        with pytest.raises(DuplicateRef):
            await root.start_child(child("b", ref))
        await Controls(root).restart("root/a")
        await root.stop_child("a")
        await root.start_child(child("b", ref))
    assert started == ["root/a", "root/a", "root/b"]


async def test_what_is_refused_of_a_tree_leaves_no_address_behind() -> None:
    refs = [ActorRef[str](name) for name in "abc"]

    def tree(last: str) -> SupervisorSpec:
        return SupervisorSpec("s", [child("a", refs[0]), nested(child("x", refs[1]), child(last, refs[2]))])

    async with running(SupervisorSpec("root", [])) as root:
        with pytest.raises(DuplicateChild, match="root/s/nested/x"):
            await root.start_child(tree("x"))
        await root.start_child(tree("y"))
        for _ in range(3):
            await root.stop_child("s")
            await root.start_child(tree("y"))
