"""What the executor needs of PostgreSQL, as one object: books, commits, prices and the events of a signal."""

from datetime import datetime

from trendedge.domain.execution import Book, Execution, ExecutionRequest, LastPrice
from trendedge.runtime.errors import Fenced
from trendedge.storage.events import StoredEvent, select_events_of_signal
from trendedge.storage.executions import Outcome, Trace, commit_execution, load_book, reopen_signal
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database
from trendedge.storage.prices import select_last_price


class PostgresExecutions:
    """The execution store (`actors.execution_store.ExecutionStore`) on PostgreSQL."""

    __slots__ = ("_database", "_mailbox", "_ownership")

    def __init__(self, database: Database, ownership: PostgresOwnership, *, mailbox: str) -> None:
        """:param mailbox: whose messages lead to the executions: only its owner may commit"""
        self._database = database
        self._ownership = ownership
        self._mailbox = mailbox

    async def load_book(self, account_id: str) -> Book:
        """As `executions.load_book`."""
        return await load_book(self._database, account_id)

    async def commit(
        self, request: ExecutionRequest, execution: Execution, *, before: Book, mark: str | None, trace: Trace
    ) -> Outcome:
        """As `executions.commit_execution`.

        :raises Fenced: the mail is another process's by now
        """
        owner = self._ownership.of(self._mailbox)
        try:
            return await commit_execution(
                self._database, request, execution, before=before, mark=mark, trace=trace, owner=owner
            )
        except Fenced as error:
            raise self._ownership.lost(owner) from error

    async def reopen(self, signal_id: str) -> bool:
        """As `executions.reopen_signal`.

        :raises Fenced: the mail is another process's by now
        """
        owner = self._ownership.of(self._mailbox)
        try:
            return await reopen_signal(self._database, signal_id, owner=owner)
        except Fenced as error:
            raise self._ownership.lost(owner) from error

    async def last_price(self, *, user_id: str, root: str, since: datetime) -> LastPrice | None:
        """As `prices.select_last_price`."""
        return await select_last_price(self._database, user_id=user_id, root=root, since=since)

    async def events_of_signal(self, user_id: str, signal_id: str) -> list[StoredEvent]:
        """As `events.select_events_of_signal`."""
        return await select_events_of_signal(self._database, user_id, signal_id)
