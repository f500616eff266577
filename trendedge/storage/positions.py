"""Positions as clients read them, valued at the last known price. They are written by `executions` alone."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from trendedge.domain.instruments import INSTRUMENTS
from trendedge.domain.positions import Position
from trendedge.domain.wire import plain
from trendedge.storage.errors import InvalidCursor
from trendedge.storage.paging import NO_FILTERS, Filters, Page
from trendedge.storage.postgres import Database, Row
from trendedge.storage.values import as_uuid


async def list_positions(
    db: Database, user_id: str, *, filters: Filters = NO_FILTERS, limit: int = 50, cursor: str | None = None
) -> Page:
    """The user's positions that are not flat, by account and symbol. `account_id` and `root` narrow them down.

    :raises InvalidCursor: the cursor is not of this list
    """
    sql, args = _LIST, list[object]([as_uuid(user_id)])
    if filters.account_id is not None:
        args.append(as_uuid(filters.account_id))
        sql += f" and account_id = ${len(args)}"
    if filters.root is not None:
        args.append(filters.root)
        sql += f" and root = ${len(args)}"
    if cursor is not None:
        args += _decode(cursor)
        sql += f" and (account_id, symbol) > (${len(args) - 1}, ${len(args)})"
    rows = await db.fetch(f"{sql} order by account_id, symbol limit {limit + 1:d}", *args)
    shown = rows[:limit]
    items = orjson.dumps([_item(row) for row in shown])
    return Page(items, _encode(shown[-1]) if len(rows) > limit else None)


async def unrealized_by_account(db: Database, user_id: str) -> dict[UUID, Decimal]:
    """Dollars that leaving everything at the last known prices would earn, for each account that holds something."""
    sums: dict[UUID, Decimal] = {}
    for row in await db.fetch(_LIST, as_uuid(user_id)):
        sums[row["account_id"]] = sums.get(row["account_id"], Decimal(0)) + (_unrealized(row) or Decimal(0))
    return sums


def _item(row: Row) -> dict[str, Any]:
    unrealized = _unrealized(row)
    return {
        "account_id": str(row["account_id"]),
        "symbol": row["symbol"],
        "root": row["root"],
        "quantity": plain(row["quantity"]),
        "average_price": plain(row["average_price"]),
        "realized_pnl": plain(row["realized_pnl"]),
        "unrealized_pnl": None if unrealized is None else plain(unrealized),
        "last_price": None if row["last_price"] is None else plain(row["last_price"]),
    }


def _unrealized(row: Row) -> Decimal | None:
    if row["last_price"] is None:
        return None
    position = Position(
        account_id=str(row["account_id"]),
        symbol=row["symbol"],
        root=row["root"],
        quantity=int(row["quantity"]),
        cost_usd=row["cost_usd"],
    )
    return position.unrealized_pnl(row["last_price"], point_value=INSTRUMENTS[position.root].point_value)


def _encode(row: Row) -> str:
    return urlsafe_b64encode(row["account_id"].bytes + row["symbol"].encode()).decode()


def _decode(cursor: str) -> list[Any]:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii"))
        symbol = raw[16:].decode("ascii")
        account_id = UUID(bytes=raw[:16])
    except ValueError:
        raise InvalidCursor(cursor) from None
    if not symbol.isalnum() or urlsafe_b64encode(raw).decode() != cursor:
        raise InvalidCursor(cursor)
    return [account_id, symbol]


_LIST = """
    select account_id, symbol, root, quantity, cost_usd, average_price, realized_pnl, (
        select price from signals
        where signals.user_id = positions.user_id and signals.root = positions.root and price is not null
        order by received_at desc, id desc limit 1
    ) as last_price
    from positions where user_id = $1 and quantity <> 0
"""
