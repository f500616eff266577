"""When each schedule was due last, beyond the death of the process."""

from collections.abc import Mapping
from datetime import datetime

import structlog

from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import Database

log = structlog.get_logger("trendedge.schedules")


class PostgresLastFires:
    """`runtime.LastFires` on a table. In PostgreSQL and not in Redis, where each command is paid for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Mapping[str, datetime]:
        """By the schedules' ids; empty while PostgreSQL is down."""
        try:
            rows = await self._database.fetch("select schedule, due_at from schedule_fires")
        except StoreUnavailable as error:
            log.warning("last fires unknown", error=str(error))
            return {}
        return {row["schedule"]: row["due_at"] for row in rows}

    async def save(self, id: str, due: datetime) -> None:
        """Remember it, unless a later one is remembered already: another process may have been quicker.

        By the server's clock one that lies in the future is an error, and gives way.
        """
        try:
            await self._database.execute(_SAVE, id, due)
        except StoreUnavailable as error:
            log.warning("last fire not remembered", schedule=id, error=str(error))


_SAVE = """
    insert into schedule_fires as held (schedule, due_at) values ($1, $2)
    on conflict (schedule) do update
    set due_at = greatest(excluded.due_at, case when held.due_at <= now() then held.due_at end)
"""
