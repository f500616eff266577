"""Which waits are circles: none of those that come to an end by themselves, and all others, whenever they close."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from tests.runtime.support import running
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    MailboxSpec,
    Overflow,
    Request,
    RetryPolicy,
    SupervisorSpec,
    TellCycle,
)
from trendedge.runtime.entity import Entity
from trendedge.runtime.simulation import Actors


@dataclass(frozen=True)
class Do:
    """Something to do, as the test says."""

    what: Callable[[Actor[Any]], Any]
    key: str = "k"


@dataclass(frozen=True)
class Ask(Request[str]):
    key: str = "k"


class Puppet(Actor[Do | Ask]):
    async def receive(self, message: Do | Ask) -> Any:
        return await message.what(self) if isinstance(message, Do) else "answer"


def until(event: anyio.Event) -> Callable[[Any], Any]:
    return lambda _: event.wait()


def nothing(key: str = "k") -> Do:
    return Do(lambda _: asyncio.sleep(0), key)


def puppet(ref: ActorRef[Any], capacity: int = 1000, *, keyed: bool = False) -> ChildSpec[Any]:
    key = (lambda message: message.key) if keyed else None
    return ChildSpec(ref.name, Puppet, ref, mailbox=MailboxSpec(capacity, key=key), shutdown_s=1)


class Stage:
    """Three puppets; `x` asks `a`, and `a` tells `c`. What came of it is in `ends`."""

    def __init__(self) -> None:
        self.a, self.c, self.x = (ActorRef[Any](name) for name in "acx")
        self.ends: list[str] = []

    async def note(self, work: Any) -> None:
        try:
            self.ends.append(str(await work))
        except Exception as error:
            self.ends.append(repr(error))

    def tells_c(self, key: str = "k") -> Do:
        return Do(lambda _: self.note(self.c.tell(nothing(key))))

    def asks(self, ref: ActorRef[Any], when: anyio.Event | None = None, key: str = "k") -> Do:
        async def act(_: Any) -> None:
            if when is not None:
                await when.wait()
            await self.note(ref.ask(Ask(key), timeout_s=5))

        return Do(act, key)

    def tree(self, capacity: int, *, keyed: bool = False) -> SupervisorSpec:
        return SupervisorSpec(
            "root", [puppet(self.c, capacity, keyed=keyed), puppet(self.a), puppet(self.x)], backoff=Backoff(0.0)
        )


def test_who_waits_for_room_that_is_kept_for_senders_on_their_way_is_in_no_circle(actors: Actors) -> None:
    """The mailbox is full of places for senders that were let in: nobody's mail is there who would have to go on."""
    stage, gate = Stage(), anyio.Event()

    async def play() -> None:
        async with running(stage.tree(1)), asyncio.TaskGroup() as tasks:
            await stage.x.tell(stage.asks(stage.a, gate))
            await stage.c.tell(Do(until(gate)))
            await anyio.sleep(1)
            tasks.create_task(stage.c.tell(nothing()))
            await anyio.sleep(1)
            await stage.a.tell(stage.tells_c())
            await anyio.sleep(1)
            gate.set()
            await anyio.sleep(1)

    actors.run(play())
    assert sorted(stage.ends) == ["None", "answer"]


def test_who_waits_for_room_in_a_mailbox_of_stashed_messages_is_in_no_circle(actors: Actors) -> None:
    stage = Stage()

    async def put_aside(actor: Actor[Any]) -> None:
        if not actor.context.expects_mail and actor not in loaded:
            loaded.append(actor)
            actor.context.tell_self_after(2, Do(take_again))
            actor.context.stash()

    async def take_again(actor: Actor[Any]) -> None:
        actor.context.unstash_all()

    loaded = list[Actor[Any]]()

    async def play() -> None:
        async with running(stage.tree(1)):
            await stage.c.tell(Do(put_aside))
            await anyio.sleep(0.5)
            await stage.a.tell(stage.tells_c())
            await anyio.sleep(0.5)
            await stage.x.tell(stage.asks(stage.a))
            await anyio.sleep(5)

    actors.run(play())
    assert sorted(stage.ends) == ["None", "answer"]


