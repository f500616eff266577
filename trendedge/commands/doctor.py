"""`trendedge doctor`: looks at everything that a start relies on, and says how to mend what is wrong."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from trendedge.commands.console import Console
from trendedge.commands.errors import StoresUnusable, StoreUnusable
from trendedge.commands.stores import all_stores
from trendedge.settings import InvalidSettings, Settings, load_settings
from trendedge.storage.embedded import EmbeddedFault
from trendedge.storage.errors import StorageFault
from trendedge.storage.migrate import schema_state
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.redis import open_redis

MOST_SKEW_S = 2.0
"""Dedup windows and token expiry are compared across the two clocks."""
LEAST_FREE_BYTES = 2**30
LEAST_SECRET_CHARS = 32
"""RFC 7518, section 3.2: an HS256 key has at least 256 bits."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is what to do, and None when all is well."""

    what: str
    seen: str
    mend: str | None = None


async def run() -> int:
    """Print the table; 1 when something is wrong."""
    findings = [finding async for finding in examine()]
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        click.echo(f"{'ok' if finding.mend is None else 'WRONG':5}  {finding.what:{width}}  {finding.seen}")
        if finding.mend is not None:
            click.echo(f"{'':5}  {'':{width}}  -> {finding.mend}")
    wrong = sum(finding.mend is not None for finding in findings)
    click.echo(f"{wrong} of {len(findings)} checks failed" if wrong else "all is well")
    return 1 if wrong else 0


async def examine() -> AsyncIterator[Finding]:
    """Look at one thing after the other; what depends on something that is wrong is left out."""
    try:
        settings = load_settings()
    except InvalidSettings as error:
        for problem in error.problems:
            yield Finding("settings", problem, "Set it in the environment or in .env; .env.example describes each.")
        return
    yield Finding("settings", f"{settings.app_env}, home {settings.home}")
    yield _secret("SUPABASE_JWT_SECRET", settings.supabase_jwt_secret)
    yield _secret("OPERATOR_API_KEY", settings.operator_api_key)
    yield _disk(settings)
    async with AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(all_stores(settings, Console(), share=True))
        except (StoreUnusable, StoresUnusable) as error:
            for fault in error.faults if isinstance(error, StoresUnusable) else (error,):
                yield Finding(fault.setting, f"{fault.address}: {fault.reason}", fault.mend)
            return
        except EmbeddedFault as error:
            yield Finding("embedded servers", str(error), "Nothing else can be looked at before that.")
            return
        async for finding in _stores(opened):
            yield finding


async def _stores(settings: Settings) -> AsyncIterator[Finding]:
    async with open_redis(settings.redis_url, timeout_s=5, connect_timeout_s=5) as redis:
        took = await redis.ping()
        yield Finding("Redis", f"{redis.address}, version {redis.version}, {took * 1000:.1f} ms")
    async with open_database(settings.database_url, pool_size=1) as database:
        took = await database.ping()
        yield Finding("PostgreSQL", f"{database.address}, version {database.version}, {took * 1000:.1f} ms")
        yield await _schema(database)
        yield await _clock(database)


async def _schema(database: Database) -> Finding:
    try:
        current, newest = await schema_state(database)
    except StorageFault as error:
        return Finding("schema", str(error), "Look at the server's log.")
    if current == newest:
        return Finding("schema", f"at {current}, the newest")
    return Finding("schema", f"at {current or 'nothing'}, the newest is {newest}", "Run `trendedge migrate up`.")


async def _clock(database: Database) -> Finding:
    before = datetime.now(UTC)
    theirs: datetime = await database.fetchval("select clock_timestamp()")
    ours = before + (datetime.now(UTC) - before) / 2
    skew = abs((theirs - ours).total_seconds())
    seen = f"{skew:.3f} s off the database's"
    return Finding("clock", seen, None if skew <= MOST_SKEW_S else "Have both machines' clocks set by NTP.")


def _secret(name: str, value: str) -> Finding:
    """Never shows any of it."""
    if len(value) < LEAST_SECRET_CHARS:
        mend = f"Make one of {LEAST_SECRET_CHARS} characters or more, for example with `openssl rand -base64 48`."
        return Finding(name, f"present, but only {len(value)} characters long", mend)
    return Finding(name, "present")


def _disk(settings: Settings) -> Finding:
    home = settings.home
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    seen = f"{free / 2**30:.1f} GiB free at {home}"
    if not os.access(home, os.W_OK):
        return Finding("disk", f"{home} cannot be written", "Set TRENDEDGE_HOME to a directory of your own.")
    return Finding("disk", seen, None if free >= LEAST_FREE_BYTES else "Make room, or set TRENDEDGE_HOME elsewhere.")
