"""A pooler that has no database, and a server that is ill, are outages: they bury nothing, and crash nobody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.runtime.support import running, until
from tests.storage.support import own
from tests.storage.test_journals import BOX, LETTER, append
from trendedge.runtime import Actor, ChildSpec, Durability, DurableRef, MailboxSpec, RetryPolicy, SupervisorSpec
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Settlement
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore

_TLS = (80877103).to_bytes(4)


class Pooler:
    """Takes each connection, and ends it with one error, as Supavisor and PgBouncer do that have no database."""

    def __init__(self, code: str, fields: str = "SV") -> None:
        """:param fields: in which the severity is told: PgBouncer has no `V`"""
        self.url = ""
        self.asked = 0
        said = [*(f"{name}FATAL" for name in fields), f"C{code}", "MUnable to check out process from the pool", "", ""]
        self._error = "\0".join(said).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client."""
        while (await self._message(reader))[:4] == _TLS:
            writer.write(b"N")
        self.asked += 1
        writer.write(b"E" + (len(self._error) + 4).to_bytes(4) + self._error)
        writer.close()

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)


@asynccontextmanager
async def pooler(code: str = "XX000", fields: str = "SV") -> AsyncIterator[Pooler]:
    serving = Pooler(code, fields)
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.url = f"postgresql://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
    async with server:
        yield serving


@pytest.mark.parametrize("fields", ["SV", "S"])
@pytest.mark.parametrize(
    "code", ["XX000", "08P01", "08006", "53300", "57P01", "57P02", "57P03", "58000", "25P03", "28000", "55000", "99999"]
)
async def test_whoever_ends_the_session_is_away_whatever_code_it_gives(code: str, fields: str) -> None:
    async with pooler(code, fields) as between, open_database(between.url) as database:
        with pytest.raises(StoreUnavailable):
            await database.fetchval("select 1")
        assert between.asked == 1


def raising(code: str) -> str:
    return f"do $$ begin raise exception 'so it is' using errcode = '{code}'; end $$"


@pytest.mark.parametrize(
    "code",
    [
        *("XX000", "XX001", "XX002"),  # internal errors, damaged data, a damaged index
        *("58000", "58030", "58P01"),  # the server's own system
        *("53100", "53200", "57014", "55P03", "40P01", "25006"),
    ],
)
async def test_what_a_server_says_that_is_ill_is_an_outage(database: Database, code: str) -> None:
    with pytest.raises(StoreUnavailable):
        await database.execute(raising(code))


@pytest.mark.parametrize(
    "code", ["54000", "55000", "0A000", "22001", "22P02", "23505", "26000", "42501", "42601", "42P01", "P0001"]
)
async def test_a_refusal_that_will_be_the_same_the_next_time_is_no_outage(database: Database, code: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await database.execute(raising(code))
    assert caught.value.sqlstate == code


type Act = Callable[[PostgresJournal], Awaitable[object]]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda journal: journal.append(BOX, b"x"), id="append"),
        pytest.param(lambda journal: journal.settle(BOX, [Settlement("1-1")]), id="settle"),
        pytest.param(lambda journal: journal.bury(BOX, "1-1", b"x", LETTER), id="bury"),
        pytest.param(lambda journal: journal.adopt(BOX), id="adopt"),
        pytest.param(lambda journal: journal.count(BOX), id="count"),
    ],
)
async def test_a_journal_behind_a_pooler_without_a_database_is_unavailable(
    database: Database, redis_store: RedisStore, act: Act
) -> None:
    ownership = (await own(database, redis_store, BOX)).ownership
    async with pooler() as between, open_database(between.url) as cut_off:
        with pytest.raises(JournalUnavailable):
            await act(PostgresJournal(cut_off, ownership=ownership))


async def test_what_is_settled_meanwhile_is_settled_when_there_is_a_database_again(
    database: Database, redis_store: RedisStore
) -> None:
    journals = await own(database, redis_store, BOX)
    entry_id = await append(journals.postgres, b"x")  # Redis was down when it came
    async with pooler() as between, open_database(between.url) as cut_off:
        journals.postgres._database = cut_off
        await journals.both.settle(BOX, [Settlement(f"2:{entry_id}")])
    assert await database.fetchval("select count(*) from mailbox_entries") == 1
    journals.postgres._database = database
    mending = asyncio.create_task(journals.both.run())
    async with asyncio.timeout(30):
        while await journals.both.count(BOX) != (0, 0):  # noqa: ASYNC110 - the state of a server, which tells nobody
            await asyncio.sleep(0.01)
    mending.cancel()


async def test_a_pooler_without_a_database_buries_nothing_that_was_acknowledged(
    database: Database, redis_store: RedisStore
) -> None:
    journals = await own(database, redis_store, BOX)
    async with pooler() as between, open_database(between.url) as cut_off:

        class Commits(Actor[str]):
            async def receive(self, message: str) -> None:
                await cut_off.execute("select 1")

        in_postgres = PostgresJournal(cut_off, ownership=journals.ownership)
        both = FailoverJournal(journals.redis, in_postgres, speaker=redis_store, ownership=journals.ownership)
        ref = DurableRef[str]("executor")
        spec = ChildSpec(
            "executor",
            Commits,
            ref,
            mailbox=MailboxSpec(10),
            retry=RetryPolicy(delays_s=(0.01, 0.01), outage=(StoreUnavailable,), outage_delays_s=(0.01,)),
            durability=Durability(both, BOX, str.encode, bytes.decode),
        )
        async with running(SupervisorSpec("root", [spec])):
            await ref.tell("a signal")
            begun = between.asked
            await until(lambda: between.asked >= begun + 10)
    assert await journals.both.count(BOX) == (1, 0)
