"""DROP_OLDEST with keys: which message of many lines is dropped, and what finding it costs."""

import asyncio
import random
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from tests.runtime.support import running
from trendedge.runtime import (
    Actor,
    ActorRef,
    ChildSpec,
    MailboxFull,
    MailboxSpec,
    Overflow,
    RetryPolicy,
    SupervisorSpec,
)
from trendedge.runtime.cell import Cell
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.simulation import Actors


@dataclass(frozen=True)
class Deed:
    key: str
    what: str = "work"


def by_key(capacity: int) -> MailboxSpec:
    return MailboxSpec(capacity, Overflow.DROP_OLDEST, key=lambda deed: deed.key)


class Doer(Actor[Deed]):
    """Does what it is told, and takes its time."""

    async def receive(self, message: Deed) -> None:
        match message.what:
            case "fail":
                await anyio.sleep(1)
                raise ValueError
            case "stash":
                self.context.stash()
            case "unstash":
                self.context.unstash_all()
            case "tick":
                self.context.tell_self_after(1, Deed(message.key, "ticked"))
            case _:
                await anyio.sleep(3)


def oldest(cell: Cell) -> Envelope | None:
    """What is to be dropped next, found by looking at everything."""
    lines = [[one for one in entity.mail if one is not entity.in_hand] for entity in cell.entities.values()]
    waiting = [one for line in lines for one in line if one.origin is None]
    return min(waiting, key=lambda one: one.enqueued_at, default=None)


def envelopes(cell: Cell) -> list[Envelope]:
    return [one for entity in cell.entities.values() for one in (*entity.mail, *entity.stashed)]


@pytest.mark.parametrize("seed", range(10))
def test_what_waits_longest_is_dropped_whatever_has_become_of_it_before(seed: int, actors: Actors) -> None:
    """It was begun and has failed, was put aside and has come back, or stands behind what its actor told itself."""
    rng, dropped = random.Random(seed), 0  # noqa: S311 - guards no secret
    doer = actors.start(Doer, mailbox=by_key(8), retry=RetryPolicy(delays_s=(5.0, 5.0)))
    cell = doer.ref.cell
    for _ in range(300):
        actors.advance(rng.choice([0.001, 0.3, 1.0]))
        full, expected, before = cell.depth >= 8, oldest(cell), envelopes(cell)
        deed = Deed(rng.choice("abcd"), rng.choice(["work", "fail", "fail", "stash", "stash", "unstash", "tick"]))
        try:
            actors.call(lambda: doer.ref.tell_nowait(deed))  # noqa: B023 - called here
        except MailboxFull:
            assert (full, expected) == (True, None)
            continue
        gone = [one for one in before if one not in envelopes(cell)]
        if full and expected is not None:
            assert gone[0] is expected
            dropped += 1
    assert dropped > 5
    assert cell.stats.dropped >= dropped


async def calls_of_a_tell(keys: int) -> int:
    """Function calls of ten messages to a full mailbox of so many keys, each with one in hand and one that waits."""
    ref, calls = ActorRef[Deed]("doer"), 0

    class Hangs(Actor[Deed]):
        async def receive(self, message: Deed) -> None:
            await asyncio.sleep(1000)

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    child = ChildSpec("doer", Hangs, ref, mailbox=by_key(2 * keys), shutdown_s=0.0)
    async with running(SupervisorSpec("root", [child])):
        for number in range(2 * keys):
            ref.tell_nowait(Deed(str(number % keys)))
        await anyio.wait_all_tasks_blocked()
        ref.tell_nowait(Deed("0"))
        sys.setprofile(count)
        try:
            for number in range(10):
                ref.tell_nowait(Deed(str(number)))
        finally:
            sys.setprofile(None)
        assert (ref.cell.stats.dropped, ref.cell.depth) == (11, 2 * keys)
    return calls


async def test_to_find_what_waits_longest_takes_no_longer_with_many_keys() -> None:
    assert await calls_of_a_tell(2000) < 2 * await calls_of_a_tell(20)


async def test_a_message_that_was_handled_leaves_nothing_behind() -> None:
    ref = ActorRef[Deed]("doer")
    handled: list[weakref.ref[Deed]] = []

    class Notes(Actor[Deed]):
        async def receive(self, message: Deed) -> None:
            handled.append(weakref.ref(message))

    async with running(SupervisorSpec("root", [ChildSpec("doer", Notes, ref, mailbox=by_key(1000))])):
        for number in range(200):
            ref.tell_nowait(Deed(str(number % 3)))
        await anyio.wait_all_tasks_blocked()
        assert len(handled) == 200
        assert len([one for one in handled if one() is not None]) <= 3  # the last one of each key
