"""COALESCE: what a later message replaces when that has been in hand already, or was put aside."""

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from trendedge.runtime import Actor, BreakerSpec, MailboxSpec, MessageDropped, Overflow, RetryPolicy
from trendedge.runtime.simulation import Actors, Started


@dataclass(frozen=True)
class Price:
    name: str
    price: int


class Quotes(Actor[Price | str]):
    """Fails over what is in `fails`; handles nothing before it is open, if it puts aside."""

    def __init__(self, seen: list[int], fails: dict[int, type[Exception]], *, is_open: bool = True) -> None:
        self.seen, self.fails, self.open = seen, fails, is_open

    async def receive(self, message: Price | str) -> None:
        if isinstance(message, str):
            self.open = True
            self.context.unstash_all()
            return
        if message.name == "slow":
            await anyio.sleep(10)
        if not self.open:
            self.context.stash()
            return
        self.seen.append(message.price)
        if message.price in self.fails:
            raise self.fails[message.price]


def quotes(
    actors: Actors, seen: list[int], fails: dict[int, type[Exception]], capacity: int = 1, **options: Any
) -> Started[Price | str]:
    def name(message: Price | str) -> str:
        return message if isinstance(message, str) else message.name

    mailbox = MailboxSpec(capacity, Overflow.COALESCE, coalesce=name, key=options.pop("key", None))
    is_open = options.pop("is_open", True)
    return actors.start(lambda: Quotes(seen, fails, is_open=is_open), mailbox=mailbox, **options)


@pytest.mark.parametrize("key", [None, lambda message: message.name], ids=["one instance", "keyed"])
def test_what_waits_for_its_retry_is_replaced_and_the_later_one_handled_at_once(key: Any, actors: Actors) -> None:
    seen: list[int] = []
    quote = quotes(actors, seen, {1: ValueError}, key=key, retry=RetryPolicy(delays_s=(50.0,)))
    quote.tell(Price("x", 1))
    actors.advance(10)
    quote.tell(Price("x", 2))  # the mailbox is full
    actors.advance(2)
    assert (seen, quote.mailbox, quote.ref.cell.stats.dropped) == ([1, 2], [], 1)


def test_what_waits_behind_a_breaker_is_replaced(actors: Actors) -> None:
    seen: list[int] = []
    quote = quotes(actors, seen, {1: OSError}, breaker=BreakerSpec((OSError,), failures=1, open_s=50.0))
    quote.tell(Price("x", 1))
    actors.advance(10)
    for price in (2, 3):
        quote.tell(Price("x", price))
    actors.advance(30)
    assert (seen, quote.mailbox) == ([1], [Price("x", 3)])
    actors.advance(30)
    assert seen == [1, 3]


@pytest.mark.parametrize("outage", [False, True], ids=["a failure", "an outage"])
def test_what_fails_while_a_later_one_waits_is_dropped_and_its_ask_told(outage: bool, actors: Actors) -> None:
    """An outage delays the later one as well: it is of the mailbox, not of the message."""
    seen: list[int] = []
    error = OSError if outage else ValueError
    retry = RetryPolicy(delays_s=(50.0,), outage=(OSError,), outage_delays_s=(50.0,))
    quote = quotes(actors, seen, {1: error}, capacity=2, retry=retry)
    reply = actors.loop.create_future()
    quote.ref.cell.put_nowait(Price("slow", 1), reply)
    actors.advance(5)
    quote.tell(Price("slow", 2))  # what is in hand is not replaced
    actors.advance(10)
    assert isinstance(reply.exception(), MessageDropped)
    assert (quote.mailbox, quote.ref.cell.depth, quote.ref.cell.stats.dropped) == ([Price("slow", 2)], 1, 1)
    actors.advance(20)
    assert seen == ([1] if outage else [1, 2])
    actors.advance(50)
    assert seen == [1, 2]


def test_what_was_put_aside_is_replaced_and_the_handler_sees_the_later_one(actors: Actors) -> None:
    seen: list[int] = []
    quote = quotes(actors, seen, {}, capacity=3, is_open=False)
    for price in range(5):
        quote.tell(Price("x", price))
        quote.tell(Price("y", price))
    assert (quote.stashed, quote.mailbox) == ([Price("x", 4), Price("y", 4)], [])
    quote.tell("open")
    actors.advance(1)
    assert (seen, quote.ref.cell.depth, quote.ref.cell.stats.dropped) == ([4, 4], 0, 8)
    quote.tell(Price("x", 5))
    assert seen == [4, 4, 5]


def test_what_is_put_aside_while_a_later_one_waits_is_dropped(actors: Actors) -> None:
    seen: list[int] = []
    quote = quotes(actors, seen, {}, capacity=3, is_open=False)
    quote.tell(Price("slow", 1))
    quote.tell(Price("slow", 2))
    actors.advance(15)
    assert (quote.stashed, quote.mailbox, quote.ref.cell.stats.dropped) == ([], [Price("slow", 2)], 1)


def test_what_takes_the_place_of_a_message_has_a_deadline_of_its_own(actors: Actors) -> None:
    seen: list[int] = []
    quote = quotes(actors, seen, {}, capacity=5)
    quote.tell(Price("slow", 0))
    quote.tell(Price("x", 1), deadline_s=5)
    quote.tell(Price("x", 2))  # it is late for nobody
    quote.tell(Price("y", 3))
    quote.tell(Price("y", 4), deadline_s=5)
    actors.advance(20)
    assert (seen, quote.ref.cell.stats.expired) == ([0, 2], 1)


def test_a_later_message_has_the_room_of_the_one_put_aside_however_full_the_mailbox_is(actors: Actors) -> None:
    quote = quotes(actors, [], {}, capacity=2, is_open=False)
    quote.tell(Price("x", 1))
    quote.tell(Price("slow", 2))
    quote.ref.cell.put_nowait(Price("y", 3), None, own=True)
    quote.tell(Price("x", 4))
    assert (quote.stashed, quote.mailbox[1:]) == ([], [Price("y", 3), Price("x", 4)])


def test_to_take_put_aside_messages_again_takes_no_look_at_what_waits(actors: Actors) -> None:
    looks = 0

    def name(message: str) -> str:
        nonlocal looks
        looks += 1
        return message

    class Unstashes(Actor[str]):
        async def receive(self, message: str) -> None:
            self.context.unstash_all()

    waiting = 500
    actor = actors.start(Unstashes, mailbox=MailboxSpec(waiting, Overflow.COALESCE, coalesce=name))
    actor.ref.cell.suspend()
    for number in range(waiting):
        actor.tell(str(number))
    actor.ref.cell.resume()
    actors.advance(1)
    assert (actor.mailbox, actor.handled) == ([], waiting)
    assert looks < 8 * waiting
