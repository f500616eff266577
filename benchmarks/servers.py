"""PostgreSQL and Valkey of this tool's own, so that the product's start can be timed without theirs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from trendedge.storage.embedded import embedded_postgres, embedded_valkey


@asynccontextmanager
async def own_servers(home: Path) -> AsyncIterator[Mapping[str, str]]:
    """Start both below `home`; the settings that lead the product there.

    They are the product's own embedded servers, with the settings that it gives them: whoever starts them, the same is
    measured.

    :raises EmbeddedFault: one of them did not start
    """
    async with embedded_postgres(home) as postgres, embedded_valkey(home) as valkey:
        yield {"DATABASE_URL": postgres.url, "UPSTASH_REDIS_URL": valkey.url}
