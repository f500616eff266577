"""Trades as clients read them. They are written by `executions` alone."""

from trendedge.storage.paging import NO_FILTERS, Filters, Listing, Page
from trendedge.storage.postgres import Database
from trendedge.storage.values import as_uuid

FILLS_IN_A_LIST = 100
"""`select_trade` gives all of them."""


async def list_trades(
    db: Database, user_id: str, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None
) -> Page:
    """The user's trades, the newest entry first, each with its newest fills: `FILLS_IN_A_LIST` at most.

    A position that never goes flat is one trade with thousands of fills, and a page may hold 200 trades.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(time="trades.opened_at", id="trades.id", user="trades.user_id", user_id=user_id)
    listing.narrow(filters, account="trades.account_id", root="trades.root", status="trades.status")
    listing.after(cursor)
    return listing.page(await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args), limit)


async def select_trade(db: Database, user_id: str, trade_id: str) -> bytes | None:
    """One trade of this user with all its fills, as JSON; None when there is none."""
    item = await db.fetchval(_ONE, as_uuid(user_id), as_uuid(trade_id))
    return None if item is None else item.encode()


# Ready texts: see `document` in the schema. Reading a page costs a fifth of making it from rows in PostgreSQL, and a
# tenth of making it from rows in Python, which has one core for everything.
def _with_fills(most: str) -> str:
    return f"""
        left(trades.document, -1) || ',"fills":[' || coalesce((
            select string_agg(newest.document, ',' order by newest.at, newest.id) from (
                select document, at, id from fills where fills.trade_id = trades.id order by at desc, id desc {most}
            ) as newest
        ), '') || ']}}'
    """  # noqa: S608 - made of constants


WITH_ALL_FILLS = _with_fills("")
_LIST = f"""
    select {_with_fills(f"limit {FILLS_IN_A_LIST}")} as item, trades.opened_at as at, trades.id
    from trades
"""  # noqa: S608 - made of constants
_ONE = f"""
    select {WITH_ALL_FILLS} as item from trades where trades.user_id = $1 and trades.id = $2
"""  # noqa: S608 - made of constants
