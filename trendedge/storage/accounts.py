"""Accounts as clients read them: settings, and what each is worth."""

from decimal import Decimal
from typing import Any

import orjson

from trendedge.domain.wire import instant, plain
from trendedge.storage.paging import Listing, Page
from trendedge.storage.positions import unrealized_by_account
from trendedge.storage.postgres import Database, Row
from trendedge.storage.values import as_uuid


async def list_accounts(db: Database, user_id: str, *, limit: int = 50, cursor: str | None = None) -> Page:
    """The user's accounts, the newest first. `equity` values what is held at the last known prices.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(time="accounts.created_at", id="accounts.id", user_id=user_id)
    listing.after(cursor)
    rows = await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args)
    unrealized = await unrealized_by_account(db, user_id)
    shown = rows[:limit]
    items = orjson.dumps([_item(row, unrealized.get(row["id"], Decimal(0))) for row in shown])
    return Page(items, listing.cursor(shown[-1]["created_at"], shown[-1]["id"]) if len(rows) > limit else None)


async def select_account(db: Database, user_id: str, account_id: str) -> bytes | None:
    """One account of this user, as JSON; None when there is none."""
    where = "where user_id = $1 and id = $2"
    row = await db.fetchrow(f"{_LIST} {where}", as_uuid(user_id), as_uuid(account_id))
    if row is None:
        return None
    unrealized = await unrealized_by_account(db, user_id)
    return orjson.dumps(_item(row, unrealized.get(row["id"], Decimal(0))))


async def update_account_settings(
    db: Database,
    user_id: str,
    account_id: str,
    *,
    default_quantity: int | None = None,
    slippage_ticks: int | None = None,
    commission: Decimal | None = None,
    any_hour: bool | None = None,
) -> bool:
    """Change the settings that are given; False when the user has no such account.

    Counts the version up: a book that was loaded before is then stale, so no later signal trades on the old settings.
    """
    tag = await db.execute(
        _UPDATE, as_uuid(user_id), as_uuid(account_id), default_quantity, slippage_ticks, commission, any_hour
    )
    return tag == "UPDATE 1"


def _item(row: Row, unrealized: Decimal) -> dict[str, Any]:
    equity = row["starting_equity"] + row["realized_pnl"] - row["commissions"] + unrealized
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "mode": row["mode"],
        "broker": row["broker"],
        "currency": row["currency"],
        "equity": plain(equity),
        "starting_equity": plain(row["starting_equity"]),
        "realized_pnl": plain(row["realized_pnl"]),
        "unrealized_pnl": plain(unrealized),
        "commissions": plain(row["commissions"]),
        "default_quantity": plain(row["default_quantity"]),
        "slippage_ticks": row["slippage_ticks"],
        "commission": plain(row["commission"]),
        "any_hour": row["any_hour"],
        "halted": row["halted"],
        "is_default": row["is_default"],
        "created_at": instant(row["created_at"]),
    }


_LIST = """
    select id, name, mode, broker, currency, starting_equity, default_quantity, slippage_ticks, commission, any_hour,
        halted, is_default, realized_pnl, commissions, created_at
    from accounts
"""
_UPDATE = """
    update accounts set
        default_quantity = coalesce($3::int, default_quantity),
        slippage_ticks = coalesce($4::int, slippage_ticks),
        commission = coalesce($5::numeric, commission),
        any_hour = coalesce($6::boolean, any_hour),
        version = version + 1,
        updated_at = now()
    where user_id = $1 and id = $2
"""
