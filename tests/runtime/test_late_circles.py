"""Circles of waits for room: they are refused whenever they arise, and only as long as they are there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from tests.runtime.support import running, until
from trendedge.runtime import Actor, ActorRef, ChildSpec, MailboxSpec, Request, SupervisorSpec, TellCycle


async def nothing() -> None:
    pass


@dataclass(frozen=True)
class Do(Request[object]):
    """What its handler does."""

    act: Callable[[], Awaitable[Any]] = nothing
    key: str = "k"


class Doer(Actor[Do]):
    async def receive(self, message: Do) -> object:
        return await message.act()


def doer(ref: ActorRef[Do], capacity: int, *, keyed: bool = False) -> ChildSpec[Do]:
    mailbox = MailboxSpec(capacity, key=(lambda do: do.key) if keyed else None)
    return ChildSpec(ref.name, Doer, ref, mailbox=mailbox)


async def test_who_was_let_in_waits_for_nobody_and_closes_no_circle() -> None:
    hub, slow, gate, answers = ActorRef[Do]("hub"), ActorRef[Do]("slow"), anyio.Event(), list[object]()

    async def ask_the_hub() -> None:
        answers.append(await hub.ask(Do(), timeout_s=5.0))

    async with running(SupervisorSpec("root", [doer(hub, 9), doer(slow, 2)])):
        await slow.tell(Do(gate.wait))
        await slow.tell(Do(ask_the_hub))
        await hub.tell(Do(lambda: slow.tell(Do())))
        await anyio.wait_all_tasks_blocked()
        assert slow.cell.waiting == 1
        gate.set()  # the first message makes room for the hub, and the second asks the hub before that knows
        await until(lambda: answers == [None])


async def refused(errors: list[TellCycle], act: Callable[[], Awaitable[Any]]) -> None:
    try:
        await act()
    except TellCycle as error:
        errors.append(error)


async def test_a_circle_that_arises_when_the_last_who_was_free_has_left_is_refused() -> None:
    hub, workers, errors = ActorRef[Do]("hub"), ActorRef[Do]("workers"), list[TellCycle]()
    gates = {"a": anyio.Event(), "b": anyio.Event()}

    async def wait_and_tell_the_hub() -> None:
        await gates["a"].wait()
        await refused(errors, lambda: hub.tell(Do()))

    async with running(SupervisorSpec("root", [doer(hub, 1), doer(workers, 2, keyed=True)])):
        await workers.tell(Do(wait_and_tell_the_hub, "a"))
        await workers.tell(Do(gates["b"].wait, "b"))
        passer_by = asyncio.create_task(workers.tell(Do(key="a")))
        await anyio.wait_all_tasks_blocked()
        await hub.tell(Do(lambda: refused(errors, lambda: workers.tell(Do(key="c")))))
        await anyio.wait_all_tasks_blocked()
        gates["a"].set()
        await anyio.wait_all_tasks_blocked()
        assert errors == []  # the other worker makes room
        gates["b"].set()  # it does, for the passer-by, whose message waits for the first
        await until(lambda: not hub.cell.depth + workers.cell.depth)
        await passer_by
    assert [error.cycle for error in errors] == [("root/hub", "root/workers[a]", "root/hub")]


async def test_a_circle_that_arises_when_what_went_round_the_capacity_has_left_is_refused() -> None:
    hub, workers, gate, errors = ActorRef[Do]("hub"), ActorRef[Do]("workers"), anyio.Event(), list[TellCycle]()

    async def tell_the_hub_after_oneself() -> None:
        await workers.tell(Do(gate.wait, "b"))
        await refused(errors, lambda: hub.tell(Do()))

    async def keep_the_hub() -> None:
        await workers.tell(Do(tell_the_hub_after_oneself, "a"))
        await refused(errors, lambda: workers.tell(Do(key="c")))

    async with running(SupervisorSpec("root", [doer(hub, 1), doer(workers, 1, keyed=True)])):
        await hub.tell(Do(keep_the_hub))
        await anyio.wait_all_tasks_blocked()
        assert (hub.cell.waiting, workers.cell.waiting, errors) == (1, 1, [])
        gate.set()
        await until(lambda: not hub.cell.depth + workers.cell.depth)
    assert len(errors) == 1


async def test_who_was_let_in_and_lost_its_place_closes_a_circle_when_it_waits_again() -> None:
    hub, slow, gate, late = ActorRef[Do]("hub"), ActorRef[Do]("slow"), anyio.Event(), anyio.Event()
    errors = list[TellCycle]()

    async def tell_oneself_and_the_hub() -> None:
        for _ in range(2):
            await slow.tell(Do(late.wait))
        await refused(errors, lambda: hub.tell(Do()))

    async with running(SupervisorSpec("root", [doer(hub, 1), doer(slow, 2)])):
        await slow.tell(Do(gate.wait))
        await slow.tell(Do(tell_oneself_and_the_hub))
        await hub.tell(Do(lambda: refused(errors, lambda: slow.tell(Do()))))
        await anyio.wait_all_tasks_blocked()
        gate.set()
        await until(lambda: bool(errors))
        late.set()
        await until(lambda: not hub.cell.depth + slow.cell.depth)
    assert len(errors) == 1


@pytest.mark.parametrize("others", [2, 3])
async def test_who_was_let_in_and_finds_no_room_is_not_overtaken_by_who_was_let_in_after_it(others: int) -> None:
    ref, gate, late, seen = ActorRef[Do]("a"), anyio.Event(), anyio.Event(), list[int]()

    def see(number: int) -> Do:
        async def act() -> None:
            seen.append(number)

        return Do(act)

    async def tell_oneself() -> None:
        for _ in range(2):
            await ref.tell(Do(late.wait))

    async with running(SupervisorSpec("root", [doer(ref, 3)])), asyncio.TaskGroup() as tasks:
        for act in (gate.wait, nothing, tell_oneself):
            await ref.tell(Do(act))
        for number in range(others):
            tasks.create_task(ref.tell(see(number)))
            await anyio.wait_all_tasks_blocked()
        gate.set()
        await anyio.wait_all_tasks_blocked()
        late.set()
        await until(lambda: len(seen) == others)
    assert seen == list(range(others))


async def test_who_waits_behind_a_circle_of_others_is_not_refused_for_it() -> None:
    hub, other, workers = ActorRef[Do]("hub"), ActorRef[Do]("other"), ActorRef[Do]("workers")
    gates, errors = {"a": anyio.Event(), "b": anyio.Event()}, list[TellCycle]()

    async def wait_and_tell_the_hub() -> None:
        await gates["a"].wait()
        await hub.tell(Do())

    def tell_the_workers() -> Do:
        return Do(lambda: refused(errors, lambda: workers.tell(Do(key="c"))))

    children = [doer(hub, 1), doer(other, 1), doer(workers, 2, keyed=True)]
    async with running(SupervisorSpec("root", children)):
        await workers.tell(Do(wait_and_tell_the_hub, "a"))
        await workers.tell(Do(gates["b"].wait, "b"))
        passer_by = asyncio.create_task(workers.tell(Do(key="a")))
        await anyio.wait_all_tasks_blocked()
        for ref in (other, hub):
            await ref.tell(tell_the_workers())
            await anyio.wait_all_tasks_blocked()
        for gate in gates.values():
            gate.set()
            await anyio.wait_all_tasks_blocked()
        await until(lambda: not hub.cell.depth + other.cell.depth + workers.cell.depth)
        await passer_by
    assert [error.cycle[0] for error in errors] == ["root/hub"]


async def test_who_leaves_its_place_to_who_has_come_before_and_must_not_wait_lets_that_one_in() -> None:
    hub, slow, gate, late = ActorRef[Do]("hub"), ActorRef[Do]("slow"), anyio.Event(), anyio.Event()
    errors = list[TellCycle]()

    async def tell_oneself_and_the_hub() -> None:
        await slow.tell(Do())
        await hub.tell(Do())
        await late.wait()

    async with running(SupervisorSpec("root", [doer(hub, 1), doer(slow, 3)])):
        for act in (gate.wait, nothing, tell_oneself_and_the_hub):
            await slow.tell(Do(act))
        passer_by = asyncio.create_task(slow.tell(Do()))
        await anyio.wait_all_tasks_blocked()
        await hub.tell(Do(lambda: refused(errors, lambda: slow.tell(Do()))))
        await anyio.wait_all_tasks_blocked()
        gate.set()
        await until(passer_by.done)
        late.set()
        await until(lambda: not hub.cell.depth + slow.cell.depth)
    assert len(errors) == 1
