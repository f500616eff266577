"""The trader's journal as clients read it. The system's own lines are written by `executions`."""

from trendedge.storage.paging import NO_FILTERS, Filters, Listing, Page
from trendedge.storage.postgres import Database
from trendedge.storage.values import rfc3339


async def list_journal_entries(
    db: Database, user_id: str, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None
) -> Page:
    """The user's journal, the newest entry first. `root` narrows down by the trade that an entry is about.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(
        time="journal_entries.at", id="journal_entries.id", user="journal_entries.user_id", user_id=user_id
    )
    listing.narrow(filters, account="journal_entries.account_id", root="trades.root", status=None)
    listing.after(cursor)
    return listing.page(await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args), limit)


_LIST = f"""
    select (
        select row_to_json(item)::text from (
            select journal_entries.id, journal_entries.account_id, journal_entries.signal_id,
                journal_entries.trade_id, trades.symbol, trades.root, journal_entries.kind, journal_entries.text,
                {rfc3339("journal_entries.at")} as at
        ) as item
    ) as item, journal_entries.at, journal_entries.id
    from journal_entries left join trades on trades.id = journal_entries.trade_id
"""  # noqa: S608 - made of constants