def test_who_was_let_in_and_does_not_know_it_yet_is_in_no_circle(actors: Actors) -> None:
    stage, gate = Stage(), anyio.Event()

    async def play() -> None:
        async with running(stage.tree(2)):
            await stage.c.tell(Do(until(gate)))
            await stage.c.tell(stage.asks(stage.x))
            await anyio.sleep(1)
            await stage.x.tell(stage.asks(stage.a, gate))
            await stage.a.tell(stage.tells_c())
            await anyio.sleep(1)
            gate.set()
            await anyio.sleep(1)

    actors.run(play())
    assert sorted(stage.ends) == ["None", "answer", "answer"]


def test_who_waits_for_room_that_a_sender_on_its_way_will_make_is_in_no_circle(actors: Actors) -> None:
    stage, gate = Stage(), anyio.Event()

    async def play() -> None:
        async with running(stage.tree(2, keyed=True)), asyncio.TaskGroup() as tasks:
            await stage.c.tell(Do(until(gate), "k2"))
            await stage.a.tell(Do(lambda _: gate.wait()))
            await stage.a.tell(stage.tells_c("k4"))
            await stage.c.tell(stage.asks(stage.a, key="k1"))
            await anyio.sleep(1)
            tasks.create_task(stage.c.tell(nothing("k3")))
            await anyio.sleep(1)
            gate.set()
            await anyio.sleep(1)

    actors.run(play())
    assert sorted(stage.ends) == ["None", "answer"]


@pytest.mark.parametrize("how", ["another sender", "its own timer"])
def test_a_circle_that_closes_when_others_have_left_the_mailbox_fails_then(how: str, actors: Actors) -> None:
    """`a` waits for room in `c`, where k1 waits for room in `a`, and k2 could make some, but is followed by k1."""
    stage, first, second = Stage(), anyio.Event(), anyio.Event()
    stage.a = ActorRef("a")

    async def k1(actor: Actor[Any]) -> None:
        if how == "its own timer":
            actor.context.tell_self_after(0.5, nothing("k1"))
        await first.wait()
        await stage.note(stage.a.tell(nothing()))

    async def play() -> None:
        spec = SupervisorSpec("root", [puppet(stage.c, 2, keyed=True), puppet(stage.a, 1)])
        async with running(spec), asyncio.TaskGroup() as tasks:
            await stage.c.tell(Do(k1, "k1"))
            await stage.c.tell(Do(until(second), "k2"))
            await anyio.sleep(1)
            if how == "another sender":
                tasks.create_task(stage.c.tell(nothing("k1")))
            await anyio.sleep(1)
            await stage.a.tell(stage.tells_c("k3"))
            await anyio.sleep(1)
            first.set()
            await anyio.sleep(1)
            assert stage.ends == []
            second.set()
            await anyio.sleep(1)
            assert (stage.c.cell.depth, stage.a.cell.depth) == (0, 0)

    actors.run(play())
    error = TellCycle("root/c", 2, ("root/a", "root/c[k1]", "root/a"))
    assert stage.ends == [repr(error), "None"]


@pytest.mark.parametrize("how", ["crashes", "stops it"])
def test_an_ask_that_waits_for_who_waits_for_the_asker_s_end_is_refused(how: str, actors: Actors) -> None:
    """The child's ask lies in the mailbox of its parent, which then waits for the end of its children."""
    parent, child, ends = ActorRef[Any]("parent"), ActorRef[Any]("child"), list[str]()

    async def ask(_: Any) -> None:
        try:
            await parent.ask(Ask(), timeout_s=100)
        except Exception as error:
            ends.append(str(error))

    async def act(actor: Actor[Any]) -> None:
        await actor.context.spawn(ChildSpec("child", Puppet, child, shutdown_s=50))
        await child.tell(Do(ask))
        await anyio.sleep(1)
        if how == "crashes":
            raise ValueError(how)
        await actor.context.stop_child("child")

    spec = SupervisorSpec("root", [ChildSpec("parent", Puppet, parent, retry=RetryPolicy())], backoff=Backoff(0.0))

    async def play() -> None:
        async with running(spec):
            await parent.tell(Do(act))
            await anyio.sleep(2)
            assert parent.cell.depth == 0

    actors.run(play())
    circle = "root/parent/child -> root/parent -> root/parent/child"
    assert ends == [f"ask in a cycle: {circle}"]


