"""The end of what the system keeps for itself alone: dedup marks and the events that clients resume from.

Each batch is a statement, and so a transaction, of its own: a commit that wants one of its rows waits milliseconds.
Two processes may purge at the same time: what one has removed the other does not find any more.
"""

from datetime import datetime
from uuid import UUID

import anyio

from trendedge.storage.postgres import Database

BATCH = 1000
"""Rows that go in one transaction, which takes about 10 ms."""
PAUSE_S = 0.02
"""Between two batches: the database has other things to do."""
_USERS = 100
_BEFORE_ALL = UUID(int=0)


async def purge_events(db: Database, *, before: datetime, batch: int = BATCH) -> int:
    """Remove the events that are older; how many those were.

    Of each user's events the oldest go, up to the first that is to stay, and so without a gap in what is left: a resume
    from any event that is still there finds all that followed.

    :raises StoreUnavailable: some may be removed already
    """
    removed, user = 0, _BEFORE_ALL
    while users := await db.fetch(_USERS_WITH_OLD_EVENTS, user, before, _USERS):
        for row in users:
            user = row["id"]
            removed += await _in_batches(db, _PURGE_EVENTS, user, before, batch=batch)
    return removed


async def purge_marks(db: Database, *, before: datetime, batch: int = BATCH) -> int:
    """Remove the dedup marks that are older; how many those were. One that a commit holds just now stays.

    :raises StoreUnavailable: some may be removed already
    """
    return await _in_batches(db, _PURGE_MARKS, before, batch=batch)


async def _in_batches(db: Database, statement: str, *args: object, batch: int) -> int:
    removed = 0
    while True:
        gone = int((await db.execute(statement, *args, batch)).removeprefix("DELETE "))
        removed += gone
        if gone < batch:
            return removed
        await anyio.sleep(PAUSE_S)


_USERS_WITH_OLD_EVENTS = """
    select id from users
    where id > $1 and (select at from events where user_id = users.id order by seq limit 1) < $2
    order by id limit $3
"""
# All below a boundary, and none skipped because it is locked: behind rows that another purge has in hand, and may have
# to leave after all, nothing may go.
_PURGE_EVENTS = """
    with oldest as (
        select seq, at from events where user_id = $1 order by seq limit $3
    )
    delete from events where user_id = $1 and seq < coalesce(
        (select min(seq) from oldest where at >= $2), (select max(seq) + 1 from oldest)
    )
"""
# By their places, which is what was locked: joined by their marks, each batch would read the whole table.
_PURGE_MARKS = """
    delete from signal_marks where ctid = any(array(
        select ctid from signal_marks where marked_at < $1 order by marked_at limit $2 for update skip locked
    ))
"""
