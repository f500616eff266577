"""What the tool does with the servers themselves, past the product: nothing of it is measured."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from trendedge.storage.embedded import embedded_postgres, embedded_valkey
from trendedge.storage.postgres import open_database


@asynccontextmanager
async def own_servers(home: Path) -> AsyncIterator[Mapping[str, str]]:
    """Start both below `home`, so that the product's start can be timed without theirs. Yields the settings for it.

    They are the product's own embedded servers, with the settings that it gives them: whoever starts them, the same is
    measured.

    :raises EmbeddedFault: one of them did not start
    """
    async with embedded_postgres(home) as postgres, embedded_valkey(home) as valkey:
        yield {"DATABASE_URL": postgres.url, "UPSTASH_REDIS_URL": valkey.url}


async def trade_at_any_hour(database_url: str, *, user_id: str) -> None:
    """Take the exchange's hours out of the way: at the weekend every alert would be rejected, and nothing measured.

    To be called before the user's first alert, for the product keeps an account in memory from then on.

    :raises StoreUnavailable: the database does not answer
    """
    async with open_database(database_url, pool_size=1) as database:
        await database.execute("update accounts set any_hour = true where user_id = $1", UUID(user_id))
