"""PostgreSQL behind one small class: a pool, bounded waits, and errors that say what happened."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from trendedge.storage.errors import InvalidStoreUrl, StoreUnavailable

type Connection = PoolConnectionProxy[asyncpg.Record]
type Row = asyncpg.Record
type Pool = asyncpg.Pool[asyncpg.Record]
type RawConnection = asyncpg.Connection[asyncpg.Record]

STORE = "PostgreSQL"
_NEXT_S = 5.0
"""For so long the server waits for the next of several statements that have no time-out of their own."""
SUPAVISOR_TRANSACTION_PORT = 6543
"""Supabase's pooler in transaction mode: no prepared statements, no session state."""

_UNAVAILABLE = (
    OSError,  # includes TimeoutError and ConnectionError
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure: the same statement may succeed next time
    asyncpg.InvalidAuthorizationSpecificationError,  # includes a wrong password
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # the primary has become a standby, or its disk is nearly full (Supabase)
    asyncpg.LockNotAvailableError,  # lock_timeout, which whoever runs the server may set: as a statement timeout
    asyncpg.PostgresSystemError,  # what the server's own system refuses it: files, the disk
    # Never our mistake, by its definition: the server, its files or its indexes are broken. And whatever Supavisor has
    # to say of itself, above all that it has no connection to the database.
    asyncpg.InternalServerError,
    asyncpg.InternalClientError,
)
# Not ProgramLimitExceededError: an index entry that is too long is one, and will be as long the next time.
# Nor ObjectNotInPrerequisiteStateError, InvalidCachedStatementError, InvalidSQLStatementNameError: our statements.
_SESSION_ENDED = frozenset({"FATAL", "PANIC"})
"""With these the server, or a pooler before it, closes the connection: whatever the code, the statement has no part."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long anything may take, in seconds, and how many connections there are (PRD INF-FR-004)."""

    pool_size: int = 10
    connect_s: float = 5.0
    acquire_s: float = 5.0
    statement_s: float = 30.0
    idle_s: float = 300.0


