"""The last known price of a product: that of the newest signal that had one."""

from datetime import datetime
from typing import Final

from trendedge.domain.execution import LastPrice
from trendedge.storage.postgres import Database
from trendedge.storage.values import as_uuid


async def select_last_price(db: Database, *, user_id: str, root: str, since: datetime) -> LastPrice | None:
    """The newest price of `root` that this user's signals have brought since then; None when there was none.

    Other users' signals do not count: anybody could set the price at which a stranger's alert is filled.
    """
    row = await db.fetchrow(_LAST, as_uuid(user_id), root, since)
    return None if row is None else LastPrice(root=root, price=row["price"], at=row["received_at"])


_LAST: Final = """
    select price, received_at from signals
    where user_id = $1 and root = $2 and received_at >= $3 and price is not null
    order by received_at desc, id desc limit 1
"""
