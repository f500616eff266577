"""The write-ahead log of durable mailboxes: what a mailbox needs of a store, without naming one.

A journal remembers each message from the moment `append` returns until it is settled or buried. Delivery is in
memory; the journal is read only at `recover`. Implementations live outside this package and are held to one
conformance suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Unique:
    """Append at most once within `ttl_s`: the mark and the append are one atomic step."""

    mark: str
    value: str
    """Given back to whoever comes second."""
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Appended:
    """The message is durable under `entry_id`."""

    entry_id: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The mark was taken; `value` is that of the first append. Nothing was written."""

    value: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered message."""

    entry_id: str
    payload: bytes
    attempts: int = 0
    """Other processes that have marked it (`settle(begin=...)`) and not taken that back: they have died over it, as far
    as anybody knows."""
    age_s: float = 0.0
    """Seconds between its append and its being read, by the store's clock."""
    replayed: bool = False
    """It was a dead letter, which `replay` has taken back. The entry keeps that, whoever recovers or adopts it."""
    sent_us: int = 0
    """Microseconds since 1970 at which it was appended, by the clock of the process that did; of two appends of one
    process the later one says more, always. 0 when nobody has noted it."""
    sent_by: str = ""
    """The node that has appended it, of whose clock that is. Empty when nobody has noted it."""
    first_open: bool = True
    """Whether another process has appended or replayed it and not said that it has outlived its first attempt, which
    nobody counts: it may have died over that as well."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """Published to whoever listens outside, in the same step as the settlement."""

    channel: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Settlement:
    """The effect of an entry is committed: it can be forgotten."""

    entry_id: str
    announce: Sequence[Announcement] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a message was given up."""

    cause: str
    traceback: str
    attempts: int
    facts: dict[str, str] = field(default_factory=dict)
    """`entry`, its id in the journal; `pending_s`, seconds since its append; and of what could be read the type of the
    `message`, its `key` in the mailbox, its `request_id`, and `tried_for_s`, seconds between the ends of the first and
    the last attempt, where it has them."""


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter as it lies in the journal."""

    dead_id: str
    payload: bytes
    letter: DeadLetter
    buried_at: float
    """Unix seconds, by the store's clock."""


SETTLED_AT_ONCE = 128
"""Settlements, and begun attempts, that a journal has to take in one call."""


class Journal(Protocol):
    """All methods raise `JournalUnavailable` when the store cannot be reached; nothing is then known to be written.

    **Ownership.** Several processes may share a journal; the entries of a mailbox are each owned by one. An owner has
    an *epoch*, which `recover` takes for it, and a *lease*, which holds as long as it says that it is alive. A lease
    that has run out does nothing by itself: its owner goes on, and renews it. But then another process may `adopt` its
    entries: it first *fences* the owner (whose epoch is old from that moment on), and only then moves them.

    What a fenced owner still does is refused: `append`, `settle`, `bury`, `adopt` and `replay` raise `Fenced` and
    change nothing; and so must the store that its handlers commit to, in the transaction of the commit. The way back
    is to forget everything of the mailbox that is in memory (its entries are somebody else's) and to `recover`, which
    takes a new epoch and gives what nobody had adopted yet. A mailbox does that by itself.
    """

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Remember a message. When this returns `Appended`, a crash no longer loses it."""
        ...

    async def settle(self, mailbox: str, settlements: Sequence[Settlement], *, begin: Sequence[str] = ()) -> None:
        """Forget messages whose effects are committed, and announce in this order. Settling twice is harmless.

        Mark each entry in `begin` with this process, which is about to attempt it and may die of that. Not at
        `recover`: a process that dies before it comes to a message says nothing about that message. And not at the
        first delivery, which would be a command for each message in the normal path: an append is a mark by itself.
        Both in one step, since one line of mail that is worked off after a death settles one message and begins the
        next all the time.

        A mark is there or not, so it may be made twice, and adopters take it over. Of `begin` and `uncount` of one
        entry the one that was called later counts, in whatever order they come to the store, and however late.

        :param settlements: at most `SETTLED_AT_ONCE` of them
        :param begin: ids of entries, at most `SETTLED_AT_ONCE` of them
        """
        ...

    async def uncount(self, mailbox: str, entry_ids: Sequence[str]) -> None:
        """Take back this process's mark on each entry, if it has one: it has outlived its attempt.

        :param entry_ids: at most `SETTLED_AT_ONCE` of them
        """
        ...

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move a message to the dead letters, atomically."""
        ...

    async def recover(self, mailbox: str) -> list[Entry]:
        """Own the mailbox, with a new epoch if it is not owned already; all its unsettled entries, oldest first.

        :raises Fenced: it was ours, and is not any more; called again, it is ours with a newer epoch
        """
        ...

    async def adopt(self, mailbox: str) -> list[Entry]:
        """Entries that became this process's own since the last look: of dead processes, and of appends in doubt."""
        ...

    async def release(self) -> bool:
        """Give up all leases: the process ends in good order, and whoever adopts what it leaves need not wait for that.

        To be called when no handler runs any more. Nothing may be done with the journal afterwards.

        :returns: whether it leaves anything
        """
        ...

    async def count(self, mailbox: str) -> tuple[int, int]:
        """(unsettled, dead) entries of this mailbox: all of them, or `JournalUnavailable`."""
        ...

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """Dead letters of all processes, the newest first, at most `limit`; those that follow `after` in this order.

        `after` need not be there any more. What cannot be the id of a dead letter is followed by nothing.
        """
        ...

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """One of them; None when there is none of this id (any more)."""
        ...

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """Move a dead letter back among this process's own entries, atomically, as if it had never been attempted.

        Of several callers one gets the entry, the others None. It is not delivered: that is the caller's.
        """
        ...

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """Remove a dead letter for good; whether it was there."""
        ...
