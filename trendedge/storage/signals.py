"""Signals as clients read them: a list, and the decision trace of one. They are written by `executions` alone."""

from trendedge.storage.orders import ORDER_COLUMNS
from trendedge.storage.paging import NO_FILTERS, Filters, Listing, Page
from trendedge.storage.postgres import Database
from trendedge.storage.trades import WITH_ALL_FILLS
from trendedge.storage.values import as_uuid, decimal, rfc3339


async def list_signals(
    db: Database, user_id: str, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None
) -> Page:
    """The user's signals, the newest first.

    :raises InvalidCursor: the cursor is not of this list
    """
    listing = Listing(time="signals.received_at", id="signals.id", user="signals.user_id", user_id=user_id)
    listing.narrow(filters, account="signals.account_id", root="signals.root", status="signals.status")
    listing.after(cursor)
    return listing.page(await db.fetch(f"{_LIST} {listing.sql(limit)}", *listing.args), limit)


async def select_signal_trace(db: Database, user_id: str, signal_id: str) -> bytes | None:
    """The decision trace of one signal of this user, as JSON; None when there is none (yet).

    `trade` is the trade that the signal opened, else the one that it changed; `trades` are both after a reverse.
    """
    item: str | None = await db.fetchval(_TRACE, as_uuid(user_id), as_uuid(signal_id))
    return None if item is None else item.encode()


_COLUMNS = f"""
    signals.id, signals.status, {rfc3339("signals.received_at")} as received_at, signals.action, signals.symbol,
    signals.root, signals.order_type, {decimal("signals.quantity")} as quantity, {decimal("signals.price")} as price,
    {decimal("signals.limit_price")} as limit_price, {decimal("signals.stop_price")} as stop_price,
    signals.account_id, signals.playbook_id, signals.rejection,
    json_build_object('dialect', signals.dialect, 'sent_at', {rfc3339("signals.sent_at")}) as source
"""
_LIST = f"""
    select (select row_to_json(item)::text from (select {_COLUMNS}) as item) as item,
        signals.received_at as at, signals.id
    from signals
"""  # noqa: S608 - made of constants
_ORDERS = f"""
    select coalesce(json_agg(placed), '[]') from (
        select {ORDER_COLUMNS} from orders where orders.signal_id = signals.id order by orders.created_at, orders.id
    ) as placed
"""  # noqa: S608 - made of constants
# The trade that this signal opened comes first.
_TRADES = f"""
    select coalesce(
        json_agg(
            ({WITH_ALL_FILLS})::json
            order by trades.signal_id = signals.id desc, trades.opened_at desc
        ), '[]'
    )
    from trades
    where trades.id in (
        select fills.trade_id from fills join orders on orders.id = fills.order_id
        where orders.signal_id = signals.id
    )
"""  # noqa: S608 - made of constants
_TRACE = f"""
    select row_to_json(trace)::text from (
        select item.*, item.trades -> 0 as trade from (
            select {_COLUMNS}, signals.request_id, signals.raw, signals.repairs, signals.contract, signals.checks,
                signals.timings_ms, ({_ORDERS}) as orders, ({_TRADES}) as trades
            from signals where signals.user_id = $1 and signals.id = $2
        ) as item
    ) as trace
"""  # noqa: S608 - made of constants
