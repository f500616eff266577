"""From a decision to rows, and from rows to the book that the next decision starts from."""

from dataclasses import dataclass
from datetime import datetime

from trendedge.domain.accounts import Account, Mode
from trendedge.domain.execution import Book, Execution, ExecutionRequest
from trendedge.domain.positions import Position
from trendedge.domain.signals import Direction
from trendedge.domain.trades import Trade, TradeStatus
from trendedge.runtime.errors import Fenced
from trendedge.runtime.ownership import Owner
from trendedge.storage.errors import StoreUnavailable, UnknownAccount
from trendedge.storage.execution_rows import Trace, encode
from trendedge.storage.execution_sql import COMMIT, OUTCOME, REOPEN, WHY_NOT
from trendedge.storage.postgres import STORE, Database, Row
from trendedge.storage.values import as_uuid

__all__ = [
    "MARK_TTL_S",
    "AlreadyCommitted",
    "Committed",
    "DuplicateMark",
    "Known",
    "Outcome",
    "StaleBook",
    "Trace",
    "commit_execution",
    "load_book",
    "reopen_signal",
    "select_outcome",
]

MARK_TTL_S = 60
"""Two signals with the same mark, received less than this apart, are one (CONTRACT, "Dedup")."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything is stored."""


@dataclass(frozen=True, slots=True)
class AlreadyCommitted:
    """This signal has its outcome already: it was delivered a second time. Nothing was written."""


@dataclass(frozen=True, slots=True)
class DuplicateMark:
    """Another signal had the same mark within the last minute. Nothing was written."""

    first_id: str
    """The signal that came first."""


@dataclass(frozen=True, slots=True)
class StaleBook:
    """The account has changed since the book was loaded. Nothing was written: load it again and decide anew."""


type Outcome = Committed | AlreadyCommitted | DuplicateMark | StaleBook


async def commit_execution(
    db: Database,
    request: ExecutionRequest,
    execution: Execution,
    *,
    before: Book,
    mark: str | None,
    trace: Trace,
    owner: Owner,
) -> Outcome:
    """Store all that a signal led to, or nothing, in one statement. A rejection is stored as well.

    :param before: the book on which `execution` was decided
    :param mark: the dedup mark to take along; None stores the signal whoever holds it, as a recorded duplicate
    :param owner: who has the signal in hand
    :raises Fenced: the signal is another process's by now, which commits in its stead; nothing was written
    :raises UnknownAccount: the account, or its user, does not exist (any more); trying again does not help
    :raises StoreUnavailable: nothing is known to be stored; commit again
    """
    args = (
        as_uuid(request.signal_id),
        as_uuid(request.user_id),
        as_uuid(request.account_id),
        before.account.version,
        mark,
        request.received_at,
        MARK_TTL_S,
        encode(request, execution, trace),
        owner.mailbox,
        owner.node,
        owner.epoch,
    )
    async with db.connection() as connection:
        row = _one(await connection.fetchrow(COMMIT, *args))
        if row["committed"]:
            return Committed()
        if not row["owned"]:
            raise Fenced(owner.mailbox, owner.epoch)
        if row["fenced"]:
            # The mark was lost, or the same signal was stored while this statement waited. What the winner wrote may
            # be younger than what this statement could see.
            row = _one(await connection.fetchrow(WHY_NOT, args[0], mark))
            if row["holder"] not in (None, request.signal_id) and not row["known"]:
                return DuplicateMark(row["holder"])
    if row["known"]:
        return AlreadyCommitted()
    if row["account_exists"]:
        return StaleBook()
    raise UnknownAccount(request.account_id, request.user_id)


