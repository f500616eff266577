"""Bring the schema to a revision, and say where it stands.

Alembic and SQLAlchemy are imported only when something is to be migrated: importing them takes longer than the rest of
a start. `schema_state` compares what the database says with the names of the revision files instead.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlunsplit

import asyncpg

from trendedge.storage.errors import MigrationFailed, StoreUnavailable
from trendedge.storage.postgres import STORE, Database, describe, split_url, unavailable_as_such

LOCK_ID = 7236_4100
"""Key of the advisory lock that one migration at a time holds."""

_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps what it works on in module globals: two threads would write into each other's connection."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_DOWN_REVISION = re.compile(r'^down_revision = "(\w+)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Revision:
    """One step in the schema's history."""

    id: str
    down: str | None
    name: str
    """The file's name, which begins with the minute in which it was written."""
    applied: bool = False


def upgrade(url: str, revision: str = "head") -> None:
    """Apply every revision up to `revision`. Blocks, and runs an event loop of its own: call it in a thread.

    :raises StoreUnavailable: the server cannot be reached
    :raises MigrationFailed: a revision failed; the transaction was rolled back
    """
    from alembic import command

    _run(command.upgrade, url, revision)


def downgrade(url: str, revision: str) -> None:
    """Take back every revision after `revision` (`base` for all, `-1` for the last). Blocks, as `upgrade` does.

    :raises StoreUnavailable: the server cannot be reached
    :raises MigrationFailed: a revision failed; the transaction was rolled back
    """
    from alembic import command

    _run(command.downgrade, url, revision)


async def status(url: str) -> list[Revision]:
    """All revisions, oldest first, and whether each is applied.

    :raises StoreUnavailable: the server cannot be reached
    """
    with unavailable_as_such():
        connection = await asyncpg.connect(urlunsplit(split_url(url)), timeout=10, command_timeout=10)
        try:
            applied = await _current(connection)
        finally:
            await connection.close(timeout=2)
    ids = [revision.id for revision in revisions()]
    reached = ids.index(applied) if applied in ids else -1
    return [Revision(step.id, step.down, step.name, applied=place <= reached) for place, step in enumerate(revisions())]


async def schema_state(db: Database) -> tuple[str | None, str]:
    """(the revision that the database has, the newest one there is); None for a database without a schema.

    :raises StoreUnavailable: the server cannot be reached
    """
    async with db.connection() as connection:
        return await _current(connection), revisions()[-1].id


def revisions() -> list[Revision]:
    """The revisions in this package, oldest first, read from their files without running them."""
    found = {step.down: step for step in map(_read, sorted((_MIGRATIONS / "versions").glob("2*.py")))}
    ordered: list[Revision] = []
    down: str | None = None
    while (step := found.get(down)) is not None:
        ordered.append(step)
        down = step.id
    return ordered


def engine_url(url: str) -> str:
    """The same database as SQLAlchemy wants it: always with asyncpg as the driver."""
    return urlunsplit(split_url(url)._replace(scheme="postgresql+asyncpg"))


def _read(file: Path) -> Revision:
    text = file.read_text(encoding="utf-8")
    revision, down = _REVISION.search(text), _DOWN_REVISION.search(text)
    if revision is None:
        raise MigrationFailed(file.name, "the file names no revision")
    return Revision(revision[1], down[1] if down else None, file.stem)


async def _current(connection: Any) -> str | None:
    if await connection.fetchval("select to_regclass('alembic_version')") is None:
        return None
    version: str | None = await connection.fetchval("select version_num from alembic_version")
    return version


def _run(action: Callable[..., None], url: str, revision: str) -> None:
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = url
    try:
        with _ONE_AT_A_TIME, unavailable_as_such():
            action(config, revision)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable(STORE, describe(error)) from error
        raise MigrationFailed(revision, describe(error)) from error
    except (CommandError, SQLAlchemyError) as error:
        raise MigrationFailed(revision, describe(error)) from error
