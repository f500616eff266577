"""Who owns a mailbox's entries: a node with an epoch, of which one place, the registry, knows the newest.

Whoever adopts the mail of another node first fences it: the epoch in the registry is counted up, and whatever commits
an effect looks at it in its own transaction. A process that was away for longer than its lease (stopped, swapped out,
cut off) therefore commits nothing any more, whatever it still has in memory.
"""

import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.stamps import Stamps

APPENDED = 1
"""The turn of an append, which marks the entry: whoever has it appended is about to handle it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One incarnation of a node's ownership of a mailbox."""

    mailbox: str
    node: str
    epoch: int
    """Counts up with each process of the node, and with each fence. 0 owns nothing."""
    process: str = field(default="", compare=False)
    """Which of the node's processes it is; unknown of others."""

    @property
    def mark(self) -> str:
        """Names the process, through all its fences, where it says that it may die of an entry."""
        return f"{self.node}:{self.process}"


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody is fenced, and its mail may be adopted by us alone."""

    owner: Owner
    begun: Sequence[Owner] = ()
    """From whom it had begun to adopt, or we: they are to be claimed as well."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What has become of those who are silent. Who is in no list lives on, or another node adopts its mail."""

    granted: Sequence[Owner] = ()
    """They are fenced, and their mail may be adopted now."""
    unanswered: Sequence[Owner] = ()
    """Nobody may touch their mail yet: a commit of theirs does not end, or the registry has given no answer."""
    begun: Sequence[Owner] = ()
    """Those of these from whom somebody who was granted has begun to adopt, or we: what that had may be theirs."""


class _Claiming:
    """Claims that are being made, each node's by the last epoch that was heard of."""

    def __init__(self) -> None:
        self.left: deque[Owner] = deque()
        self.granted: dict[str, Owner] = {}
        self.unanswered: dict[str, Owner] = {}
        self.failure: JournalUnavailable | None = None
        self._newest: dict[str, Owner] = {}
        self._begun: set[str] = set()

    def add(self, owners: Iterable[Owner]) -> None:
        """They are to be claimed, once more if they have been refused."""
        new = []
        for owner in owners:
            if owner.epoch >= self._newest.get(owner.node, owner).epoch:
                self._newest[owner.node] = owner
            new.append(owner.node)
        waiting = [*(owner.node for owner in self.left), *new]
        self.left = deque(self._newest[node] for node in dict.fromkeys(waiting) if node not in self.granted)

    def answered(self, owner: Owner, claim: Claim | None) -> None:
        """The registry has granted the claim, or refused it."""
        self.unanswered.pop(owner.node, None)
        if claim is not None:
            self.granted[owner.node] = claim.owner
            self._begun |= {begun.node for begun in claim.begun}
            self.add(claim.begun)

    def outcome(self) -> Claims:
        """Raises what was raised of each of them."""
        if self.failure is not None and len(self.unanswered) == len(self._newest):
            raise self.failure
        unanswered = list(self.unanswered.values())
        begun = [owner for owner in unanswered if owner.node in self._begun]
        return Claims(list(self.granted.values()), unanswered, begun)


class Ownership(ABC):
    """The epochs of one process, one a mailbox.

    They are its own until somebody says `lost`, which is told by whichever statement or script was refused first.
    """

    def __init__(self, *, node: str, process: str | None = None) -> None:
        """:param process: what no other process of the node is called, before it or after; None for something random"""
        self.node = node
        self._process = process or secrets.token_hex(4)
        self.stamps = Stamps()
        """Of what this process appends, to whichever store."""
        self._epochs: dict[str, int] = {}
        self._turn = APPENDED
        self._lost: set[str] = set()
        self.begun: dict[str, Sequence[Owner]] = {}
        """By mailbox from whom this node had begun to adopt when it took that last, if the registry knows of it."""
        self._valid_from: dict[str, int] = {}
        """The lowest epochs that stores still let act, as far as they have said so."""

    def of(self, mailbox: str) -> Owner:
        """What a statement or script has to prove: the owner as far as this process knows."""
        return Owner(mailbox, self.node, self._epochs.get(mailbox, 0), self._process)

    def next_turn(self) -> int:
        """A number larger than those before it: of what this process says of one mark, the larger one counts."""
        self._turn += 1
        return self._turn

    async def take(self, mailbox: str) -> bool:
        """Own the mailbox with a new epoch, unless it is owned already; whether there was a new epoch.

        To be called before anything of the mailbox is in memory: what was read under an older epoch may be somebody
        else's by now. Raises the registry's own error when it cannot be reached, for nobody else gives epochs.
        """
        if mailbox in self._epochs and mailbox not in self._lost:
            return False
        self._epochs[mailbox] = await self.next_epoch(mailbox, above=self._valid_from.get(mailbox, 0))
        self._lost.discard(mailbox)
        return True

    def lost(self, owner: Owner, *, valid_from: int = 0) -> Fenced:
        """The error for what `owner` was refused; the next `take` gets a new epoch.

        :param valid_from: the lowest epoch that whoever has refused it lets act; 0 when it did not say
        """
        self._valid_from[owner.mailbox] = max(valid_from, self._valid_from.get(owner.mailbox, 0))
        if owner == self.of(owner.mailbox):
            self._lost.add(owner.mailbox)
        return Fenced(owner.mailbox, owner.epoch, valid_from=valid_from)

    async def shut_out(self, silent: Iterable[Owner]) -> Claims:
        """Fence those who have said nothing for the length of a lease, each node by the last epoch that was heard of,
        and those whose mail they had begun to adopt: of that they have what was in one store, perhaps.

        :raises JournalUnavailable: the registry answers over none of them
        """
        claims = _Claiming()
        claims.add(silent)
        while claims.left:
            owner = claims.left.popleft()
            try:
                claim = await self.claim(owner)
            except Fenced:
                raise
            except JournalUnavailable as error:
                claims.failure = error
                claims.unanswered[owner.node] = owner
            else:
                claims.answered(owner, claim)
        return claims.outcome()

    async def claim(self, owner: Owner) -> Claim | None:
        """Fence somebody who is silent, to adopt its mail. None when it lives on as a newer owner, or when another node
        adopts its mail, if the registry knows of that.

        :raises JournalUnavailable: the registry gives no answer
        """
        await self.fence(owner)
        return Claim(owner)

    async def adopted(self, owners: Sequence[Owner]) -> None:  # noqa: B027 - nothing to forget unless claims are kept
        """All mail of these is ours, wherever it was: who inherits from us need not look for more of it.

        :raises JournalUnavailable: the registry gives no answer, and may not know
        """

    @abstractmethod
    async def next_epoch(self, mailbox: str, *, above: int) -> int:
        """Count up this node's epoch in the registry, to more than `above`: a store may know of newer epochs than the
        registry, when that was restored from a backup."""

    @abstractmethod
    async def fence(self, owner: Owner) -> bool:
        """See to it that neither this owner nor an older one of the node commits anything from now on.

        Waits for commits under way: when this returns, an effect of theirs is either visible or will never be. Raises
        the registry's own error when it cannot be reached: nobody may touch the owner's mail yet.

        :returns: False when it was so already, because somebody else fenced it or the node came back
        """
