"""Who owns a mailbox's stream: a node with an epoch, of which PostgreSQL knows the newest.

Whoever adopts the mail of another node first fences it: the epoch in PostgreSQL is counted up, and every statement that
commits an effect looks at it in its own transaction. A process that was away for longer than its lease (stopped,
swapped out, cut off) therefore commits nothing any more, whatever it still has in memory.
"""

from dataclasses import dataclass

from trendedge.runtime.errors import Fenced
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.postgres import Database


@dataclass(frozen=True, slots=True)
class Owner:
    """One incarnation of a node's ownership of a mailbox."""

    mailbox: str
    node: str
    epoch: int
    """Counts up with each process of the node, and with each fence. 0 owns nothing."""


class Ownership:
    """The epochs of this process, one a mailbox.

    They are its own until somebody says `lost`, which is told by whichever statement or script was refused first.
    """

    def __init__(self, database: Database, *, node: str, times: LeaseTimes = DEFAULT_TIMES) -> None:
        self.times = times
        self._database = database
        self._epochs: dict[str, int] = {}
        self._lost: set[str] = set()
        self.node = node

    def of(self, mailbox: str) -> Owner:
        """What a statement or script has to prove: the owner as far as this process knows."""
        return Owner(mailbox, self.node, self._epochs.get(mailbox, 0))

    async def take(self, mailbox: str) -> bool:
        """Own the mailbox with a new epoch, unless it is owned already; whether there was a new epoch.

        To be called before anything of the mailbox is in memory: what was read under an older epoch may be somebody
        else's by now.

        :raises StoreUnavailable: PostgreSQL is down, and nobody else gives epochs
        """
        if mailbox in self._epochs and mailbox not in self._lost:
            return False
        self._epochs[mailbox] = await self._database.fetchval(_TAKE, mailbox, self.node, self.times.lease_s)
        self._lost.discard(mailbox)
        return True

    def lost(self, owner: Owner) -> Fenced:
        """The error for what `owner` was refused; the next `take` gets a new epoch."""
        if owner == self.of(owner.mailbox):
            self._lost.add(owner.mailbox)
        return Fenced(owner.mailbox, owner.epoch)

    async def fence(self, owner: Owner) -> bool:
        """See to it that neither this owner nor an older one of the node commits anything from now on.

        Waits for commits under way: when this returns, an effect of theirs is either visible or will never be.

        :returns: False when it was so already, because somebody else fenced it or the node came back
        :raises StoreUnavailable: nobody may touch the owner's mail yet
        """
        row = await self._database.fetchrow(_FENCE, owner.mailbox, owner.node, owner.epoch)
        return row is not None


_TAKE = """
    insert into mailbox_owners as owner (mailbox, node, epoch) values ($1, $2, 1)
    on conflict (mailbox, node) do update set
        epoch = owner.epoch + 1, lease_until = now() + make_interval(secs => $3::float), taken_at = now()
    returning epoch
"""
# A commit holds the row FOR SHARE, so this waits for it.
_FENCE = """
    update mailbox_owners set epoch = $3::bigint + 1, lease_until = null
    where mailbox = $1 and node = $2 and epoch <= $3
    returning epoch
"""
