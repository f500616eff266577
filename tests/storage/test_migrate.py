"""The schema goes up, down and up again."""

import os
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import asyncpg
import pytest

import trendedge
from trendedge.storage import migrate
from trendedge.storage.errors import InvalidStoreUrl, MigrationFailed, StoreUnavailable
from trendedge.storage.postgres import open_database

ROOT = Path(trendedge.__file__).parents[1]
CONTRACT_TABLES = {"users", "accounts", "signals", "orders", "fills", "trades", "positions", "journal_entries"}


async def parts(url: str) -> set[tuple[str, str]]:
    """Table and name of each column and each index of ours."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "select table_name, column_name as part from information_schema.columns where table_schema = 'public'"
            " union all select tablename, indexname from pg_indexes"
            " where schemaname = 'public' and tablename <> 'alembic_version'"
        )
    finally:
        await connection.close()
    return {(row["table_name"], row["part"]) for row in rows}


async def tables(url: str) -> set[str]:
    return {table for table, _ in await parts(url)}


async def up(url: str, revision: str = "head") -> None:
    await anyio.to_thread.run_sync(migrate.upgrade, url, revision)


async def down(url: str, revision: str) -> None:
    await anyio.to_thread.run_sync(migrate.downgrade, url, revision)


async def alembic(arguments: str, url: str) -> None:
    """The command as somebody types it; the direct url wins over the pooler's."""
    command = [sys.executable, "-m", "alembic", *arguments.split()]
    environment = {**os.environ, "DATABASE_DIRECT_URL": url, "DATABASE_URL": "postgresql://nowhere.invalid/x"}
    with anyio.fail_after(60):
        done = await anyio.run_process(command, cwd=ROOT, env=environment, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()


async def test_up_down_and_up_again(postgres_url: str) -> None:
    await up(postgres_url)
    first = await tables(postgres_url)
    assert first >= CONTRACT_TABLES
    await down(postgres_url, "base")
    assert await tables(postgres_url) == {"alembic_version"}
    await up(postgres_url)
    assert await tables(postgres_url) == first


async def test_each_revision_can_be_taken_back_by_itself(postgres_url: str) -> None:
    for revision in migrate.revisions():
        before = await parts(postgres_url) | {("alembic_version", "version_num")}
        await up(postgres_url, revision.id)
        assert await parts(postgres_url) != before
        await down(postgres_url, "-1")
        assert await parts(postgres_url) == before
        await up(postgres_url, revision.id)


async def test_going_up_twice_changes_nothing(postgres_url: str) -> None:
    await up(postgres_url)
    await up(postgres_url)
    assert all(revision.applied for revision in await migrate.status(postgres_url))


async def test_the_status_says_what_is_applied(postgres_url: str) -> None:
    assert not any(revision.applied for revision in await migrate.status(postgres_url))
    first, *others = migrate.revisions()
    await up(postgres_url, first.id)
    assert [revision.applied for revision in await migrate.status(postgres_url)] == [True] + [False] * len(others)


async def test_the_state_of_the_schema(postgres_url: str) -> None:
    head = migrate.revisions()[-1].id
    async with open_database(postgres_url) as database:
        assert await migrate.schema_state(database) == (None, head)
        await up(postgres_url)
        assert await migrate.schema_state(database) == (head, head)


async def test_two_processes_may_migrate_at_once(postgres_url: str) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(alembic, "upgrade head", postgres_url)
    assert all(revision.applied for revision in await migrate.status(postgres_url))


async def test_two_threads_may_migrate_at_once(postgres_url: str) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(up, postgres_url)
    assert all(revision.applied for revision in await migrate.status(postgres_url))


async def test_sqlalchemys_way_of_writing_the_url_is_understood(postgres_url: str) -> None:
    await up(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    assert await tables(postgres_url) >= CONTRACT_TABLES


async def test_the_alembic_command_works_from_the_root(postgres_url: str) -> None:
    await alembic("upgrade head", postgres_url)
    assert await tables(postgres_url) >= CONTRACT_TABLES


def test_the_revisions_are_one_line_and_named_for_their_minute() -> None:
    revisions = migrate.revisions()
    assert [revision.down for revision in revisions] == [None, *(revision.id for revision in revisions[:-1])]
    names = [revision.name for revision in revisions]
    assert names == sorted(names)
    files = (Path(migrate.__file__).parent / "migrations" / "versions").glob("2*.py")
    assert {file.stem for file in files} == set(names)


def test_what_cannot_be_migrated_says_why() -> None:
    with pytest.raises(StoreUnavailable):
        migrate.upgrade("postgresql://app:geheim@127.0.0.1:1/none")
    with pytest.raises(InvalidStoreUrl):
        migrate.upgrade("mysql://app:geheim@127.0.0.1/none")


async def test_an_unknown_revision_is_an_error(postgres_url: str) -> None:
    with pytest.raises(MigrationFailed, match="nonsense"):
        await up(postgres_url, "nonsense")