def test_a_wait_for_room_looks_at_few_of_many_who_wait_as_well(actors: Actors, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline of three keyed stages under back pressure: each wait is followed to the first who can go on."""
    looks, held_up_by = 0, Entity.held_up_by

    def counted(entity: Entity) -> tuple[int, Iterator[Any]]:
        nonlocal looks
        looks += 1
        return held_up_by(entity)

    monkeypatch.setattr(Entity, "held_up_by", counted)
    names, keys, rounds = "pbc", 50, 6
    stages = {name: ActorRef[Any](name) for name in names}
    done = 0

    async def last(_: Any) -> None:
        nonlocal done
        await anyio.sleep(1)
        done += 1

    def on(stage: str, key: str) -> Do:
        if stage == "c":
            return Do(last, key)
        return Do(lambda _: stages[names[names.index(stage) + 1]].tell(on(names[names.index(stage) + 1], key)), key)

    async def play() -> None:
        async with running(SupervisorSpec("root", [puppet(stages[one], keys, keyed=True) for one in reversed(names)])):
            for number in range(keys * rounds):
                await stages["p"].tell(on("p", str(number % keys)))
            await anyio.sleep(100)

    actors.run(play())
    assert done == keys * rounds
    assert looks < 10 * keys * rounds


def test_overflow_that_waits_for_nobody_is_in_no_circle(actors: Actors) -> None:
    """FAIL refuses at once, circle or not."""
    ref, ends = ActorRef[Any]("a"), list[str]()

    async def act(_: Any) -> None:
        for _ in range(3):
            try:
                await other.tell(nothing())
            except Exception as error:
                ends.append(type(error).__name__)

    other = ActorRef[Any]("b")
    mailbox = MailboxSpec(1, overflow=Overflow.FAIL)
    spec = SupervisorSpec("root", [puppet(ref), ChildSpec("b", Puppet, other, mailbox=mailbox)])

    async def play() -> None:
        async with running(spec):
            await ref.tell(Do(act))
            await anyio.sleep(1)

    actors.run(play())
    assert ends == ["MailboxFull", "MailboxFull"]


def test_what_waits_for_an_instance_that_has_stopped_is_told_before_the_others_have(actors: Actors) -> None:
    """`k1` of the stopping actor asks `x`, which asks `k2`; that one has ended, with the ask in its line."""
    stage, free = Stage(), anyio.Event()

    async def slow(_: Any) -> None:
        await anyio.sleep(2)

    async def play() -> None:
        child = ChildSpec("c", Puppet, stage.c, mailbox=MailboxSpec(9, key=lambda message: message.key), shutdown_s=50)
        async with running(SupervisorSpec("root", [puppet(stage.x), child])) as root:
            await stage.c.tell(Do(slow, "k2"))
            await anyio.sleep(0.1)
            await stage.x.tell(Do(lambda _: stage.note(stage.c.ask(Ask("k2"), timeout_s=100))))
            await stage.c.tell(stage.asks(stage.x, free, "k1"))
            await anyio.sleep(0.1)
            free.set()
            await anyio.sleep(0.1)
            began = actors.now
            await root.stop_child("c")
            assert actors.now - began < 3

    actors.run(play())
    assert sorted(stage.ends) == ["ActorStopped('root/c: stopped')", "answer"]
