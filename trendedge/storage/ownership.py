"""The registry of epochs (`runtime.ownership`) in PostgreSQL, where the commits are made that have to prove one."""

from trendedge.runtime.ownership import Owner, Ownership
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.postgres import Database


class PostgresOwnership(Ownership):
    """The epochs of this process. Raises `StoreUnavailable` when PostgreSQL is down."""

    def __init__(self, database: Database, *, node: str, times: LeaseTimes = DEFAULT_TIMES) -> None:
        super().__init__(node=node)
        self.times = times
        self._database = database

    async def next_epoch(self, mailbox: str, *, above: int) -> int:
        """As `Ownership.next_epoch`."""
        epoch: int = await self._database.fetchval(_TAKE, mailbox, self.node, self.times.lease_s, above)
        return epoch

    async def fence(self, owner: Owner) -> bool:
        """As `Ownership.fence`."""
        row = await self._database.fetchrow(_FENCE, owner.mailbox, owner.node, owner.epoch)
        return row is not None

    async def lives_on(self, owner: Owner) -> bool:
        """Whether a newer owner of the node holds a lease here. Who was fenced holds none."""
        held: bool = await self._database.fetchval(_LIVES_ON, owner.mailbox, owner.node, owner.epoch)
        return held


_TAKE = """
    insert into mailbox_owners as owner (mailbox, node, epoch) values ($1, $2, $4::bigint + 1)
    on conflict (mailbox, node) do update set
        epoch = greatest(owner.epoch, $4::bigint) + 1,
        lease_until = now() + make_interval(secs => $3::float),
        taken_at = now()
    returning epoch
"""
# A commit holds the row FOR SHARE, so this waits for it.
_FENCE = """
    update mailbox_owners set epoch = $3::bigint + 1, lease_until = null
    where mailbox = $1 and node = $2 and epoch <= $3
    returning epoch
"""
_LIVES_ON = """
    select exists (
        select from mailbox_owners where mailbox = $1 and node = $2 and epoch > $3 and lease_until > now()
    )
"""
