"""What is put aside: when it may be, when it is taken again, and what it keeps out meanwhile."""

import anyio
import pytest

from trendedge.runtime import Actor, MailboxSpec, StashFull
from trendedge.runtime.simulation import Actors

CAPACITY = 4


class PutsAside(Actor[str]):
    """Handles nothing before it is "open"."""

    def __init__(self, handled: list[str], *, ticks: bool = False, opens_beside: bool = False) -> None:
        self.handled, self.ticks, self.opens_beside = handled, ticks, opens_beside
        self.open = False

    async def on_start(self) -> None:
        if self.ticks:
            self.context.tell_self_every(1, "tick")

    async def receive(self, message: str) -> None:
        if message == "open":
            self.open = True
            self.context.unstash_all()
        elif self.open:
            self.handled.append(message)
        else:
            self.context.stash()
            if self.opens_beside:
                self.opens_beside = False
                self.context.pipe_to_self(self._open(), str)

    async def _open(self) -> str:
        await anyio.sleep(5)
        self.open = True
        self.context.unstash_all()
        await anyio.sleep(1000)
        return "over"


def test_a_stash_that_would_fill_the_mailbox_is_an_error_when_nothing_of_its_own_can_end_it(actors: Actors) -> None:
    """Whoever would tell it to take them again would find no room, for ever."""
    handled: list[str] = []
    actor = actors.start(lambda: PutsAside(handled), mailbox=MailboxSpec(CAPACITY))
    for number in range(CAPACITY):
        actor.tell(str(number))
    actors.advance(10)
    assert [(one.message, type(one.error)) for one in actors.dead_letters] == [("3", StashFull)]
    actor.tell("open")
    actors.advance(10)
    assert handled == ["0", "1", "2"]


def test_a_stash_may_fill_the_mailbox_when_something_of_its_own_is_to_end_it(actors: Actors) -> None:
    handled: list[str] = []
    actor = actors.start(lambda: PutsAside(handled, opens_beside=True), mailbox=MailboxSpec(CAPACITY))
    for number in range(CAPACITY):
        actor.tell(str(number))
    assert len(actor.stashed) == CAPACITY
    actors.advance(10)
    assert handled == [str(number) for number in range(CAPACITY)]


def test_of_a_tick_that_was_put_aside_there_comes_no_second_one(actors: Actors) -> None:
    actor = actors.start(lambda: PutsAside([], ticks=True), mailbox=MailboxSpec(CAPACITY))
    actors.advance(100)
    assert (actor.stashed, actor.mailbox) == (["tick"], [])


def test_work_beside_the_handler_has_stashed_messages_taken_again_at_once(actors: Actors) -> None:
    handled: list[str] = []
    actor = actors.start(lambda: PutsAside(handled, opens_beside=True))
    actor.tell("first")
    actor.tell("second")
    actors.advance(4.9)
    assert (handled, actor.stashed) == ([], ["first", "second"])
    actors.advance(0.2)
    assert handled == ["first", "second"]


@pytest.mark.parametrize("handling", [False, True])
def test_a_message_in_hand_is_not_overtaken_by_what_is_taken_again_beside_it(handling: bool, actors: Actors) -> None:
    order: list[str] = []

    class Slow(PutsAside):
        async def receive(self, message: str) -> None:
            if message == "slow":
                await anyio.sleep(10)
                order.append(message)
            else:
                await super().receive(message)

    actor = actors.start(lambda: Slow(order, opens_beside=True))
    actor.tell("put aside")
    if handling:
        actor.tell("slow")
    actors.advance(20)
    assert order == [*(["slow"] if handling else []), "put aside"]


@pytest.mark.parametrize("how", ["piped work", "a timer", "a message to itself"])
def test_a_stash_may_fill_the_mailbox_when_what_ends_it_waits_behind_it(how: str, actors: Actors) -> None:
    """It has come while the message that is put aside was in hand: nothing of its own is under way any more."""
    handled: list[str] = []

    class Loads(Actor[str]):
        loaded = False

        async def on_start(self) -> None:
            if how == "piped work":
                self.context.pipe_to_self(anyio.sleep(1), lambda _: "loaded")
            elif how == "a timer":
                self.context.tell_self_after(1, "loaded")

        async def receive(self, message: str) -> None:
            if message == "loaded":
                self.loaded = True
                self.context.unstash_all()
            elif self.loaded:
                handled.append(message)
            else:
                if how == "a message to itself":
                    await actor.ref.tell("loaded")
                await anyio.sleep(2)
                self.context.stash()

    actor = actors.start(Loads, mailbox=MailboxSpec(1))
    actor.tell("work")
    actors.advance(10)
    assert (handled, actors.dead_letters) == (["work"], [])


def test_who_takes_all_again_may_put_the_message_in_hand_aside(actors: Actors) -> None:
    seen: list[str] = []

    class Turns(Actor[str]):
        async def receive(self, message: str) -> None:
            seen.append(message)
            if seen == ["1"]:
                self.context.stash()
            elif seen == ["1", "2"]:
                self.context.unstash_all()
                self.context.stash()

    actor = actors.start(Turns, mailbox=MailboxSpec(2))
    actor.tell("1")
    actor.tell("2")
    actors.advance(1)
    assert (seen, actors.dead_letters) == (["1", "2", "1", "2"], [])
