"""The fixture `actors`, tested by using it."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog
import structlog.testing

from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Appended,
    AskTimeout,
    ChildSpec,
    Duplicate,
    MailboxSpec,
    MessageRefused,
    Request,
    RetryPolicy,
    StartFailed,
    Unique,
)
from trendedge.runtime.simulation import Actors, Dead, NoAnswer, NotSimulated, Probe

log = structlog.get_logger()


@dataclass(frozen=True)
class Add:
    number: int


@dataclass(frozen=True)
class Total(Request[int]):
    pass


@dataclass(frozen=True)
class Told:
    total: int


class Sum(Actor[Add | Total]):
    """Adds up, and tells a listener after a minute of silence."""

    def __init__(self, listener: ActorRef[Told] | None = None) -> None:
        self.total, self.listener = 0, listener

    async def receive(self, message: Add | Total) -> int | None:
        match message:
            case Total():
                return self.total
            case Add(number) if number < 0:
                raise ValueError(f"{number} is negative")
            case Add(number):
                self.total += number
                log.info("added", number=number)
                if self.listener is not None:
                    await self.listener.tell(Told(self.total))
        return None


class Balance(Request[int | Exception]):
    pass


class Customer(Actor[Balance]):
    """Says what it gets of a bank."""

    def __init__(self, bank: ActorRef[Total]) -> None:
        self.bank = bank

    @classmethod
    def of(cls, bank: Probe, answer: Callable[[Total], int | Awaitable[int]] | None = None) -> Callable[[], "Customer"]:
        if answer is not None:
            bank.answer(Total, answer)
        return lambda: cls(bank.ref)

    async def receive(self, message: Balance) -> int | Exception:
        try:
            return await self.bank.ask(Total(), timeout_s=60)
        except Exception as error:
            return error


class Slow(Actor[str]):
    """Needs a virtual minute for a message."""

    def __init__(self) -> None:
        self.cleaned: list[str] = []

    async def receive(self, message: str) -> None:
        await anyio.sleep(60)


def test_waiting_and_handling_are_measured_in_virtual_time(actors: Actors) -> None:
    slow = actors.start(Slow)
    slow.suspend()
    slow.tell("x")
    actors.advance(30)
    slow.resume()
    actors.advance(120)
    stats = slow.ref.cell.stats
    assert (stats.wait_ms()["p50"], stats.latency_ms()["p50"]) == (30_000, 60_000)


def test_a_message_is_handled_when_tell_returns_and_the_answer_is_there_when_ask_does(actors: Actors) -> None:
    adder = actors.start(Sum)
    adder.tell(Add(2))
    adder.tell(Add(3))
    assert adder.ask(Total()) == 5
    assert (adder.handled, adder.mailbox, actors.now) == (3, [], 0)


def test_time_passes_only_when_it_is_told_to(actors: Actors) -> None:
    slow = actors.start(Slow)
    before = time.monotonic()
    slow.tell("a")
    slow.tell("b")
    actors.advance(59.9)
    assert (slow.handled, slow.mailbox) == (0, ["a", "b"])
    actors.advance(0.2)
    assert (slow.handled, slow.mailbox) == (1, ["b"])
    actors.expect(lambda: slow.handled == 2)
    assert actors.now == 120
    assert time.monotonic() - before < 30


def test_an_expectation_that_is_not_met_says_what_happened_instead(actors: Actors) -> None:
    adder = actors.start(Sum)
    with pytest.raises(AssertionError, match="not within 5 s: it is 0 s, and nothing was logged"):
        actors.expect(lambda: adder.handled == 2, within_s=5)
    adder.tell(Add(1))
    adder.tell(Add(-1))
    with pytest.raises(AssertionError) as raised:
        actors.expect(lambda: adder.handled == 2, within_s=5)
    told = str(raised.value).splitlines()
    assert told[0].endswith(" s, and the last log lines are")
    assert told[1] == "  added number=1"
    assert told[2].startswith("  handler failed actor='test/sum-1' handling='Add'")
    assert told[2].endswith("exc_info=ValueError('-1 is negative')")


def test_an_ask_without_an_answer_says_what_was_logged(actors: Actors) -> None:
    class Broken(Actor[Total]):
        async def receive(self, message: Total) -> int:
            raise ValueError("broken")

    with pytest.raises(ActorStopped) as raised:
        actors.start(Broken).ask(Total())
    assert "exc_info=ValueError('broken')" in raised.value.__notes__[0]


def test_an_actor_instead_of_what_makes_it_is_refused(actors: Actors) -> None:
    made: Any = Sum()
    with pytest.raises(TypeError, match=r"expected what makes the actor, as `lambda: Sum\(\.\.\.\)`"):
        actors.start(made, name="sum")


def test_a_message_that_cannot_be_pickled_says_what_to_do(actors: Actors) -> None:
    @dataclass(frozen=True)
    class Local:
        pass

    class Listener(Actor[Local]):
        async def receive(self, message: Local) -> None:
            pass

    with pytest.raises(Exception, match="local") as raised:  # its type differs between releases of Python
        actors.start_durable(Listener).tell(Local())
    assert raised.value.__notes__[0].endswith("or give `encode` and `decode`")


def test_a_probe_stands_for_somebody_else(actors: Actors) -> None:
    listener = actors.probe()
    adder = actors.start(lambda: Sum(listener.ref))
    adder.tell(Add(2))
    adder.tell(Add(3))
    listener.expect(Told(2))
    assert listener.expect(Told).total == 5
    listener.expect_nothing(for_s=3600)
    adder.tell(Add(1))
    with pytest.raises(AssertionError, match=r"expected Told\(total=7\), and Told\(total=6\) came"):
        listener.expect(Told(7))
    with pytest.raises(AssertionError, match="not within 60 s"):
        listener.expect(Told)
    adder.tell(Add(1))
    with pytest.raises(AssertionError, match="expected nothing"):
        listener.expect_nothing()


def test_a_probe_answers_as_it_was_told_to(actors: Actors) -> None:
    bank = actors.probe("bank")
    bank.answer(Total, lambda request: 42)

    class Customer(Actor[str]):
        async def receive(self, message: str) -> None:
            log.info("balance", amount=await bank.ref.ask(Total(), timeout_s=1))

    actors.start(Customer).tell("look")
    assert [line["amount"] for line in actors.log if line["event"] == "balance"] == [42]
    bank.expect(Total())


@pytest.mark.parametrize(
    ("seconds", "comes"), [(3, 42), (61, AskTimeout("bank", "Total", 60))], ids=["in time", "too late"]
)
def test_a_probe_may_take_its_time_for_an_answer(actors: Actors, seconds: float, comes: int | AskTimeout) -> None:
    async def answer(_: Total) -> int:
        await anyio.sleep(seconds)
        return 42

    customer = actors.start(Customer.of(actors.probe("bank"), answer))
    assert repr(customer.ask(Balance(), timeout_s=100)) == repr(comes)
    assert actors.now == min(seconds, 60)


def test_a_probe_answers_with_what_its_answer_raises(actors: Actors) -> None:
    def refuse(_: Total) -> int:
        raise PermissionError("not yours")

    customer = actors.start(Customer.of(actors.probe("bank"), refuse))
    assert repr(customer.ask(Balance())) == "PermissionError('not yours')"
    assert actors.log == []


def test_who_asks_a_probe_that_has_no_answer_is_told_what_the_test_lacks(actors: Actors) -> None:
    customer = actors.start(Customer.of(actors.probe("bank")))
    error = customer.ask(Balance())
    assert isinstance(error, NoAnswer)
    assert str(error) == "bank was asked Total() and has no answer: call probe.answer(Total, ...) first"


def test_what_is_given_up_is_among_the_dead_letters(actors: Actors) -> None:
    adder = actors.start(Sum, name="sum", retry=RetryPolicy(delays_s=(5, 25)))
    adder.tell(Add(-1))
    adder.tell(Add(4))
    assert (adder.failures, adder.mailbox, actors.dead_letters) == (1, [Add(-1), Add(4)], [])
    actors.expect(lambda: bool(actors.dead_letters))
    [dead] = actors.dead_letters
    assert dead == Dead("test/sum", None, Add(-1), dead.error, 3)
    assert str(dead.error) == "-1 is negative"
    assert actors.now >= 30
    assert adder.ask(Total()) == 4


def test_a_dead_letter_has_the_message_whatever_it_failed_of(actors: Actors) -> None:
    class Stillborn(Actor[str]):
        async def on_start(self) -> None:
            raise ValueError("no")

    class Strays(Actor[str]):
        async def receive(self, message: str) -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    class Parent(Actor[str]):
        async def receive(self, message: str) -> None:
            child: ActorRef[str] = ActorRef("child")
            await self.context.spawn(ChildSpec("child", Strays, child))
            await child.tell(f"{message} of a parent")

    actors.start(Stillborn, mailbox=MailboxSpec(key=lambda message: message)).tell("key")
    actors.start(Strays).tell("stray")
    actors.start(Parent).tell("stray")
    assert [dead.message for dead in actors.dead_letters] == ["key", "stray", "stray of a parent"]


def test_a_suspended_actors_mailbox_can_be_looked_into(actors: Actors) -> None:
    adder = actors.start(Sum, mailbox=MailboxSpec(key=lambda message: "even" if message.number % 2 == 0 else "odd"))
    adder.suspend()
    for number in range(4):
        adder.tell(Add(number))
    assert adder.mailbox == [Add(0), Add(2), Add(1), Add(3)]
    adder.resume()
    assert (adder.mailbox, adder.handled) == ([], 4)


def test_a_kill_loses_what_is_in_memory_and_brings_back_what_is_journalled(actors: Actors) -> None:
    in_memory, durable = actors.start(Slow, name="memory"), actors.start_durable(Slow, name="durable")
    in_memory.tell("a")
    assert isinstance(durable.tell("b"), Appended)
    actors.advance(30)
    actors.kill()
    assert (in_memory.mailbox, durable.mailbox) == ([], ["b"])
    actors.advance(59)
    assert durable.handled == 0
    actors.expect(lambda: durable.handled == 1)
    actors.kill()
    assert durable.mailbox == []


def test_a_kill_runs_no_finally(actors: Actors) -> None:
    cleaned = []

    class Careful(Actor[str]):
        async def receive(self, message: str) -> None:
            try:
                await anyio.sleep(60)
            finally:
                cleaned.append(message)

    careful = actors.start_durable(Careful)
    careful.tell("a")
    actors.kill()
    actors.advance(30)
    assert cleaned == []
    actors.stop()
    assert cleaned == ["a"]


def test_a_message_that_kills_the_process_three_times_is_dead(actors: Actors) -> None:
    slow = actors.start_durable(Slow, name="slow")
    slow.tell("killer")
    for _ in range(3):
        actors.kill()
    assert slow.mailbox == []
    [buried] = actors.server.dead["slow"].values()
    assert buried.letter.attempts == 3


def test_a_mark_is_taken_once(actors: Actors) -> None:
    slow = actors.start_durable(Slow)
    assert isinstance(slow.tell("a", unique=Unique("mark", "1", 60)), Appended)
    assert slow.tell("a", unique=Unique("mark", "2", 60)) == Duplicate("1")
    actors.advance(61)
    assert isinstance(slow.tell("a", unique=Unique("mark", "3", 60)), Appended)


def test_errors_reach_the_test(actors: Actors) -> None:
    class Stillborn(Actor[str]):
        async def on_start(self) -> None:
            raise ValueError("no")

    with pytest.raises(StartFailed, match="ValueError: no"):
        actors.start(Stillborn)
    adder = actors.start(Sum)
    wrong: Any = "text"
    with pytest.raises(MessageRefused):
        adder.tell(wrong)
    adder.suspend()
    with pytest.raises(AskTimeout):
        adder.ask(Total(), timeout_s=3)
    assert actors.now == 3
    actors.stop()
    with pytest.raises(ActorStopped):
        adder.tell(Add(1))


def test_what_reaches_outside_is_refused(actors: Actors) -> None:
    class Outside(Actor[str]):
        async def receive(self, message: str) -> None:
            await asyncio.open_connection("localhost", 1)

    actors.start(Outside).tell("go")
    [dead] = actors.dead_letters
    assert isinstance(dead.error, NotSimulated)


@pytest.mark.parametrize("number", range(300))
def test_hundreds_of_these_cost_a_second_or_two(actors: Actors, number: int) -> None:
    adder = actors.start(Sum)
    adder.tell(Add(number))
    assert adder.ask(Total()) == number


@pytest.mark.parametrize("whose", ["ours", "another project's"])
@pytest.mark.parametrize("used", ["used before", "used in it first"])
def test_what_happened_is_told_also_where_loggers_are_cached(whose: str, used: str) -> None:
    """As `configure_logs` does, and structlog recommends: such a logger keeps the processors that it began with."""
    command = [sys.executable, "-m", "tests.simulation.cached_loggers", whose, used]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["dead"] == [["test/own", "a", "a", 1], ["test/parent/child", "b", "b", 1]]
    assert told["logged"] == ["received", "handler failed", "restarting"] * 2
    assert told["traced"] == 1
    assert told["written"] == ["before", "before", "after", "after"][0 if used == "used before" else 2 :]


def test_a_message_that_was_given_up_is_a_dead_letter_whatever_is_logged(actors: Actors) -> None:
    with structlog.testing.capture_logs():
        adder = actors.start(Sum)
        adder.tell(Add(-1))
    assert [(dead.actor, dead.message, dead.attempts) for dead in actors.dead_letters] == [(adder.path, Add(-1), 1)]
    assert actors.log == []
