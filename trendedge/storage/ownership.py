"""The registry of epochs (`runtime.ownership`) in PostgreSQL, where the commits are made that have to prove one."""

import time
from collections.abc import Sequence

from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.ownership import Claim, Owner, Ownership
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.outages import Outages
from trendedge.storage.pending import Pending, journal_unavailable
from trendedge.storage.postgres import STORE, Database, Row

_ANSWER_S = 2.0
"""How long whoever adopts waits for a commit of those whom it fences, or for an answer."""
_LATE_S = 4 * _ANSWER_S
"""A claim without an answer is made so long after it was begun, or never: the server waits for no lock, and for no next
statement, for longer than the answer may take."""


class PostgresOwnership(Ownership):
    """The epochs of this process. Raises `StoreUnavailable` when PostgreSQL is down, but of a claim.

    Who has claimed somebody keeps its lease here until it has adopted all of that one's mail, whether it has mail here
    or not: the claim holds as long as the lease.
    """

    def __init__(self, database: Database, *, node: str, times: LeaseTimes = DEFAULT_TIMES) -> None:
        super().__init__(node=node)
        self.times = times
        self.outages = Outages(times)
        """Whether the leases in PostgreSQL mean anything: to be told by whoever asks it."""
        self._database, self._cutting_off = database, database.cutting_off()
        self._claimed = Pending(times=times)
        """Nodes that are claimed for us or may be, by mailbox."""
        self._asked_at: dict[tuple[str, str], float] = {}
        """By mailbox and node when its claim was last asked for, in monotonic seconds."""

    async def next_epoch(self, mailbox: str, *, above: int) -> int:
        """As `Ownership.next_epoch`."""
        # A claim of the process before, if one is under way, is made before this goes on, or never.
        lock = (_LOCK_OWN, mailbox, self.node)
        row = await self._database.in_turn(lock, (_TAKE, mailbox, self.node, self.times.lease_s, above))
        epoch, begun = row or (0, ())
        self.begun[mailbox] = _owners(mailbox, begun)
        for node in tuple(self._claimed.entries(mailbox)):
            self._forget(mailbox, node)
        self._remember(self.begun[mailbox])
        return int(epoch)

    async def fence(self, owner: Owner) -> bool:
        """As `Ownership.fence`."""
        return await self._cutting_off.in_turn((_FENCE, *_key(owner)), answer_s=_ANSWER_S) is not None

    async def claim(self, owner: Owner) -> Claim | None:
        """As `Ownership.claim`. Of several who look at once one adopts all of the mail, in whichever store it lies, for
        as long as it holds its lease in PostgreSQL. Who claims from one that does not claims that one as well, in the
        same step, with all that it had claimed.
        """
        us = self.of(owner.mailbox)
        self._remember([owner])  # the answer may be lost
        told = (us.node, us.epoch, self.times.lease_s, not self.outages.just_back)
        lock = (_LOCK, owner.mailbox, owner.node, us.node, owner.epoch)
        with journal_unavailable():
            found = await self._claim(lock, (_CLAIM, *_key(owner), *told))
        if not found["owned"]:
            raise self.lost(us)
        if found["epoch"] is None:
            self._forget(owner.mailbox, owner.node)
            return None
        begun = _owners(owner.mailbox, found["begun"])
        self._remember(begun)
        return Claim(Owner(owner.mailbox, owner.node, found["epoch"] - 1), begun)

    async def adopted(self, owners: Sequence[Owner]) -> None:
        """As `Ownership.adopted`. A claim that is not forgotten for want of an answer is one on nothing."""
        for owner in owners:
            self._forget(owner.mailbox, owner.node)
        with journal_unavailable():
            for owner in owners:
                adopted = (_ADOPTED, *_key(owner), _name(self.of(owner.mailbox)))
                await self._cutting_off.in_turn(adopted, answer_s=_ANSWER_S)

    async def keep_claims(self) -> None:
        """Renew the lease while somebody is claimed, until cancelled. Costs nothing while nobody is."""
        await self._claimed.beat(self._renew_lease, again_s=self.times.again_s)

    def claiming(self) -> list[str]:
        """The mailboxes for which somebody is claimed, or may be."""
        return self._claimed.left()

    def _remember(self, owners: Sequence[Owner]) -> None:
        for owner in owners:
            self._asked_at[owner.mailbox, owner.node] = time.monotonic()
            self._claimed.remember(owner.mailbox, owner.node)

    def _forget(self, mailbox: str, node: str) -> None:
        self._asked_at.pop((mailbox, node), None)
        self._claimed.forget(mailbox, node)

    async def _claim(self, *statements: tuple[object, ...]) -> Row:
        found = await self._cutting_off.in_turn(*statements, answer_s=_ANSWER_S)
        if found is None:
            raise StoreUnavailable(STORE, "a statement that gives one row gave none")
        return found

    async def _renew_lease(self, mailbox: str) -> None:
        begun, us = time.monotonic(), self.of(mailbox)
        try:
            with journal_unavailable():
                kept = await self._cutting_off.in_turn((_KEEP, *_key(us), self.times.lease_s), answer_s=_ANSWER_S)
        except JournalUnavailable:
            self.outages.failed()
            raise
        self.outages.answered()
        if kept is None:
            raise self.lost(us)
        self._claimed.renewed(mailbox, begun)
        for node in self._claimed.entries(mailbox) - set(kept["claimed"]):
            if begun - self._asked_at[mailbox, node] >= _LATE_S:  # without an answer, and others have claimed it since
                self._forget(mailbox, node)


