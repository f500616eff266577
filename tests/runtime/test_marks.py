"""Who may die of a message: a mark of the process, made before an attempt and taken back when that is survived."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest

from tests.runtime.support import MemoryJournal as Double
from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    Backoff,
    ChildSpec,
    Durability,
    DurableRef,
    JournalUnavailable,
    MailboxSpec,
    RetryPolicy,
    SupervisorSpec,
)
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.journal import SETTLED_AT_ONCE, Journal, Settlement
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.marks import Marks
from trendedge.runtime.simulation import MemoryJournal, MemoryServer
from trendedge.runtime.suspects import Suspects

BOX = "executor"


class LosesAnswers:
    """A wire on which no answer to these operations comes back, though they are done."""

    def __init__(self, *operations: str) -> None:
        self._operations = operations

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        answer = effect()
        if operation in self._operations:
            raise JournalUnavailable("memory", "no answer")
        return answer


class Process:
    """One that works on the mailbox by hand, and is killed where the block ends."""

    def __init__(self, server: MemoryServer, *lost: str) -> None:
        self.journal = MemoryJournal(server, wire=LosesAnswers(*lost), doubt_s=0.0)
        self.log = DurableLog(Durability(self.journal, BOX, str.encode, bytes.decode), lambda message: None)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[list[Envelope]]:
        mail = await self.log.recover(3, now=0.0)
        writing = asyncio.create_task(self.log.run_settlements())
        yield mail
        writing.cancel()

    async def fail(self, envelope: Envelope) -> None:
        """Survive an attempt, and have the mark taken back as far as that goes."""
        self.log.survived(envelope)
        with anyio.move_on_after(0.01):
            await self.log.take_back()


async def told(server: MemoryServer, *, orderly: bool) -> None:
    """A process that has taken a message, and is killed or stopped."""
    process = Process(server)
    async with process.alive():
        await process.log.append("message", None)
        if orderly:
            await process.log.leave()


LOST = [(), ("settle",), ("uncount",), ("settle", "uncount")]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: " and ".join(lost) or "none")
@pytest.mark.parametrize("orderly", [False, True], ids=["accepted and killed", "accepted and stopped"])
async def test_what_fails_first_and_then_kills_is_buried_after_three_deaths_whatever_answers_are_lost(
    lost: tuple[str, ...], orderly: bool
) -> None:
    server, deaths = MemoryServer(), 0
    await told(server, orderly=orderly)
    deaths += not orderly
    while True:
        process = Process(server, *lost)
        async with process.alive() as mail:
            if not mail:
                break
            await process.log.begin(mail[0])
            await process.fail(mail[0])
            await process.log.begin(mail[0])
            deaths += 1
            assert deaths < 9
    await process.log.bury_doomed()
    [letter] = server.dead[BOX].values()
    assert (deaths, letter.letter.attempts) == (3, 3)
    assert letter.letter.cause == "3 attempts ended with the death of the process"


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: " and ".join(lost) or "none")
@pytest.mark.parametrize("ends", ["killed", "stopped"])
async def test_who_ends_while_a_retry_is_waited_for_was_not_killed_by_the_message(
    lost: tuple[str, ...], ends: str
) -> None:
    server = MemoryServer()
    await told(server, orderly=False)
    for _ in range(5):
        process = Process(server, *lost)
        async with process.alive() as mail:
            await process.log.begin(mail[0])
            await process.fail(mail[0])
            if ends == "stopped":
                await process.log.leave()
    async with Process(server).alive() as mail:
        assert [one.message for one in mail] == ["message"]


async def test_a_lost_answer_and_an_orderly_stop_in_hand_are_no_death() -> None:
    server = MemoryServer()
    await told(server, orderly=True)
    for _ in range(5):
        process = Process(server, "settle")
        async with process.alive() as mail:
            await process.log.begin(mail[0])
            await process.log.leave()
    [entry] = await MemoryJournal(server).recover(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)


async def test_an_append_without_an_answer_and_an_orderly_stop_are_no_death() -> None:
    """It is known here by the look that finds it."""
    server = MemoryServer()
    process = Process(server, "append")
    async with process.alive():
        with pytest.raises(JournalUnavailable):
            await process.log.append("message", None)
        assert [one.message for one in await process.log.adopt(3, now=0.0)] == ["message"]
        await process.log.leave()
    [entry] = await MemoryJournal(server).recover(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)


@pytest.mark.parametrize("accepted_by", ["itself", "another"])
async def test_what_is_got_back_after_a_fence_and_left_in_good_order_has_killed_nobody(accepted_by: str) -> None:
    server = MemoryServer()
    if accepted_by == "another":
        await told(server, orderly=True)
    process = Process(server)
    async with process.alive() as mail:
        if accepted_by == "another":
            await process.log.begin(mail[0])
        else:
            await process.log.append("message", None)
        process.log.forget()  # it was fenced, and nobody has moved its mail
        assert [one.message for one in await process.log.recover(3, now=0.0)] == ["message"]
        await process.log.leave()
    [entry] = await MemoryJournal(server).recover(BOX)
    assert (entry.attempts, entry.first_open) == (0, False)


class Noting(Double):
    """Keeps what was taken back."""

    def __init__(self, entries: dict[str, bytes]) -> None:
        super().__init__(entries)
        self.taken_back = list[str]()

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        await super().uncount(mailbox, entry_ids)
        self.taken_back += entry_ids


class Moody(Actor[str]):
    """Fails the first time, or puts it aside; then hangs."""

    def __init__(self, seen: list[str], *, stashes: bool) -> None:
        self._seen, self._stashes = seen, stashes

    async def receive(self, message: str) -> None:
        self._seen.append(message)
        if len(self._seen) > 1:
            self.context.unstash_all()
            if message == "message":
                await anyio.sleep_forever()
        elif self._stashes:
            self.context.stash()
        else:
            raise ValueError(message)


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
@pytest.mark.parametrize("left", [True, False], ids=["left by a process", "sent"])
@pytest.mark.parametrize("stashes", [False, True], ids=["fails", "stashed"])
async def test_what_is_survived_is_marked_again_before_the_next_attempt(keyed: bool, left: bool, stashes: bool) -> None:
    journal, seen, ref = Noting({"1": b"message"} if left else {}), list[str](), DurableRef[str]("a")
    child = ChildSpec(
        "a",
        lambda: Moody(seen, stashes=stashes),
        ref,
        shutdown_s=0.01,
        mailbox=MailboxSpec(key=(lambda message: "all") if keyed else None),
        retry=RetryPolicy(delays_s=(0.2, 0.2)),
        durability=Durability(journal, "a", str.encode, bytes.decode),
    )
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, longest_s=0.1))):
        if not left:
            await ref.tell("message")
        await until(lambda: bool(journal.taken_back))
        if stashes:
            await ref.tell("next")
        await until(lambda: len(seen) > 1 and seen[-1] == "message")
        assert len(journal.in_hand) == 1
    assert (journal.in_hand, set(journal.attempts.values())) == (set(), {0})


async def test_a_mark_is_taken_back_while_the_supervisor_pauses_before_the_restart() -> None:
    journal, seen, ref = Double({"1": b"message"}, attempts={"1": 1}), list[str](), DurableRef[str]("a")
    durability = Durability(journal, "a", str.encode, bytes.decode)
    retry = RetryPolicy(delays_s=(0.2, 0.2))
    child = ChildSpec("a", lambda: Moody(seen, stashes=False), ref, retry=retry, durability=durability)
    async with running(SupervisorSpec("root", [child], backoff=Backoff(600, longest_s=600))):
        await until(lambda: seen == ["message"])
        await until(lambda: journal.attempts == {"1": 1})


async def test_a_mark_is_taken_back_though_the_store_of_others_has_no_answer() -> None:
    class Half:
        """Of two stores one is down."""

        def __init__(self) -> None:
            self.taken: list[str] = []

        async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
            if any(entry_id.startswith("down") for entry_id in entry_ids):
                raise JournalUnavailable("Redis", "down")
            self.taken += entry_ids

    journal = Half()
    marks = Marks(cast("Journal", journal), "a")
    ids = [f"down-{number}" for number in range(SETTLED_AT_ONCE)] + ["up"]
    for entry_id in ids:
        marks.make(entry_id)
        marks.outlive(entry_id)
    with pytest.raises(JournalUnavailable):
        await marks.take_back()
    assert (journal.taken, marks.left) == (["up"], SETTLED_AT_ONCE)


async def test_who_fails_first_is_tried_alone_at_its_retry_too() -> None:
    """A suspect stays one: whoever is begun beside it would be blamed for a death of its retry."""
    ref, begun, gate = DurableRef[str](BOX), list[str](), anyio.Event()

    class Tries(Actor[str]):
        async def receive(self, message: str) -> None:
            begun.append(message)
            if begun == ["poison"]:
                raise ValueError("at first")
            await gate.wait()

    journal = Double(entries={"1": b"poison", "2": b"innocent"}, attempts={"1": 1, "2": 1})
    durability = Durability(journal, BOX, str.encode, bytes.decode)
    mailbox, retry = MailboxSpec(key=lambda message: message), RetryPolicy((0.01, 0.01))
    child = ChildSpec(BOX, Tries, ref, mailbox=mailbox, retry=retry, durability=durability)
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))):
        await until(lambda: len(begun) == 2)
        with anyio.move_on_after(0.3):
            await until(lambda: len(begun) == 3)
        assert [entity.key for entity in ref.cell.busy()] == begun[1:]  # whichever of the two it is
        gate.set()
        await until(lambda: not ref.cell.depth)
    assert sorted(begun) == ["innocent", "poison", "poison"]


async def test_suspects_wait_for_their_turn_without_looking_for_it_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, begun, gate, looks = DurableRef[str](BOX), list[str](), anyio.Event(), list[bool]()
    look = Suspects.must_wait

    def counted(self: Suspects, entry_id: str | None, tell: Callable[[], None]) -> bool:
        looks.append(look(self, entry_id, tell))
        return looks[-1]

    monkeypatch.setattr(Suspects, "must_wait", counted)

    class Takes(Actor[str]):
        async def receive(self, message: str) -> None:
            begun.append(message)
            await gate.wait()

    names = [str(number) for number in range(200)]
    journal = Double({name: name.encode() for name in names}, attempts=dict.fromkeys(names, 1))
    durability = Durability(journal, BOX, str.encode, bytes.decode)
    child = ChildSpec(BOX, Takes, ref, mailbox=MailboxSpec(key=lambda message: message), durability=durability)
    async with running(SupervisorSpec("root", [child])):
        await until(lambda: bool(begun))
        await anyio.sleep(0.3)
        assert len(begun) == 1
        gate.set()
        await until(lambda: not ref.cell.depth)
    assert sorted(begun) == sorted(names)
    assert sum(looks) < 3 * len(names)


class Cut:
    """A wire that ends when its process is killed."""

    dead = False

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        if self.dead:
            raise JournalUnavailable("memory", "killed")
        return effect()


async def live_and_die(server: MemoryServer, tell: Sequence[str] = (), *, outage: bool, ends: bool = True) -> list[str]:
    """A process that is killed when all that can be is in hand, perhaps after an outage, or during it; what was."""
    wire, failed, in_hand, end, down = Cut(), set[str](), list[str](), anyio.Event(), outage

    class Waits(Actor[str]):
        async def receive(self, message: str) -> None:
            if down:
                failed.add(message)
                raise ConnectionError
            in_hand.append(message)
            await end.wait()

    ref, journal = DurableRef[str]("a"), MemoryJournal(server, wire=wire, doubt_s=0.0)
    child = ChildSpec(
        "a",
        Waits,
        ref,
        mailbox=MailboxSpec(key=lambda message: message),
        retry=RetryPolicy(outage=(ConnectionError,), outage_delays_s=(0.05,)),
        durability=Durability(journal, BOX, str.encode, bytes.decode),
    )
    async with running(SupervisorSpec("root", [child])):
        for message in tell:
            await ref.tell(message)
        await until(lambda: ref.cell.depth >= 3)  # one may be a dead letter by now
        if outage:
            await until(lambda: len(failed) >= 3)
        down = outage and not ends
        await anyio.sleep(0.4)
        wire.dead, killed = True, sorted(in_hand)
        end.set()
    return killed


@pytest.mark.parametrize("outage", [False, True], ids=["", "after an outage"])
async def test_suspects_that_fail_of_an_outage_first_are_tried_one_at_a_time_all_the_same(outage: bool) -> None:
    server = MemoryServer()
    for tell in ("abcd", ""):
        assert await live_and_die(server, tell, outage=False) == list("abcd")
    [killed] = await live_and_die(server, outage=outage)
    assert len(await live_and_die(server, outage=outage)) == 1
    assert [letter.payload.decode() for letter in server.dead[BOX].values()] == [killed]


async def test_who_is_killed_while_suspects_wait_out_an_outage_was_killed_by_none_of_them() -> None:
    server = MemoryServer()
    for tell in ("abcd", ""):
        assert await live_and_die(server, tell, outage=False) == list("abcd")
    for _ in range(3):
        assert await live_and_die(server, outage=True, ends=False) == []
    assert not server.dead[BOX]


async def test_an_outage_of_what_the_handler_needs_spends_no_command_on_each_retry() -> None:
    ref, tries = DurableRef[str](BOX), list[str]()

    class Down(Actor[str]):
        async def receive(self, message: str) -> None:
            tries.append(message)
            if len(tries) < 20:
                raise ConnectionError

    class Counts(Double):
        commands = 0

        async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
            Counts.commands += 1
            await super().uncount(mailbox, entry_ids)

        async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
            Counts.commands += 1
            await super().settle(mailbox, settlements, begin=begin)

    retry = RetryPolicy(outage=(ConnectionError,), outage_delays_s=(0.001,))
    child = ChildSpec(BOX, Down, ref, retry=retry, durability=Durability(Counts(), BOX, str.encode, bytes.decode))
    async with running(SupervisorSpec("root", [child])):
        await ref.tell("alert")
        await until(lambda: len(tries) == 20 and not ref.cell.depth)
    assert Counts.commands == 1


@pytest.mark.parametrize("waiting", [SETTLED_AT_ONCE, 10 * SETTLED_AT_ONCE])
async def test_a_stop_takes_back_thousands_of_marks_from_a_slow_store_in_the_time_of_one(waiting: int) -> None:
    class Slow(Double):
        async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
            await anyio.sleep(0.2)
            await super().uncount(mailbox, entry_ids)

    class Hangs(Actor[str]):
        async def receive(self, message: str) -> None:
            await anyio.sleep_forever()

    journal, ref = Slow({str(number): b"%d" % number for number in range(waiting)}), DurableRef[str]("a")
    mailbox, durability = (
        MailboxSpec(5000, key=lambda message: message),
        Durability(journal, "a", str.encode, bytes.decode),
    )
    child = ChildSpec("a", Hangs, ref, mailbox=mailbox, durability=durability, shutdown_s=0.01)
    async with running(SupervisorSpec("root", [child])):
        await until(lambda: len(journal.in_hand) == waiting)
    assert (journal.in_hand, set(journal.attempts.values())) == (set(), {0})
