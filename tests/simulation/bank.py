"""The execution store in memory: what PostgreSQL guarantees, as plain code that a fault can hit at either end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from trendedge.actors.tree import EXECUTOR_MAILBOX
from trendedge.domain.accounts import Account
from trendedge.domain.book import Book, ExecutionRequest, LastPrice
from trendedge.domain.events import CHANNEL
from trendedge.domain.execution import Execution, ExecutionStatus
from trendedge.domain.fills import Fill
from trendedge.domain.positions import Position
from trendedge.domain.trades import Trade, TradeStatus
from trendedge.runtime import Fenced
from trendedge.runtime.ownership import Owner, Ownership
from trendedge.runtime.simulation import GoodWire, MemoryRegistry, Wire
from trendedge.storage.errors import UnknownAccount
from trendedge.storage.events import StoredEvent
from trendedge.storage.executions import (
    MARK_TTL_S,
    AlreadyCommitted,
    Committed,
    DuplicateMark,
    Outcome,
    StaleBook,
    Trace,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One committed signal."""

    request: ExecutionRequest
    execution: Execution
    before: int
    """The account's version that the decision was made on."""
    owned: bool
    """Whether whoever committed owned the mail at that moment."""


@dataclass
class Bank:
    """The tables. Every method is one transaction; the four safeguards of a commit are methods of their own."""

    accounts: dict[str, Account] = field(default_factory=dict)
    signals: dict[str, Row] = field(default_factory=dict)
    """By signal id, in the order of their first commits."""
    commits: list[Row] = field(default_factory=list)
    marks: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    trades: dict[str, Trade] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    """The epochs stand where the commits are made."""

    def book(self, account_id: str) -> Book:
        """As `executions.load_book`."""
        if account_id not in self.accounts:
            raise UnknownAccount(account_id)
        positions = {symbol: held for (account, symbol), held in self.positions.items() if account == account_id}
        of_account = [trade for trade in self.trades.values() if trade.account_id == account_id]
        trades = {trade.symbol: trade for trade in of_account if trade.status is TradeStatus.OPEN}
        return Book(account=self.accounts[account_id], positions=positions, open_trades=trades)

    def commit(
        self, request: ExecutionRequest, execution: Execution, *, before: Book, mark: str | None, owner: Owner
    ) -> Outcome:
        """As `executions.commit_execution`."""
        if self.fenced(owner):
            self.outcomes["Fenced"] += 1
            raise Fenced(owner.mailbox, owner.epoch)
        outcome = self._commit(request, execution, before, mark, owner)
        self.outcomes[type(outcome).__name__] += 1
        return outcome

    def _commit(
        self, request: ExecutionRequest, execution: Execution, before: Book, mark: str | None, owner: Owner
    ) -> Outcome:
        if self.known(request.signal_id):
            return AlreadyCommitted()
        if request.account_id not in self.accounts:
            raise UnknownAccount(request.account_id, request.user_id)
        if self.stale(before.account):
            return StaleBook()
        holder = None if mark is None else self.holder(mark, request)
        if holder is not None:
            return DuplicateMark(holder)
        if mark is not None and self.marks.get(mark, ("",))[0] != request.signal_id:
            self.marks[mark] = (request.signal_id, request.received_at)
        self._store(Row(request, execution, before.account.version, self.registry.valid(owner)))
        return Committed()

    def fenced(self, owner: Owner) -> bool:
        """The epoch: somebody else has adopted the mail."""
        return not self.registry.valid(owner)

    def known(self, signal_id: str) -> bool:
        """The primary key of the signals."""
        return signal_id in self.signals

    def stale(self, account: Account) -> bool:
        """The version as fence."""
        return self.accounts[account.id].version != account.version

    def holder(self, mark: str, request: ExecutionRequest) -> str | None:
        """The signal that has had this meaning within the window, if it is another one."""
        first, at = self.marks.get(mark, (request.signal_id, request.received_at))
        fresh = abs(request.received_at - at) < timedelta(seconds=MARK_TTL_S)
        return first if first != request.signal_id and fresh else None

    def _store(self, row: Row) -> None:
        execution = row.execution
        self.signals.setdefault(row.request.signal_id, row)
        self.commits.append(row)
        if execution.status is ExecutionStatus.FILLED:
            settings = self.accounts[row.request.account_id]
            booked = execution.book.account
            self.accounts[settings.id] = replace(
                settings, version=booked.version, realized_pnl=booked.realized_pnl, commissions=booked.commissions
            )
        self.positions |= {(position.account_id, position.symbol): position for position in execution.positions}
        self.trades |= {trade.id: trade for trade in execution.trades}
        self.fills += execution.fills

    def last_price(self, user_id: str, root: str, since: datetime) -> LastPrice | None:
        """As `prices.select_last_price`."""
        priced = [
            row.request
            for row in self.signals.values()
            if row.request.user_id == user_id
            and row.request.signal.symbol.root == root
            and row.request.signal.price is not None
            and row.request.received_at >= since
        ]
        newest = max(priced, key=lambda request: (request.received_at, request.signal_id), default=None)
        if newest is None or newest.signal.price is None:
            return None
        return LastPrice(root=root, price=newest.signal.price, at=newest.received_at)

    def events(self, signal_id: str) -> list[StoredEvent]:
        """As `events.select_events_of_signal`."""
        row = self.signals.get(signal_id)
        told = () if row is None else row.execution.events
        return [StoredEvent(event.id, CHANNEL, event.type.value, event.at, event.data) for event in told]


class BankExecutions:
    """The executor's store over a `Bank`, as one process reaches it."""

    def __init__(self, bank: Bank, ownership: Ownership, wire: Wire | None = None) -> None:
        self._bank = bank
        self._ownership = ownership
        self._wire = wire or GoodWire()

    async def load_book(self, account_id: str) -> Book:
        """As `ExecutionStore.load_book`."""
        return await self._wire.call("load_book", lambda: self._bank.book(account_id))

    async def commit(
        self, request: ExecutionRequest, execution: Execution, *, before: Book, mark: str | None, trace: Trace, **_: Any
    ) -> Outcome:
        """As `ExecutionStore.commit`."""
        owner = self._ownership.of(EXECUTOR_MAILBOX)
        try:
            return await self._wire.call(
                "commit", lambda: self._bank.commit(request, execution, before=before, mark=mark, owner=owner)
            )
        except Fenced as error:
            raise self._ownership.lost(owner) from error

    async def last_price(self, *, user_id: str, root: str, since: datetime) -> LastPrice | None:
        """As `ExecutionStore.last_price`."""
        return await self._wire.call("last_price", lambda: self._bank.last_price(user_id, root, since))

    async def events_of_signal(self, user_id: str, signal_id: str) -> Sequence[StoredEvent]:
        """As `ExecutionStore.events_of_signal`."""
        return await self._wire.call("events_of_signal", lambda: self._bank.events(signal_id))
