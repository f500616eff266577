"""`trendedge migrate`, and the check that the schema is as new as the code."""

import click
from anyio import to_thread

from trendedge.commands.connections import check_postgres
from trendedge.commands.console import Console
from trendedge.commands.errors import SchemaBehind, UnknownRevision
from trendedge.commands.stores import database_only
from trendedge.settings import Settings
from trendedge.storage import migrate
from trendedge.storage.postgres import open_database


async def migrate_if_needed(settings: Settings, console: Console) -> bool:
    """Bring the schema up to the code. Whether anything was to be done; if not, that takes one query.

    :raises StorageFault: it could not be done
    """
    async with open_database(settings.database_url, pool_size=1) as database:
        current, newest = await migrate.schema_state(database)
    if current == newest:
        return False
    if settings.database_direct_url:
        await check_postgres(settings.database_direct_url, console, setting="DATABASE_DIRECT_URL")
    with console.step("schema migrated") as details:
        # In a thread: Alembic blocks, and runs a loop of its own.
        await to_thread.run_sync(migrate.upgrade, settings.migration_url)
        details.append(f"to {newest}")
    return True


async def prepare_schema(settings: Settings, console: Console) -> None:
    """See that the schema is as new as the code: in development by migrating, elsewhere by insisting on it.

    :raises SchemaBehind: somebody has to migrate first
    """
    if settings.is_development:
        await migrate_if_needed(settings, console)
    else:
        await require_schema(settings)


async def require_schema(settings: Settings) -> None:
    """Refuse to go on with an older schema, or a newer one.

    :raises SchemaBehind: somebody has to migrate first
    """
    async with open_database(settings.database_url, pool_size=1) as database:
        current, newest = await migrate.schema_state(database)
    if current != newest:
        raise SchemaBehind(current, newest)


async def upgrade(settings: Settings, *, revision: str) -> None:
    """Apply what is missing up to a revision."""
    await _change(settings, revision, upwards=True)


async def downgrade(settings: Settings, *, revision: str) -> None:
    """Take back what came after a revision."""
    await _change(settings, revision, upwards=False)


async def print_status(settings: Settings) -> None:
    """Print each revision and whether it is applied."""
    async with database_only(settings, Console()) as opened:
        for step in await migrate.status(opened.migration_url):
            click.echo(f"{'applied' if step.applied else 'pending':8} {step.id}  {step.name}")


async def _change(settings: Settings, revision: str, *, upwards: bool) -> None:
    known = [step.id for step in migrate.revisions()]
    if revision not in {"head", "base", "-1", "+1", *known}:
        raise UnknownRevision(revision, known)
    console = Console()
    async with database_only(settings, console) as opened:
        if opened.database_direct_url:
            await check_postgres(opened.database_direct_url, console, setting="DATABASE_DIRECT_URL")
        with console.step("migrated up" if upwards else "migrated down") as details:
            await to_thread.run_sync(migrate.upgrade if upwards else migrate.downgrade, opened.migration_url, revision)
            applied = [step.id for step in await migrate.status(opened.migration_url) if step.applied]
            details.append(f"to {applied[-1] if applied else 'base'}")
