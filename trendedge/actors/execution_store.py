"""What the executor needs of a store. PostgreSQL is one (`storage.execution_store`); the simulation has another."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from trendedge.domain.book import Book, ExecutionRequest, LastPrice
from trendedge.domain.execution import Execution
from trendedge.storage.events import StoredEvent
from trendedge.storage.executions import Outcome, Trace


class ExecutionStore(Protocol):
    """All methods raise `StoreUnavailable` when the store cannot be reached; nothing is then known to be stored."""

    async def load_book(self, account_id: str) -> Book:
        """The account with its positions and open trades, all of one moment.

        :raises UnknownAccount: there is none with this id
        """
        ...

    async def commit(
        self, request: ExecutionRequest, execution: Execution, *, before: Book, mark: str | None, trace: Trace
    ) -> Outcome:
        """Store all that a signal led to, or nothing, atomically; `before` is the book that was decided on.

        :raises Fenced: the signal is another process's by now, which executes it in this one's stead
        :raises UnknownAccount: the account does not exist (any more)
        """
        ...

    async def last_price(self, *, user_id: str, root: str, since: datetime) -> LastPrice | None:
        """The newest price of `root` that this user's signals have brought since then."""
        ...

    async def events_of_signal(self, user_id: str, signal_id: str) -> Sequence[StoredEvent]:
        """What was told of a signal that is stored, in the order in which it was told."""
        ...
