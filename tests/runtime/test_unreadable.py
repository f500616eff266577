"""Messages that raise when they are looked at, and errors whose attributes cannot be set."""

import json
from dataclasses import dataclass

import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    Durability,
    DurableRef,
    MailboxSpec,
    Overflow,
    Request,
    RetryPolicy,
    SupervisorSpec,
)
from trendedge.runtime.simulation import Actors


class Wrapped:
    """Raises what is no AttributeError for an attribute that it has not, as many a wrapper does."""

    def __init__(self, data: dict[str, str]) -> None:
        self.__dict__["data"] = data

    def __getattr__(self, name: str) -> str:
        data: dict[str, str] = self.__dict__["data"]
        return data[name]


class Takes(Actor[Wrapped]):
    def __init__(self, handled: list[str]) -> None:
        self.handled = handled

    async def receive(self, message: Wrapped) -> None:
        self.handled.append(message.key)


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
def test_a_message_that_cannot_be_looked_at_is_given_up_alone(keyed: bool, actors: Actors) -> None:
    handled: list[str] = []
    mailbox = MailboxSpec(key=(lambda message: message.key) if keyed else None)
    actor = actors.start(lambda: Takes(handled), mailbox=mailbox, retry=RetryPolicy((1.0,)))
    for key in ("bad", "good"):
        actor.tell(Wrapped({"key": key} | ({"request_id": "r"} if key == "good" else {})))
    actors.advance(10)
    assert handled == ["good"]
    assert [(one.message.key, type(one.error), one.attempts) for one in actors.dead_letters] == [("bad", KeyError, 2)]


async def test_a_journalled_message_that_cannot_be_looked_at_is_buried() -> None:
    ref, journal, handled = DurableRef[Wrapped]("a"), MemoryJournal(), list[str]()
    durability = Durability(
        journal, "a", lambda message: json.dumps(message.data).encode(), lambda found: Wrapped(json.loads(found))
    )
    child = ChildSpec("a", lambda: Takes(handled), ref, durability=durability)
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0))) as root:
        await ref.tell(Wrapped({"key": "bad"}))
        await ref.tell(Wrapped({"key": "good", "request_id": "r"}))
        await until(lambda: handled == ["good"] and not ref.cell.depth)
        assert root.children[0].restarts == 1
    assert [letter.cause for _, letter in journal.dead] == ["KeyError: 'request_id'"]


class Unequal:
    """Its `coalesce` key can be told once."""

    def __init__(self) -> None:
        self.asked = 0

    def topic(self) -> str:
        self.asked += 1
        if self.asked > 1:
            raise ValueError("not again")
        return "topic"


def test_a_message_whose_coalesce_key_cannot_be_told_again_is_handled_as_any_other(actors: Actors) -> None:
    handled = list[object]()

    class Sees(Actor[Unequal | str]):
        async def receive(self, message: Unequal | str) -> None:
            handled.append(message)

    def topic(message: Unequal | str) -> str:
        return message if isinstance(message, str) else message.topic()

    mailbox = MailboxSpec(overflow=Overflow.COALESCE, coalesce=topic)
    actor = actors.start(Sees, mailbox=mailbox)
    bad = Unequal()
    bad.asked = -1  # looked up for a place, and listed
    actor.tell(bad)
    actor.tell("good")
    actors.advance(10)
    actor.tell("good")
    assert handled == [bad, "good", "good"]
    assert actors.dead_letters == []


@dataclass(frozen=True)
class NoFunds(Exception):
    missing: int


@dataclass(frozen=True)
class Withdraw(Request[str]):
    amount: int


class Account(Actor[Withdraw]):
    declared = (NoFunds,)

    async def receive(self, message: Withdraw) -> str:
        raise NoFunds(message.amount)


def test_an_actor_that_asks_gets_a_declared_error_whose_attributes_cannot_be_set(actors: Actors) -> None:
    ref, told = ActorRef[Withdraw]("account"), list[NoFunds]()

    class Asks(Actor[int]):
        async def receive(self, message: int) -> None:
            try:
                await ref.ask(Withdraw(message), timeout_s=1)
            except NoFunds as error:
                told.append(error)

    actors.start(Account, ref=ref)
    actors.start(Asks).tell(3)
    assert told == [NoFunds(3)]


def test_declared_errors_are_a_tuple() -> None:
    with pytest.raises(TypeError, match="declared is a list"):
        type("Wrong", (Actor,), {"declared": [ValueError]})
