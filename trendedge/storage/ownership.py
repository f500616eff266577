"""The registry of epochs (`runtime.ownership`) in PostgreSQL, where the commits are made that have to prove one."""

import asyncio
from collections.abc import Sequence
from typing import Any

from trendedge.runtime.ownership import Claim, Owner, Ownership
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.pending import journal_unavailable
from trendedge.storage.postgres import STORE, Database

_CLAIM_LEASES = 3.0
"""For so many leases nobody else adopts from a node that somebody has begun to adopt from."""
_ANSWER_S = 2.0
"""How long whoever adopts waits for a commit of those whom it fences, or for an answer."""

type Place = tuple[str, str]
"""Mailbox and node."""


class PostgresOwnership(Ownership):
    """The epochs of this process. Raises `StoreUnavailable` when PostgreSQL is down, but of a claim."""

    def __init__(self, database: Database, *, node: str, times: LeaseTimes = DEFAULT_TIMES) -> None:
        super().__init__(node=node)
        self.times = times
        self._database, self._cutting_off = database, database.cutting_off()
        self._in_doubt: set[Place] = set()
        """Of whose claim has given no answer: what they had claimed may be ours already."""
        self._ours: set[Place] = set()
        """Whose mail is claimed for us, as we have been told."""

    async def next_epoch(self, mailbox: str, *, above: int) -> int:
        """As `Ownership.next_epoch`."""
        row = await self._database.fetchrow(_TAKE, mailbox, self.node, self.times.lease_s, above, _CLAIM_LEASES)
        epoch, begun = row or (0, ())
        self.begun[mailbox] = _owners(mailbox, begun)
        self._ours |= {(mailbox, owner.node) for owner in self.begun[mailbox]}
        return int(epoch)

    async def fence(self, owner: Owner) -> bool:
        """As `Ownership.fence`."""
        return await self._answer(_FENCE, owner) is not None

    async def claim(self, owner: Owner) -> Claim | None:
        """As `Ownership.claim`. Of several who look at once one adopts all of the mail, in whichever store it lies; who
        dies over that is followed when its claim has run out, or with what it had claimed when it is claimed itself.
        """
        us, place = self.of(owner.mailbox), (owner.mailbox, owner.node)
        again = place in self._in_doubt
        self._in_doubt.add(place)
        with journal_unavailable():
            found = await self._answer(_CLAIM, owner, _name(us), _CLAIM_LEASES * self.times.lease_s, again)
        self._in_doubt.discard(place)
        if found is None:
            self._ours.discard(place)
            return None
        begun = [one for one in _owners(owner.mailbox, found["begun"]) if one.node != us.node]
        unheard = found["was_ours"] and place not in self._ours
        self._ours |= {(owner.mailbox, one.node) for one in (*begun, *(() if unheard else (owner,)))}
        return Claim(owner, begun, unheard=unheard)

    async def adopted(self, owners: Sequence[Owner]) -> None:
        """As `Ownership.adopted`."""
        with journal_unavailable():
            for owner in owners:
                await self._answer(_ADOPTED, owner, _name(self.of(owner.mailbox)))
                self._ours.discard((owner.mailbox, owner.node))

    async def _answer(self, statement: str, owner: Owner, *more: object) -> Any:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._cutting_off.fetchrow(statement, owner.mailbox, owner.node, owner.epoch, *more)
        except TimeoutError as error:
            raise StoreUnavailable(STORE, f"no answer within {_ANSWER_S:g} s") from error


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
        update mailbox_owners set heir = $2 || ':' || (select epoch from taken),
            heir_until = now() + make_interval(secs => $3::float * $5::float)
        where mailbox = $1 and node <> $2 and starts_with(heir, $2 || ':') and lease_until is null
        returning node, epoch
    )
    select epoch, array(select node || ':' || epoch from begun order by node) as begun from taken
"""
# A commit holds the row FOR SHARE, so this waits for it.
_FENCE = """
    update mailbox_owners set epoch = $3::bigint + 1, lease_until = null
    where mailbox = $1 and node = $2 and epoch <= $3
    returning epoch
"""
# With the fence in one step: who is claimed is fenced, or nobody could tell later what a claim without one is worth.
# Whatever somebody has claimed goes to whoever claims that one, in the same step: nobody can come in between.
_CLAIM = """
    with before as (
        select heir from mailbox_owners where mailbox = $1 and node = $2
    ), claimed as (
        insert into mailbox_owners as owner (mailbox, node, epoch, heir, heir_until)
        values ($1, $2, $3::bigint + 1, $4, now() + make_interval(secs => $5::float))
        on conflict (mailbox, node) do update set
            heir = excluded.heir,
            heir_until = excluded.heir_until,
            epoch = greatest(owner.epoch, excluded.epoch),
            lease_until = case when owner.epoch < excluded.epoch then null else owner.lease_until end
        where (owner.epoch <= $3 or owner.lease_until is null or owner.lease_until <= now())
            and (
                owner.heir is null or owner.heir = $4 or owner.heir_until <= now()
                or not exists (
                    select from mailbox_owners as other
                    where other.mailbox = $1 and other.node || ':' || other.epoch = owner.heir
                )
            )
        returning node
    ), begun as (
        update mailbox_owners set heir = $4, heir_until = now() + make_interval(secs => $5::float)
        where mailbox = $1 and node <> $2 and (starts_with(heir, $2 || ':') or $6 and heir = $4)
            and exists (select from claimed) and lease_until is null
        returning node, epoch
    )
    select
        array(select node || ':' || epoch from begun order by node) as begun,
        coalesce((select heir = $4 from before), false) as was_ours
    from claimed
"""
_ADOPTED = """
    update mailbox_owners set heir = null where mailbox = $1 and node = $2 and epoch > $3::bigint and heir = $4
    returning node
"""


def _name(owner: Owner) -> str:
    return f"{owner.node}:{owner.epoch}"


def _owners(mailbox: str, names: Sequence[str]) -> list[Owner]:
    return [Owner(mailbox, node, int(epoch)) for node, _, epoch in (name.rpartition(":") for name in names)]
