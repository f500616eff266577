"""The record of what operators did: written before the act, completed after it, never changed again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from trendedge.storage.paging import NO_FILTERS, Filters, Listing, Page
from trendedge.storage.postgres import Database
from trendedge.storage.values import rfc3339, storable

type Outcome = Literal["begun", "done", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who wants to do what, from where. When is the database's clock."""

    who: str
    """Id of the user with the operator's role, or the name of the key."""
    action: str
    """Such as `actors.suspend`, `dead-letters.replay` or `halt`."""
    target: str | None
    """What it is done to: a path, an id, a name; None for the whole system."""
    address: str
    request_id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


async def insert_act(db: Database, act: Act, *, outcome: Outcome = "begun", status: int | None = None) -> UUID:
    """Write an act down before it is done; the id under which its end is to be told.

    :raises StoreUnavailable: it is not known to be written, so it must not be done
    """
    id: UUID = await db.fetchval(
        _INSERT,
        storable(act.who),
        storable(act.action),
        None if act.target is None else storable(act.target),
        {storable(name): storable(str(value)) for name, value in act.parameters.items()},
        storable(act.address),
        act.request_id,
        outcome,
        status,
    )
    return id


async def complete_act(db: Database, id: UUID, *, outcome: Outcome, status: int) -> None:
    """Write down how it ended; the first end stands. `status` is that of the HTTP answer."""
    await db.execute(_COMPLETE, id, outcome, status)


async def list_acts(db: Database, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None) -> Page:
    """What operators did, the newest first; of the filters, `since`, `until` and `status` (the outcome) count.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(time="audit_log.at", id="audit_log.id")
    if filters.status is not None:
        listing.where("audit_log.outcome = {}", filters.status)
    listing.between(filters)
    listing.after(cursor)
    return listing.page(await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args), limit)


_INSERT = """
    insert into audit_log (who, action, target, parameters, address, request_id, outcome, status, ended_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, case when $7 <> 'begun' then now() end)
    returning id
"""
_COMPLETE = """
    update audit_log set outcome = $2, status = $3, ended_at = clock_timestamp() where id = $1 and outcome = 'begun'
"""
_LIST = f"""
    select (
        select row_to_json(item)::text from (
            select audit_log.id, {rfc3339("audit_log.at")} as at, audit_log.who, audit_log.action, audit_log.target,
                audit_log.parameters, audit_log.address, audit_log.request_id, audit_log.outcome, audit_log.status,
                {rfc3339("audit_log.ended_at")} as ended_at
        ) as item
    ) as item, audit_log.at, audit_log.id
    from audit_log
"""  # noqa: S608 - made of constants
