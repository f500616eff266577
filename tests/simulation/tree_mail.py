"""The durable mail of a random tree: its journal, what that has acknowledged, and the process that comes afterwards."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from tests.simulation.workers import Job, WatchedDurableRef
from trendedge.runtime import (
    Actor,
    Appended,
    ChildSpec,
    DeadLetter,
    Durability,
    DurableRef,
    JournalUnavailable,
    MailboxSpec,
    Overflow,
    RuntimeFault,
    Supervisor,
    SupervisorSpec,
    Unique,
)
from trendedge.runtime.simulation import Faults, FaultyWire, MemoryJournal, MemoryServer, SimulatedLoop

if TYPE_CHECKING:
    from trendedge.runtime.durable import DurableLog

NODE = "here"
MARK_S = 60
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Told:
    """A `tell` that has returned, and its place among all that have begun and returned."""

    job: Job
    mailbox: str
    began: int
    returned: int


class Heir(Actor[Job]):
    """Handles what the tree has left."""

    def __init__(self, mail: "TreeMail", mailbox: str) -> None:
        self._mail, self._mailbox = mail, mailbox

    async def receive(self, message: Job) -> None:
        self._mail.began(self._mailbox, message)


class TreeMail:
    """The store behind the durable mailboxes of a tree, and what is known of their mail."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.server = MemoryServer(loop.time, loop.time)
        self.wire = FaultyWire(loop, "store", Faults(), JournalUnavailable)
        self.journal = MemoryJournal(self.server, node=NODE, wire=self.wire)
        self.refs: list[WatchedDurableRef] = []
        self.told: list[Told] = []
        self.vouched: set[int] = set()
        """Numbers of which a sender was told that they are durable."""
        self.first: defaultdict[str, dict[int, int]] = defaultdict(dict)
        """By mailbox and number: the place at which a message was first begun."""
        self.done: Counter[tuple[DurableLog, int]] = Counter()
        """How often a handler came to its end, by what knows which messages are done."""
        self.given_up: set[int] = set()
        """What left its line to be buried. When the store is away it stays in the journal, for the next process."""
        self.brought_back: set[str] = set()
        """Mailboxes that were removed and added again: whoever is removed takes with it what it knew of its mail."""
        self._loop = loop
        self._place = iter(range(1_000_000))

    def durability(self, mailbox: str) -> Durability:
        """Where a mailbox of the tree is journalled."""
        return Durability(self.journal, mailbox, Job.encode, Job.decode, on_bury=self._tell_outcome)

    async def _tell_outcome(self, job: Job, letter: DeadLetter) -> None:
        self.given_up.add(job.number)
        await anyio.sleep(self._loop.random.choice([0.0, 0.01, 0.2]))

    async def tell(self, ref: WatchedDurableRef, job: Job, mark: str) -> None:
        """As a sender that says of two messages that they mean the same."""
        mailbox, began = ref.name, next(self._place)
        outcome = await ref.tell(job, unique=Unique(mark, str(job.number), MARK_S))
        if isinstance(outcome, Appended):
            self.vouched.add(job.number)
            self.told.append(Told(job, mailbox, began, next(self._place)))
        else:
            self.vouched.add(int(outcome.value))
            self._loop.trace.note("duplicate", outcome.value)

    def began(self, mailbox: str, job: Job) -> None:
        """A handler has begun."""
        self.first[mailbox].setdefault(job.number, next(self._place))
        self._loop.trace.comment(f"{mailbox} begins {job.number} ({job.behaviour} of {job.key})")

    @property
    def left(self) -> Iterator[tuple[str, Job]]:
        """What lies in the journal: mailbox and message."""
        for (mailbox, _), stream in self.server.streams.items():
            for stored in stream.values():
                yield mailbox, Job.decode(stored.payload)

    def marked(self, mailboxes: set[str]) -> Iterator[str]:
        """What these have left as if a process might have died of it. Of an append without an answer nobody knows."""
        answered = {told.job.number for told in self.told}
        for (mailbox, _), stream in self.server.streams.items():
            for stored in stream.values() if mailbox in mailboxes else ():
                number = Job.decode(stored.payload).number
                if stored.attempts() or (stored.first_open() and number in answered):
                    yield f"{number} in {mailbox}: {stored.marks}"

    @property
    def dead(self) -> Iterator[tuple[Job, str]]:
        """What was buried, and why."""
        for letters in self.server.dead.values():
            for one in letters.values():
                yield Job.decode(one.payload), one.letter.cause

    async def inherit(self) -> None:
        """Let the next process of the node work off what the tree has left, with a store that works."""
        self._loop.trace.counts["inherited"] += len(list(self.left))
        journal = MemoryJournal(self.server, node=NODE)
        children = []
        for mailbox, keyed in {ref.name: ref.keyed for ref in self.refs}.items():
            ref = DurableRef[Job](mailbox)
            children.append(
                ChildSpec(
                    mailbox.replace("/", "-"),
                    lambda mailbox=mailbox: Heir(self, mailbox),  # type: ignore[misc]  # of the loop's own turn
                    ref,
                    mailbox=MailboxSpec(1000, Overflow.FAIL, key=(lambda job: job.key) if keyed else None),
                    durability=Durability(journal, mailbox, Job.encode, Job.decode),
                )
            )
        root = Supervisor(SupervisorSpec("heirs", children))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, lambda: None)
            await root.begun.wait()
            with anyio.move_on_after(PATIENCE_S):
                while any(self.left):  # noqa: ASYNC110 - virtual time
                    await anyio.sleep(1.0)
            root.request_stop()


async def adopt(refs: list[WatchedDurableRef]) -> None:
    """What the keeper of the journal does: look for appends of which nobody has learnt."""
    for ref in refs:
        with suppress(RuntimeFault):
            await ref.adopt()
