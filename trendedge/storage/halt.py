"""The kill switch: a row that every decision is made upon, in every process and after every restart."""

from dataclasses import dataclass
from datetime import datetime

from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import STORE, Database, Row
from trendedge.storage.values import storable


@dataclass(frozen=True, slots=True)
class Halt:
    """Whether all trading is halted: exits pass, entries are refused."""

    halted: bool
    reason: str | None
    who: str | None
    """Who changed it last; None while nobody ever has."""
    since: datetime


async def select_halt(db: Database) -> Halt:
    """As it is now."""
    return _halt(await db.fetchrow(_SELECT))


async def set_halt(db: Database, *, halted: bool, who: str, reason: str | None = None) -> Halt:
    """Halt all accounts, or end the halt; does nothing, and keeps the first reason, when it is so already.

    Once this returns no entry passes any more. A decision is made on a book, which is loaded together with this row,
    and a commit is refused when the account's version is not the book's: so the versions of all accounts are counted
    up in the same transaction. The lock waits for the commits that are under way, and for accounts that are being made.
    """
    why = None if reason is None else storable(reason)
    async with db.transaction() as connection:
        await connection.execute("lock table accounts in share row exclusive mode")
        changed = await connection.fetchrow(_UPDATE, halted, why, storable(who))
        if changed is not None:
            await connection.execute("update accounts set version = version + 1")
            return _halt(changed)
        return _halt(await connection.fetchrow(_SELECT))


def _halt(row: Row | None) -> Halt:
    if row is None:
        raise StoreUnavailable(STORE, "the row of the kill switch is gone")
    return Halt(halted=row["halted"], reason=row["reason"], who=row["who"], since=row["since"])


_SELECT = "select halted, reason, who, since from trading_halt"
_UPDATE = """
    update trading_halt set halted = $1, reason = $2, who = $3, since = now() where halted <> $1
    returning halted, reason, who, since
"""
