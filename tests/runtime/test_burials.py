"""Durable mail that is given up: it ends in the dead letters, whatever fails over that."""

import pickle
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    Appended,
    ChildSpec,
    Controls,
    DeadLetter,
    Durability,
    DurableRef,
    Entry,
    Fenced,
    MailboxSpec,
    MessageRefused,
    RetryPolicy,
    Supervisor,
    SupervisorSpec,
    UnreadableDeadLetter,
)


@dataclass(frozen=True)
class Job:
    text: str


@dataclass(frozen=True)
class Retired:
    """What the actor of an earlier release handled."""

    text: str


class StoreDown(Exception):
    """An outage: it says nothing about the message."""


OLD = pickle.dumps(Retired("old"))


class Worker(Actor[Job]):
    """Fails over what is bad."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    async def receive(self, message: Job) -> None:
        if message.text.startswith("bad"):
            raise ValueError(message.text)
        self._done.append(message.text)


def tree(
    journal: MemoryJournal,
    done: list[str],
    *,
    keyed: bool = True,
    encode: Callable[[Any], bytes] = pickle.dumps,
    on_bury: Callable[[Any, DeadLetter], Awaitable[None]] | None = None,
    retry: RetryPolicy | None = None,
) -> tuple[DurableRef[Any], SupervisorSpec]:
    ref = DurableRef[Any]("worker")
    child = ChildSpec(
        "worker",
        lambda: Worker(done),
        ref,
        mailbox=MailboxSpec(10, key=(lambda job: job.text) if keyed else None),
        retry=retry or RetryPolicy(outage=(StoreDown,)),
        durability=Durability(journal, "box", encode, pickle.loads, on_bury),
    )
    return ref, SupervisorSpec("root", [child])


# -- of a type that this release does not handle ----------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "one instance"])
async def test_what_an_earlier_release_has_left_of_a_type_that_this_one_does_not_handle_is_buried(keyed: bool) -> None:
    journal, done = MemoryJournal({"1": OLD, "2": pickle.dumps(Job("new"))}), list[str]()
    ref, spec = tree(journal, done, keyed=keyed)
    async with running(spec):
        journal.orphans = [Entry("3", OLD), Entry("4", pickle.dumps(Job("adopted")))]
        await ref.adopt()
        log = ref.cell.log
        assert log is not None
        await until(lambda: log.pending == 0)
        assert (log.dead, ref.cell.depth, ref.cell.stats.dropped) == (2, 0, 0)
    assert (done, journal.entries) == (["new", "adopted"], {})
    assert [payload for payload, _ in journal.dead] == [OLD, OLD]
    assert journal.dead[0][1].cause == "unreadable: root/worker: does not handle Retired, only Job"


async def test_a_letter_of_a_type_that_this_release_does_not_handle_is_not_replayed() -> None:
    journal = MemoryJournal({"1": OLD})
    ref, spec = tree(journal, [])
    async with running(spec):
        await until(lambda: bool(journal.letters))
        [dead_id] = journal.letters
        with pytest.raises(UnreadableDeadLetter, match="does not handle Retired"):
            await ref.redeliver(dead_id)
        assert list(journal.letters) == [dead_id]


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "one instance"])
async def test_what_is_of_a_wrong_type_is_refused_before_the_first_start_too_and_not_acknowledged(keyed: bool) -> None:
    journal = MemoryJournal()
    ref, spec = tree(journal, [], keyed=keyed)
    Supervisor(spec)  # from now on there is an address; nothing has been started
    with pytest.raises(MessageRefused):
        await ref.tell(Retired("early"))
    assert (journal.entries, ref.cell.depth) == ({}, 0)
    await ref.tell(Job("early"))
    assert len(journal.entries) == 1


# -- whose outcome cannot be told -------------------------------------------------------------------------------------


async def test_what_is_given_up_is_buried_when_its_outcome_can_be_told() -> None:
    journal, done, told, down = MemoryJournal(), list[str](), list[str](), [True]

    async def on_bury(job: Job, letter: DeadLetter) -> None:
        if down:
            down.append(True)
            raise StoreDown
        told.append(job.text)

    ref, spec = tree(journal, done, on_bury=on_bury)
    async with running(spec):
        log = ref.cell.log
        assert log is not None
        await ref.tell(Job("bad"))
        await until(lambda: len(down) == 2)
        await ref.tell(Job("good"))
        await until(lambda: done == ["good"])
        await ref.adopt()
        assert (len(down), journal.letters) == (3, {})
        assert next(iter(journal.entries.values())) == pickle.dumps(Job("bad"))
        down.clear()
        await ref.adopt()
        assert (told, len(journal.letters), ref.cell.depth) == (["bad"], 1, 0)
        await until(lambda: log.pending == 0)  # also the good one is settled, in the background


async def test_over_an_error_that_is_no_outage_it_is_buried_untold() -> None:
    journal = MemoryJournal()

    async def on_bury(job: Job, letter: DeadLetter) -> None:
        raise LookupError(job.text)

    ref, spec = tree(journal, [], on_bury=on_bury)
    async with running(spec):
        await ref.tell(Job("bad"))
        await until(lambda: bool(journal.letters))


async def test_what_is_given_up_when_it_is_anothers_by_now_is_left_to_that_one() -> None:
    journal, recoveries = MemoryJournal(), list[str]()

    async def on_bury(job: Job, letter: DeadLetter) -> None:
        journal.entries.clear()  # adopted
        raise Fenced("box", 1)

    async def recover(mailbox: str) -> list[Entry]:
        recoveries.append(mailbox)
        return []

    journal.recover = recover  # type: ignore[method-assign]
    ref, spec = tree(journal, [], on_bury=on_bury)
    async with running(spec):
        await ref.tell(Job("bad"))
        await until(lambda: len(recoveries) == 2)
        log = ref.cell.log
        assert log is not None
        assert (log.pending, journal.letters) == (0, {})


async def test_a_look_that_still_buries_when_the_mailbox_is_fenced_tells_nothing_under_the_next_epoch() -> None:
    journal, told, fenced = MemoryJournal(), list[str](), list[bool]()
    asked, gate = anyio.Event(), anyio.Event()

    async def on_bury(job: Job, letter: DeadLetter) -> None:
        if not asked.is_set():
            asked.set()
            raise StoreDown
        await gate.wait()
        told.append(job.text)

    async def append(mailbox: str, payload: bytes, **_: Any) -> Appended:
        if fenced:
            fenced.clear()
            journal.entries.clear()  # adopted
            raise Fenced("box", 1)
        return Appended(journal._remember(payload))

    ref, spec = tree(journal, [], on_bury=on_bury)
    async with running(spec) as root, anyio.create_task_group() as tasks:
        await ref.tell(Job("bad"))
        await until(lambda: ref.cell.stats.buried == 1)
        tasks.start_soon(ref.adopt)
        await anyio.wait_all_tasks_blocked()
        journal.append = append  # type: ignore[method-assign]
        fenced.append(True)
        with pytest.raises(Fenced):
            await ref.tell(Job("good"))
        await until(lambda: root.children[0].restarts == 1)
        gate.set()
        await anyio.wait_all_tasks_blocked()
        assert (told, journal.letters) == ([], {})


async def test_the_fence_of_another_mailbox_only_puts_off_the_burial() -> None:
    journal, fences = MemoryJournal(), [Fenced("another box", 1)]

    async def on_bury(job: Job, letter: DeadLetter) -> None:
        if fences:
            raise fences.pop()

    ref, spec = tree(journal, [], on_bury=on_bury)
    async with running(spec) as root:
        await ref.tell(Job("bad"))
        await until(lambda: not fences)
        await ref.adopt()
        await until(lambda: bool(journal.letters))
        assert (root.children[0].restarts, ref.cell.stats.restarts) == (0, 1), "over the message alone"


# -- over whose end something unforeseen fails ------------------------------------------------------------------------


@pytest.fixture
def speechless() -> Iterator[None]:
    """The log fails over a failed handler."""

    def refuse(_: Any, __: str, event: Any) -> Any:
        if event["event"] == "handler failed":
            raise TypeError("str is not valid UTF-8")
        raise structlog.DropEvent

    structlog.configure(processors=[refuse])
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("speechless")
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "one instance"])
async def test_a_message_is_given_up_though_its_failure_cannot_be_logged(keyed: bool) -> None:
    journal, done = MemoryJournal(), list[str]()
    ref, spec = tree(journal, done, keyed=keyed, retry=RetryPolicy(delays_s=(0.01,)))
    async with running(spec):
        await ref.tell(Job("bad"))
        await until(lambda: bool(journal.letters))
        await ref.tell(Job("good"))
        await until(lambda: done == ["good"])
        assert ref.cell.stats.failed == 2
    assert journal.dead[0][1].attempts == 2


async def test_what_cannot_be_encoded_at_its_burial_is_buried_by_the_next_look() -> None:
    journal, done, able = MemoryJournal(), list[str](), [True]

    def encode(job: Job) -> bytes:
        if not able:
            raise TypeError("cannot be encoded")
        return pickle.dumps(job)

    ref, spec = tree(journal, done, encode=encode)
    async with running(spec):
        log = ref.cell.log
        assert log is not None
        await ref.tell(Job("bad"))
        able.clear()
        await until(lambda: ref.cell.stats.buried == 1)
        await ref.adopt()
        assert (log.pending, journal.letters) == (1, {})
        able.append(True)
        await ref.adopt()
        assert (log.pending, len(journal.letters)) == (0, 1)


async def test_an_unforeseen_error_of_one_burial_keeps_no_other_entry_from_its_own_and_ends_nobody() -> None:
    class Picky(MemoryJournal):
        picky = True

        async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
            if self.picky and entry_id == "1":
                raise TypeError("str is not valid UTF-8: surrogates not allowed")
            await super().bury(mailbox, entry_id, payload, letter)

    journal, done = Picky({"1": OLD, "2": OLD}), list[str]()
    ref, spec = tree(journal, done)
    async with running(spec) as root:
        await until(lambda: len(journal.letters) == 1)
        await Controls(root).restart("root/worker")
        await ref.tell(Job("good"))
        await until(lambda: done == ["good"])
        assert (list(journal.entries), ref.cell.stats.restarts) == (["1"], 0)
        journal.picky = False
        await ref.adopt()
        assert journal.entries == {}