# Who commits holds its row FOR KEY SHARE. The epoch belongs to a key, so whoever changes it waits for that, and whoever
# renews a lease does not. Who is claimed comes first, then whoever had claimed it, then we: in a move as well. The row
# of an heir that lives is not locked. What follows in the transaction sees what was under way until then. Whom a store
# knows has a row, unless this database was restored from a backup: then it is made, to be locked.
_LOCK = """
    with known as (
        insert into mailbox_owners (mailbox, node, epoch) values ($1, $2, $4) on conflict (mailbox, node) do nothing
    )
    select from mailbox_owners
    where mailbox = $1 and (
        node = $2
        or node <> $3 and (lease_until is null or lease_until <= now())
            and node || ':' || epoch = (select heir from mailbox_owners where mailbox = $1 and node = $2)
    )
    order by node <> $2 for update
"""
_LOCK_OWN = "select from mailbox_owners where mailbox = $1 and node = $2 for update"
# With a new epoch claims have another name. Theirs alone who were fenced, as all are that somebody has claimed: who has
# come back since has no heir.
_TAKE = """
    with taken as (
        insert into mailbox_owners as owner (mailbox, node, epoch) values ($1, $2, $4::bigint + 1)
        on conflict (mailbox, node) do update set
            epoch = greatest(owner.epoch, $4::bigint) + 1,
            lease_until = now() + make_interval(secs => $3::float),
            taken_at = now(),
            heir = null
        returning epoch
    ), begun as (
        update mailbox_owners set heir = $2 || ':' || (select epoch from taken), heir_until = null
        where mailbox = $1 and node <> $2 and starts_with(heir, $2 || ':') and lease_until is null
        returning node, epoch
    )
    select epoch, array(select node || ':' || epoch from begun order by node) as begun from taken
"""
_FENCE = """
    update mailbox_owners set epoch = $3::bigint + 1, lease_until = null
    where mailbox = $1 and node = $2 and epoch <= $3
    returning epoch
"""
# With the fence in one step: who is claimed is fenced, or nobody could tell later what a claim without one is worth.
# Whatever somebody has claimed goes to whoever claims that one, in the same step: nobody can come in between. Whoever
# had claimed this one before and is dead is claimed with it: a part of the mail is there, perhaps. The answer names all
# that is claimed for us: an earlier answer may be lost, or the look that it was for was cut off.
# Whose newer process has started since is not fenced: of that one nothing is moved, only what it has never read.
# Claims of the release before hold until `heir_until`, or for ever without: it keeps no lease for them.
_CLAIM = """
    with us as (
        update mailbox_owners set lease_until = greatest(lease_until, now() + make_interval(secs => $6::float))
        where mailbox = $1 and node = $4 and epoch = $5
        returning node || ':' || epoch as name
    ), before as (
        select heir, coalesce(heir_until > now(), false) as holds from mailbox_owners where mailbox = $1 and node = $2
    ), former as (
        select node, (lease_until is null or (lease_until <= now() and $7)) and not (select holds from before) as dead
        from mailbox_owners
        where mailbox = $1 and node not in ($2, $4) and node || ':' || epoch = (select heir from before)
    ), claimed as (
        insert into mailbox_owners as owner (mailbox, node, epoch, heir)
        select $1, $2, $3::bigint + 1, name from us
        on conflict (mailbox, node) do update set
            heir = excluded.heir, heir_until = null,
            epoch = greatest(owner.epoch, excluded.epoch),
            lease_until = case when owner.epoch < excluded.epoch then null else owner.lease_until end
        where (owner.epoch <= $3 or owner.lease_until is null or (owner.lease_until <= now() and $7))
            and not exists (select from former where not dead)
        returning epoch
    ), followed as (
        update mailbox_owners
        set heir = (select name from us), heir_until = null, epoch = epoch + 1, lease_until = null
        where mailbox = $1 and node = (select node from former) and exists (select from claimed)
        returning node, epoch
    ), begun as (
        update mailbox_owners set heir = (select name from us), heir_until = null
        where mailbox = $1 and node not in ($2, $4) and node is distinct from (select node from former)
            and (
                starts_with(heir, $2 || ':') or starts_with(heir, (select node from former) || ':')
                or heir = (select name from us)
            )
            and exists (select from claimed) and lease_until is null
        returning node, epoch
    ), parts as (
        select node, epoch from followed union all select node, epoch from begun
    )
    select
        exists (select from us) as owned,
        (select epoch from claimed) as epoch,
        array(select node || ':' || epoch from parts order by node) as begun
"""
_KEEP = """
    update mailbox_owners as us set lease_until = greatest(lease_until, now() + make_interval(secs => $4::float))
    where mailbox = $1 and node = $2 and epoch = $3
    returning array(
        select node from mailbox_owners where mailbox = $1 and heir = us.node || ':' || us.epoch
    ) as claimed
"""
_ADOPTED = """
    update mailbox_owners set heir = null where mailbox = $1 and node = $2 and epoch > $3::bigint and heir = $4
    returning node
"""


def _name(owner: Owner) -> str:
    return f"{owner.node}:{owner.epoch}"


def _key(owner: Owner) -> tuple[str, str, int]:
    return owner.mailbox, owner.node, owner.epoch


def _owners(mailbox: str, names: Sequence[str]) -> list[Owner]:
    return [Owner(mailbox, node, int(epoch)) for node, _, epoch in (name.rpartition(":") for name in names)]
