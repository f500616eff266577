"""The registry of epochs (`runtime.ownership`) in PostgreSQL, where the commits are made that have to prove one."""

import time
from collections.abc import Sequence

from trendedge.runtime.ownership import Claim, Owner, Ownership
from trendedge.storage import mailbox_sql as sql
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.outages import Outages
from trendedge.storage.pending import Pending, journal_unavailable
from trendedge.storage.postgres import STORE, Database, Row

_ANSWER_S = 2.0
"""How long whoever adopts waits for a commit of those whom it fences, or for an answer."""


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
        self._in_doubt: set[tuple[str, str]] = set()
        """Mailbox and node of whose claim has given no answer: what they had claimed may be ours already."""
        self._ours: set[tuple[str, str]] = set()
        """Whose mail is claimed for us, as we have been told."""
        self._claimed = Pending(times=times)
        """Nodes that are claimed for us or may be, by mailbox."""

    async def next_epoch(self, mailbox: str, *, above: int) -> int:
        """As `Ownership.next_epoch`."""
        # A claim of the process before, if one is under way, is made before this goes on, or never.
        lock = (_LOCK, mailbox, self.node, self.node)
        row = await self._database.in_turn(lock, (_TAKE, mailbox, self.node, self.times.lease_s, above))
        epoch, begun = row or (0, ())
        self.begun[mailbox] = _owners(mailbox, begun)
        self._ours = {place for place in self._ours if place[0] != mailbox}
        self._in_doubt = {place for place in self._in_doubt if place[0] != mailbox}
        self._claimed.forget_all(mailbox)
        self._inherit(self.begun[mailbox])
        return int(epoch)

    async def fence(self, owner: Owner) -> bool:
        """As `Ownership.fence`."""
        return await self._cutting_off.in_turn((_FENCE, *_key(owner)), answer_s=_ANSWER_S) is not None

    async def claim(self, owner: Owner) -> Claim | None:
        """As `Ownership.claim`. Of several who look at once one adopts all of the mail, in whichever store it lies, for
        as long as it holds its lease in PostgreSQL. Who claims from one that does not claims that one as well, in the
        same step, with all that it had claimed.
        """
        us, place = self.of(owner.mailbox), (owner.mailbox, owner.node)
        again = place in self._in_doubt
        self._in_doubt.add(place)
        self._claimed.remember(*place)
        with journal_unavailable():
            found = await self._ask_claim(owner, us, again=again)
        self._in_doubt.discard(place)
        if not found["owned"]:
            raise self.lost(us)
        if found["epoch"] is None:
            self._forget(owner)
            return None
        unheard = found["was_ours"] and place not in self._ours
        begun = _owners(owner.mailbox, found["begun"])
        self._inherit([*begun, *(() if unheard else (owner,))])
        return Claim(Owner(owner.mailbox, owner.node, found["epoch"] - 1), begun, unheard=unheard)

    async def adopted(self, owners: Sequence[Owner]) -> None:
        """As `Ownership.adopted`. A claim that is not forgotten for want of an answer is one on nothing."""
        for owner in owners:
            self._forget(owner)
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

    def _inherit(self, owners: Sequence[Owner]) -> None:
        for owner in owners:
            self._ours.add((owner.mailbox, owner.node))
            self._claimed.remember(owner.mailbox, owner.node)

    def _forget(self, owner: Owner) -> None:
        self._ours.discard((owner.mailbox, owner.node))
        self._claimed.forget(owner.mailbox, owner.node)

    async def _ask_claim(self, owner: Owner, us: Owner, *, again: bool) -> Row:
        told = (us.node, us.epoch, self.times.lease_s, again, not self.outages.just_back)
        lock = (_LOCK, owner.mailbox, owner.node, us.node)
        found = await self._cutting_off.in_turn(lock, (_CLAIM, *_key(owner), *told), answer_s=_ANSWER_S)
        if found is None:
            raise StoreUnavailable(STORE, "a statement that gives one row gave none")
        return found

    async def _renew_lease(self, mailbox: str) -> None:
        begun, us = time.monotonic(), self.of(mailbox)
        with journal_unavailable():
            renewed = await self._cutting_off.in_turn((sql.RENEW, *_key(us), self.times.lease_s), answer_s=_ANSWER_S)
        if renewed is None:
            raise self.lost(us)
        self._claimed.renewed(mailbox, begun)


# Who commits holds its row FOR SHARE, so whoever fences it waits for that: before it locks its own row, which is the
# last. What follows in the transaction sees what was under way until then.
_LOCK = """
    select from mailbox_owners
    where mailbox = $1 and (
        node in ($2, $3)
        or node || ':' || epoch = (select heir from mailbox_owners where mailbox = $1 and node = $2)
    )
    order by node = $3, node for no key update
"""
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
        update mailbox_owners set heir = $2 || ':' || (select epoch from taken)
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
# had claimed this one before and is dead is claimed with it: a part of the mail is there, perhaps.
_CLAIM = """
    with us as (
        update mailbox_owners set lease_until = greatest(lease_until, now() + make_interval(secs => $6::float))
        where mailbox = $1 and node = $4 and epoch = $5
        returning node || ':' || epoch as name
    ), before as (
        select heir from mailbox_owners where mailbox = $1 and node = $2
    ), former as (
        select node, lease_until is null or (lease_until <= now() and $8) as dead from mailbox_owners
        where mailbox = $1 and node not in ($2, $4) and node || ':' || epoch = (select heir from before)
    ), claimed as (
        insert into mailbox_owners as owner (mailbox, node, epoch, heir)
        select $1, $2, $3::bigint + 1, name from us
        on conflict (mailbox, node) do update set
            heir = excluded.heir,
            epoch = greatest(owner.epoch, excluded.epoch),
            lease_until = case when owner.epoch < excluded.epoch then null else owner.lease_until end
        where (owner.epoch <= $3 or owner.lease_until is null or (owner.lease_until <= now() and $8))
            and not exists (select from former where not dead)
        returning epoch
    ), followed as (
        update mailbox_owners set heir = (select name from us), epoch = epoch + 1, lease_until = null
        where mailbox = $1 and node = (select node from former) and exists (select from claimed)
        returning node, epoch
    ), begun as (
        update mailbox_owners set heir = (select name from us)
        where mailbox = $1 and node not in ($2, $4) and node is distinct from (select node from former)
            and (
                starts_with(heir, $2 || ':') or starts_with(heir, (select node from former) || ':')
                or $7 and heir = (select name from us)
            )
            and exists (select from claimed) and lease_until is null
        returning node, epoch
    ), parts as (
        select node, epoch from followed union all select node, epoch from begun
    )
    select
        exists (select from us) as owned,
        (select epoch from claimed) as epoch,
        array(select node || ':' || epoch from parts order by node) as begun,
        coalesce((select heir from before) = (select name from us), false) as was_ours
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
