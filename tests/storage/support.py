"""What several storage tests need: a trader with an account, and signals to trade."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from trendedge.domain.execution import Book, ExecutionRequest, decide
from trendedge.domain.signals import Action, Dialect, Signal
from trendedge.domain.symbols import Symbol
from trendedge.runtime.ownership import Owner
from trendedge.storage.executions import Outcome, Trace, commit_execution, load_book
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.node import DEFAULT_TIMES, LeaseTimes
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.pending import DOUBT_S
from trendedge.storage.postgres import Database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_journal import RedisJournal
from trendedge.storage.users import ensure_user

EXECUTOR = "executor"
NOON = datetime(2026, 11, 18, 18, 0, tzinfo=UTC)
"""A Wednesday at noon in Chicago: every product trades."""


def signal(
    action: Action = Action.BUY, *, quantity: int | None = 1, price: str | None = "18500", **more: Any
) -> Signal:
    """An alert on MNQ; `more` overrides any field."""
    plain = Signal(
        action=action,
        symbol=Symbol.parse("MNQ", today=date(2026, 11, 18)),
        dialect=Dialect.JSON,
        quantity=quantity,
        price=None if price is None else Decimal(price),
    )
    return replace(plain, **more)


@dataclass(frozen=True)
class Journals:
    """The journals of one process."""

    redis: RedisJournal
    postgres: PostgresJournal
    both: FailoverJournal
    ownership: PostgresOwnership


async def own(
    database: Database,
    redis: RedisStore,
    mailbox: str,
    node: str = "a",
    *,
    doubt_s: float = DOUBT_S,
    times: LeaseTimes = DEFAULT_TIMES,
    on_change: Callable[[bool], None] = lambda degraded: None,
) -> Journals:
    """Open the journals as a process with this node id does, and own the mailbox."""
    ownership = PostgresOwnership(database, node=node, times=times)
    await ownership.take(mailbox)
    in_redis = RedisJournal(redis, ownership=ownership, doubt_s=doubt_s)
    in_postgres = PostgresJournal(database, ownership=ownership, doubt_s=doubt_s)
    both = FailoverJournal(in_redis, in_postgres, speaker=redis, ownership=ownership, on_change=on_change)
    return Journals(in_redis, in_postgres, both, ownership)


WAITS = "select exists (select from pg_locks where not granted)"
"""Whether somebody waits for a lock."""
IN_TRANSACTION = "select exists (select from pg_stat_activity where state = 'idle in transaction')"
"""Whether somebody has begun a transaction and does nothing in it."""


async def until_it_says(database: Database, question: str, answer: object = True) -> None:
    """Return when the server answers so, which tells nobody by itself."""
    async with asyncio.timeout(20):
        while await database.fetchval(question) != answer:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)


async def end_lease(redis: RedisStore, database: Database, mailbox: str, node: str) -> None:
    """What has happened when the node has said nothing for the length of its lease."""
    owners = f"owners:{mailbox}"
    held = await redis.command("HGET", owners, node)
    if held is not None:
        await redis.command("HSET", owners, node, held.partition(b":")[0] + b":0")
    await database.execute(
        "update mailbox_owners set lease_until = now() where mailbox = $1 and node = $2", mailbox, node
    )


@dataclass(frozen=True)
class Trader:
    """A user with one paper account."""

    db: Database
    user_id: str
    account_id: str
    owner: Owner

    @classmethod
    async def join(cls, db: Database, email: str = "trader@example.com") -> "Trader":
        user = await ensure_user(db, email=email)
        account_id = await db.fetchval("select id from accounts where user_id = $1::text::uuid", user.id)
        ownership = PostgresOwnership(db, node=str(uuid4()))
        await ownership.take(EXECUTOR)
        return cls(db, user.id, str(account_id), ownership.of(EXECUTOR))

    def request(
        self, what: Signal | None = None, *, id: str | None = None, at: datetime = NOON, after_s: float = 0.0
    ) -> ExecutionRequest:
        """The signal, addressed to the account."""
        return ExecutionRequest(
            signal_id=id or str(uuid4()),
            user_id=self.user_id,
            account_id=self.account_id,
            received_at=at + timedelta(seconds=after_s),
            signal=what or signal(),
        )

    async def book(self) -> Book:
        return await load_book(self.db, self.account_id)

    async def commit(
        self, request: ExecutionRequest, *, book: Book | None = None, mark: str | None = None, raw: str = "{}"
    ) -> Outcome:
        """Decide on the book (the stored one by default) and store the outcome."""
        before = book or await self.book()
        execution = decide(request, book=before, last_price=None, now=request.received_at)
        return await commit_execution(
            self.db, request, execution, before=before, mark=mark, trace=Trace(raw=raw), owner=self.owner
        )

    async def trade(self, action: Action, *, quantity: int | None = 1, price: str = "18500", after_s: float = 0) -> str:
        """One signal all the way; its id."""
        request = self.request(signal(action, quantity=quantity, price=price), after_s=after_s)
        await self.commit(request)
        return request.signal_id