class Database:
    """A pool of connections to one PostgreSQL database.

    Every method raises `StoreUnavailable` when the server cannot be reached or does not answer within the limits.
    Connections are opened when they are first needed: a `ping` after `open_database` tells whether the server is there.
    """

    def __init__(self, pool: Pool, address: str, limits: Limits, *, cut_off: bool = False) -> None:
        """:param cut_off: as `cutting_off` says"""
        self._pool = pool
        self._limits = limits
        self._cut_off = cut_off
        self.address = address
        """`host:port/database`, for people; never with credentials."""
        self.version: str | None = None
        """The server's version, known after the first `ping`."""

    def cutting_off(self) -> "Database":
        """The same pool, for who must not wait: with a statement that is cancelled goes its connection.

        asyncpg would keep the connection, and not return before the server has heard of the cancellation. A statement
        that is cut off is not called back: it may still be executed, late.
        """
        return Database(self._pool, self.address, self._limits, cut_off=True)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection for as long as the block runs. Statements outside of a transaction commit one by one."""
        with unavailable_as_such():
            async with self._pool.acquire(timeout=self._limits.acquire_s) as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    if self._cut_off:
                        connection.terminate()
                    raise

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction that commits when the block ends without an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """All rows of one statement."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        """The first row of one statement, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row of one statement, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run one statement; the command tag, for example `UPDATE 1`."""
        async with self.connection() as connection:
            return await connection.execute(sql, *args)

    async def in_turn(self, *statements: tuple[Any, ...], answer_s: float | None = None) -> Row | None:
        """The first row of the last of these statements, each with its arguments, or None. Each sees all that was
        committed before it begins, and they are committed together.

        :param answer_s: within so many seconds each has to be answered
        """
        loop = asyncio.get_running_loop()
        rows: list[Row] = []
        try:
            async with asyncio.timeout(answer_s) as limit, self._in_turn(len(statements), answer_s) as connection:
                for statement, *args in statements:
                    limit.reschedule(None if answer_s is None else loop.time() + answer_s)
                    rows = await connection.fetch(statement, *args)  # all: what is not fetched is not locked
                limit.reschedule(None if answer_s is None else loop.time() + answer_s)
        except TimeoutError as error:
            raise StoreUnavailable(STORE, f"no answer within {answer_s:g} s") from error
        return rows[0] if rows else None

    @asynccontextmanager
    async def _in_turn(self, statements: int, answer_s: float | None) -> AsyncGenerator[Connection]:
        """A connection, inside a transaction if it is for several statements, that is closed when that fails: asyncpg
        would wait for the server before it raises what has failed.

        :param answer_s: for so long the server waits for a lock, since it does not hear of who gives up while it does;
            and for the next statement, lest who is stopped between two keeps what it has locked
        """
        begin = f"begin; set local idle_in_transaction_session_timeout = {round((answer_s or _NEXT_S) * 1000)}"
        if answer_s is not None:
            begin += f"; set local lock_timeout = {round(answer_s * 1000)}"
        async with self.cutting_off().connection() as connection:
            try:
                if statements > 1:
                    await connection.execute(begin)
                yield connection
                if statements > 1:
                    await connection.execute("commit")
            except Exception:
                connection.terminate()
                raise

    async def ping(self) -> float:
        """Seconds that an empty statement takes, the wait for a connection included."""
        begun = time.perf_counter()
        async with self.connection() as connection:
            await connection.execute("select")
            taken = time.perf_counter() - begun
            self.version = connection.get_settings().server_version.partition(" ")[0]
        return taken


@contextmanager
def unavailable_as_such() -> Generator[None]:
    """Turn what the driver raises about a server that is away into `StoreUnavailable`; all else passes without rows."""
    try:
        yield
    except _UNAVAILABLE as error:
        raise StoreUnavailable(STORE, describe(error)) from error
    except asyncpg.PostgresError as error:
        # It quotes the row, which may hold an alert with its passphrase; the error's text is logged and shown.
        error.detail = None
        if (error.severity_en or error.severity) not in _SESSION_ENDED:  # PgBouncer does not send the former
            raise
        raise StoreUnavailable(STORE, describe(error)) from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # a wrong argument: our mistake, not the server's
            raise
        raise StoreUnavailable(STORE, describe(error)) from error


def describe(error: BaseException) -> str:
    """One line for people: some errors (a timeout) have no text of their own."""
    return str(error).partition("\n")[0] or type(error).__name__


@asynccontextmanager
async def open_database(
    url: str, *, pool_size: int = 10, connect_timeout_s: float = 5.0, statement_timeout_s: float = 30.0
) -> AsyncIterator[Database]:
    """Open a pool on `url` (`postgresql://` or `postgresql+asyncpg://`) and close it when the block ends.

    :raises InvalidStoreUrl: the url names no PostgreSQL database
    """
    parts = split_url(url)
    limits = Limits(
        pool_size=pool_size, connect_s=connect_timeout_s, acquire_s=connect_timeout_s, statement_s=statement_timeout_s
    )
    pool = asyncpg.create_pool(
        urlunsplit(parts),
        min_size=0,
        max_size=pool_size,
        timeout=limits.connect_s,
        max_inactive_connection_lifetime=limits.idle_s,
        init=_prepare_connection,
        reset=_leave_as_is,
        **_session_options(parts.port, limits),
    )
    database = Database(await pool, address_of(parts), limits)
    try:
        yield database
    finally:
        await _close(pool)


async def _close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(2.0):
            await pool.close()
    except (TimeoutError, OSError, asyncpg.PostgresError):  # somebody still holds a connection, or the server is gone
        pool.terminate()


def split_url(url: str) -> SplitResult:
    """Take a database url apart, SQLAlchemy's `+asyncpg` removed.

    :raises InvalidStoreUrl: another scheme, or a port that is no number
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidStoreUrl(STORE, "the port is not a number") from error
    scheme = parts.scheme.removesuffix("+asyncpg")
    if scheme not in {"postgresql", "postgres"}:
        raise InvalidStoreUrl(STORE, "it must begin with postgresql://")
    return parts._replace(scheme=scheme)


def address_of(parts: SplitResult) -> str:
    """`host:port/database` of a url, without user and password."""
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}/{unquote(parts.path.lstrip('/'))}"


def _session_options(port: int | None, limits: Limits) -> dict[str, Any]:
    """A pooler in transaction mode forgets session settings and statements: the client has to keep the time itself."""
    if port == SUPAVISOR_TRANSACTION_PORT:
        return {"statement_cache_size": 0, "command_timeout": limits.statement_s}
    settings = {
        "application_name": "trendedge",
        "statement_timeout": str(int(limits.statement_s * 1000)),
        "jit": "off",  # all our statements are short; compiling one takes longer than running it
        # Planning the commit anew takes longer than running it (3.3 ms against 1.8), and PostgreSQL would do so five
        # times for each connection. None of our statements wants another plan for other values.
        "plan_cache_mode": "force_generic_plan",
    }
    # Later than the server's own, so that a statement that is merely slow ends with a reason; for a server gone silent.
    return {"server_settings": settings, "command_timeout": limits.statement_s + 5}


async def _prepare_connection(connection: RawConnection) -> None:
    # In a transaction: asyncpg looks types up with a session setting of its own, which a pooler would lose halfway.
    async with connection.transaction():
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", format="binary", encoder=_encode_jsonb, decoder=_decode_jsonb
        )
        # asyncpg's own decoder gives 1.0E+5 for 100000: equal, but nothing that anybody wants to read.
        await connection.set_type_codec("numeric", schema="pg_catalog", format="text", encoder=str, decoder=Decimal)


async def _leave_as_is(_: object) -> None:
    """Nothing here sets session state, so there is nothing to reset; asyncpg's own way is a round trip per release."""


def _encode_jsonb(value: Any) -> bytes:
    """Bytes are JSON already."""
    return b"\x01" + (value if isinstance(value, bytes) else orjson.dumps(value, default=str))


def _decode_jsonb(value: bytes) -> Any:
    return orjson.loads(memoryview(value)[1:])
