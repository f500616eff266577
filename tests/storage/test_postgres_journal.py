"""PostgreSQL as a journal, behind a network that stands still."""

import asyncio

import pytest

from tests.storage.network import network
from tests.storage.support import own
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Settlement
from trendedge.storage.postgres import open_database
from trendedge.storage.redis import RedisStore

WEBHOOK_S = 3.0
"""All that there is for an alert."""


async def test_a_silent_network_holds_up_nobody_for_longer_than_a_webhook_has(
    database_url: str, redis_store: RedisStore
) -> None:
    async with network(database_url) as between, open_database(between.url, pool_size=2) as database:
        journal = (await own(database, redis_store, BOX)).postgres
        entry_id = await append(journal, b"known")
        between.hold()
        for act in (journal.append(BOX, b"x"), journal.settle(BOX, [Settlement(entry_id)]), journal.adopt(BOX)):
            async with asyncio.timeout(WEBHOOK_S + 1):
                with pytest.raises(JournalUnavailable):
                    await act
        between.let_go()
        await append(journal, b"y")
