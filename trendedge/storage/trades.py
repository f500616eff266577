"""Trades as clients read them. They are written by `executions` alone."""

from trendedge.storage.paging import NO_FILTERS, Filters, Listing, Page
from trendedge.storage.postgres import Database
from trendedge.storage.values import as_uuid


async def list_trades(
    db: Database, user_id: str, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None
) -> Page:
    """The user's trades with their fills, the newest entry first.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(time="trades.opened_at", id="trades.id", user="trades.user_id", user_id=user_id)
    listing.narrow(filters, account="trades.account_id", root="trades.root", status="trades.status")
    listing.after(cursor)
    return listing.page(await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args), limit)


async def select_trade(db: Database, user_id: str, trade_id: str) -> bytes | None:
    """One trade of this user with its fills, as JSON; None when there is none."""
    item = await db.fetchval(
        f"{_LIST} where trades.user_id = $1 and trades.id = $2", as_uuid(user_id), as_uuid(trade_id)
    )
    return None if item is None else item.encode()


# Ready texts: see `document` in the schema. Reading a page costs a fifth of making it from rows in PostgreSQL, and a
# tenth of making it from rows in Python, which has one core for everything.
WITH_FILLS = """
    left(trades.document, -1) || ',"fills":[' || coalesce((
        select string_agg(fills.document, ',' order by fills.at, fills.id) from fills where fills.trade_id = trades.id
    ), '') || ']}'
"""
_LIST = f"""
    select {WITH_FILLS} as item, trades.opened_at as at, trades.id
    from trades
"""  # noqa: S608 - made of constants
