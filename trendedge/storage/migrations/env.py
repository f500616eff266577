"""Alembic's entry: connects, then runs the wanted revisions in one transaction.

The url comes from `trendedge.storage.migrate`, or from the environment when somebody calls `alembic` itself. Only here,
because settings.py belongs to the composition root and Alembic starts without it.
"""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from trendedge.storage.migrate import LOCK_ID, engine_url


def _url() -> str:
    given = context.config.attributes.get("url")
    url = given or os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL")
    if not url:
        raise SystemExit("Set DATABASE_URL (or DATABASE_DIRECT_URL) to the database to migrate.")
    return engine_url(url)


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        # Two containers may start at once: the second waits, then finds nothing to do.
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({LOCK_ID})")
        context.run_migrations()


async def _run() -> None:
    timeouts = {"timeout": 10, "command_timeout": 60}
    engine = create_async_engine(_url(), poolclass=NullPool, connect_args=timeouts)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(url=_url(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_run())
