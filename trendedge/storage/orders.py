"""Orders as clients read them. They are written by `executions` alone."""

from trendedge.storage.paging import NO_FILTERS, Filters, Listing, Page
from trendedge.storage.postgres import Database
from trendedge.storage.values import as_uuid, decimal, rfc3339


async def list_orders(
    db: Database, user_id: str, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None
) -> Page:
    """The user's orders with their fills, the newest first.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(time="orders.created_at", id="orders.id", user="orders.user_id", user_id=user_id)
    listing.narrow(filters, account="orders.account_id", root="orders.root", status="orders.status")
    listing.after(cursor)
    return listing.page(await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args), limit)


async def select_order(db: Database, user_id: str, order_id: str) -> bytes | None:
    """One order of this user with its fills, as JSON; None when there is none."""
    where = "where orders.user_id = $1 and orders.id = $2"
    row = await db.fetchrow(f"{_LIST} {where}", as_uuid(user_id), as_uuid(order_id))
    return None if row is None else row["item"].encode()


FILLS_OF_ORDER = f"""
    select coalesce(json_agg(fill), '[]') from (
        select id, order_id, side, {decimal("price")} as price, {decimal("quantity")} as quantity,
            {decimal("commission")} as commission, {rfc3339("at")} as at
        from fills where order_id = orders.id order by fills.at, fills.id
    ) as fill
"""  # noqa: S608 - made of constants
ORDER_COLUMNS = f"""
    orders.id, orders.signal_id, orders.account_id, orders.symbol, orders.root, orders.side, orders.type,
    {decimal("orders.quantity")} as quantity, {decimal("orders.limit_price")} as limit_price,
    {decimal("orders.stop_price")} as stop_price, orders.status, orders.client_order_id,
    {rfc3339("orders.created_at")} as created_at, ({FILLS_OF_ORDER}) as fills
"""
_LIST = f"""
    select (select row_to_json(item)::text from (select {ORDER_COLUMNS}) as item) as item,
        orders.created_at as at, orders.id
    from orders
"""  # noqa: S608 - made of constants
