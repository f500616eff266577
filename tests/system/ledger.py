"""What PostgreSQL holds, read past the product, and the rules that it has to obey whatever happened."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

type Connection = asyncpg.Connection[asyncpg.Record]

FINAL = frozenset({"filled", "rejected"})
"""How a signal of these tests may end. `dead` and `quarantined` are ends too, but nothing here deserves them."""


class Ledger:
    """One database. Each question opens its own connection, so that a server may be gone in between."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def change_account(self, user_id: str, **columns: Any) -> None:
        """Set columns of the one account of a user who has not traded yet: the executor keeps what it has read."""
        changes = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, start=2))
        async with self._connection() as db:
            changed = await db.execute(
                f"update accounts set {changes} where user_id = $1", UUID(user_id), *columns.values()
            )
        assert changed == "UPDATE 1", f"a new user has one account: {changed}"

    async def outcomes(self, user_id: str) -> dict[str, str]:
        """Status by signal id of all signals of a user."""
        async with self._connection() as db:
            rows = await db.fetch("select id, status from signals where user_id = $1", UUID(user_id))
        return {str(row["id"]): row["status"] for row in rows}

    async def alerts(self, user_id: str) -> set[str]:
        """The senders' ids of all signals that are stored."""
        async with self._connection() as db:
            rows = await db.fetch("select distinct sender_id from signals where user_id = $1", UUID(user_id))
        return {row["sender_id"] for row in rows}

    async def places(self, user_id: str) -> dict[str, int]:
        """When each signal that was filled was executed: the number of its first event among the user's."""
        async with self._connection() as db:
            rows = await db.fetch(
                "select data->>'signal_id' as id, min(seq) as seq from events where user_id = $1 group by 1",
                UUID(user_id),
            )
        return {row["id"]: row["seq"] for row in rows}

    @asynccontextmanager
    async def holding_account(self, user_id: str) -> AsyncIterator[None]:
        """Keep everybody from committing to the user's account for as long as the block runs: they wait."""
        async with self._connection() as db, db.transaction():
            await db.execute("select from accounts where user_id = $1 for update", UUID(user_id))
            yield

    async def have_outcomes(self, user_id: str, signal_ids: Collection[str]) -> bool:
        """Whether each of these signals has come to its end."""
        outcomes = await self.outcomes(user_id)
        return all(outcomes.get(signal_id) in FINAL for signal_id in signal_ids)

    async def faults(self, user_id: str) -> list[str]:
        """Every violation of "exactly once", each as a sentence; empty when all is well."""
        async with self._connection() as db:
            return [
                f"{rule}: {dict(row)}" for rule, query in _RULES.items() for row in await db.fetch(query, UUID(user_id))
            ]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        db = await asyncpg.connect(self._url, timeout=10)
        try:
            yield db
        finally:
            await db.close()


_RULES = {
    # PostgreSQL has the last word: what slipped past the mark in Redis ends as a duplicate, with an id of its own.
    "of the signals with one id of the sender's, one is no duplicate": """
        select sender_id, count(*) as signals from signals where user_id = $1 and sender_id is not null
        group by sender_id having count(*) filter (where rejection->>'code' is distinct from 'DUPLICATE') <> 1
    """,
    "a signal that was filled has one order, one that was not has none": """
        select s.id, s.status, count(o.id) as orders from signals s left join orders o on o.signal_id = s.id
        where s.user_id = $1 group by s.id having count(o.id) <> (s.status = 'filled')::int
    """,
    "an order's fills are its quantity": """
        select o.id, o.quantity, sum(f.quantity) as filled from orders o left join fills f on f.order_id = o.id
        where o.user_id = $1 group by o.id having sum(f.quantity) is distinct from o.quantity
    """,
    "a position is the signed sum of the fills": """
        select * from (
            select o.account_id, o.symbol,
                   sum(case o.side when 'buy' then f.quantity else -f.quantity end) as fills
            from orders o join fills f on f.order_id = o.id where o.user_id = $1 group by 1, 2
        ) traded full join (
            select account_id, symbol, quantity from positions where user_id = $1
        ) held using (account_id, symbol)
        where coalesce(traded.fills, 0) <> coalesce(held.quantity, 0)
    """,
    "a position is one open trade of that size": """
        select * from (
            select account_id, symbol, abs(quantity) as held from positions where user_id = $1 and quantity <> 0
        ) position full join (
            select account_id, symbol, sum(quantity - exit_quantity) as open, count(*) as trades from trades
            where user_id = $1 and status = 'open' group by 1, 2
        ) trade using (account_id, symbol)
        where held is distinct from open or trades > 1
    """,
    "an event is announced once": """
        select type, data->>'signal_id' as signal, data->>'trade_id' as trade, count(*) from events
        where user_id = $1 group by 1, 2, 3 having count(*) > 1
    """,
    "a filled signal is in the journal": """
        select s.id from signals s left join journal_entries j on j.signal_id = s.id
        where s.user_id = $1 and s.status = 'filled' group by s.id having count(j.id) = 0
    """,
}