async def reopen_signal(db: Database, signal_id: str, *, owner: Owner) -> bool:
    """Let a signal that was given up have another outcome: it is `accepted` again. False where it was not dead.

    :param owner: who has its replay in hand
    :raises Fenced: it is another process's by now, which has perhaps given it up again; nothing was written
    """
    row = _one(await db.fetchrow(REOPEN, as_uuid(signal_id), owner.mailbox, owner.node, owner.epoch))
    if not row["owned"]:
        raise Fenced(owner.mailbox, owner.epoch)
    return bool(row["reopened"])


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a signal before it is committed."""

    status: str | None
    """None when it is not stored; `accepted` when it is, without an outcome."""
    first_id: str | None
    """Another signal, which holds the mark."""


async def select_outcome(db: Database, signal_id: str, *, mark: str, at: datetime) -> Known:
    """What would stand in the way of a signal with this mark that was received `at`."""
    row = _one(await db.fetchrow(OUTCOME, as_uuid(signal_id), mark, at, MARK_TTL_S))
    return Known(row["status"], row["first_id"])


def _one(row: Row | None) -> Row:
    if row is None:
        raise StoreUnavailable(STORE, "a statement that gives one row gave none")
    return row


async def load_book(db: Database, account_id: str) -> Book:
    """The account with its positions and open trades, all of one moment.

    :raises UnknownAccount: there is none with this id
    """
    key = as_uuid(account_id)
    async with db.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        account = await connection.fetchrow(_ACCOUNT, key)
        positions = await connection.fetch(_POSITIONS, key)
        trades = await connection.fetch(_OPEN_TRADES, key)
    if account is None:
        raise UnknownAccount(account_id)
    return Book(
        account=_account(account),
        positions={row["symbol"]: _position(row, account_id) for row in positions},
        open_trades={row["symbol"]: _trade(row) for row in trades},
        system_halted=account["system_halted"],
    )


def _account(row: Row) -> Account:
    return Account(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        name=row["name"],
        mode=Mode(row["mode"]),
        broker=row["broker"],
        currency=row["currency"],
        starting_equity=row["starting_equity"],
        default_quantity=row["default_quantity"],
        slippage_ticks=row["slippage_ticks"],
        commission=row["commission"],
        any_hour=row["any_hour"],
        halted=row["halted"],
        version=row["version"],
        realized_pnl=row["realized_pnl"],
        commissions=row["commissions"],
    )


def _position(row: Row, account_id: str) -> Position:
    return Position(
        account_id=account_id,
        symbol=row["symbol"],
        root=row["root"],
        quantity=int(row["quantity"]),
        cost_usd=row["cost_usd"],
        average_price=row["average_price"],
        realized_pnl=row["realized_pnl"],
    )


def _trade(row: Row) -> Trade:
    return Trade(
        id=str(row["id"]),
        signal_id=str(row["signal_id"]),
        account_id=str(row["account_id"]),
        symbol=row["symbol"],
        root=row["root"],
        direction=Direction(row["direction"]),
        quantity=int(row["quantity"]),
        entry_value=row["entry_value"],
        opened_at=row["opened_at"],
        exit_quantity=int(row["exit_quantity"]),
        exit_value=row["exit_value"],
        gross_pnl=row["gross_pnl"],
        commission=row["commission"],
        r_multiple=row["r_multiple"],
        mae=row["mae"],
        mfe=row["mfe"],
        status=TradeStatus(row["status"]),
        closed_at=row["closed_at"],
        playbook_id=row["playbook_id"],
    )


_ACCOUNT = """
    select id, user_id, name, mode, broker, currency, starting_equity, default_quantity, slippage_ticks, commission,
        any_hour, accounts.halted, version, realized_pnl, commissions, trading_halt.halted as system_halted
    from accounts, trading_halt where id = $1
"""
_POSITIONS = """
    select symbol, root, quantity, cost_usd, average_price, realized_pnl from positions where account_id = $1
"""
_OPEN_TRADES = """
    select id, signal_id, account_id, symbol, root, direction, quantity, entry_value, opened_at, exit_quantity,
        exit_value, gross_pnl, commission, r_multiple, mae, mfe, status, closed_at, playbook_id
    from trades where account_id = $1 and status = 'open'
"""
