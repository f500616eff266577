"""Durable mail that is given up: it ends in the dead letters, whatever fails over that."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ChildSpec,
    Durability,
    DurableRef,
    Entry,
    MailboxSpec,
    MessageRefused,
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
    **more: Any,
) -> tuple[DurableRef[Any], SupervisorSpec]:
    ref = DurableRef[Any]("worker")
    child = ChildSpec(
        "worker",
        lambda: Worker(done),
        ref,
        mailbox=MailboxSpec(10, key=(lambda job: job.text) if keyed else None),
        durability=Durability(journal, "box", encode, pickle.loads),
        **more,
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
