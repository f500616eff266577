"""What was adopted in one store waits for the other, and mail of the dead for nobody but who has to do with it."""

from typing import Any

import pytest
import structlog

from tests.storage.support import Journals, end_lease, own
from tests.storage.test_adoption import adopted
from tests.storage.test_journals import BOX, append
from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.journal import Entry
from trendedge.runtime.ownership import Owner
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore


async def no_answer(*_: Any) -> list[Entry]:
    raise JournalUnavailable("a store", "no answer")


async def gone(database: Database, redis: RedisStore, node: str = "gone") -> None:
    """It had sent `buy` to PostgreSQL and `close` to Redis."""
    journals = await own(database, redis, BOX, node)
    await append(journals.postgres, b"buy")
    await append(journals.redis, b"close")
    await end_lease(redis, database, BOX, node)


@pytest.fixture
async def heir(database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> Journals:
    """It holds `close`, since PostgreSQL has given no answer when it looked."""
    await gone(database, redis_store)
    heir = await own(database, redis_store, BOX, "heir")
    with monkeypatch.context() as broken:
        broken.setattr(heir.postgres, "adopt", no_answer)
        assert await adopted(heir) == []
    return heir


async def test_what_is_held_waits_for_a_fence_that_cannot_be_had(
    heir: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(heir.ownership, "claim", no_answer)
        assert await adopted(heir) == []
    assert await adopted(heir) == [b"buy", b"close"]
    assert await adopted(heir) == []


async def test_what_is_held_waits_for_the_fence_of_its_own_sender_whoever_else_can_be_fenced(
    heir: Journals, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await own(database, redis_store, BOX, "other")
    await append(other.redis, b"other")
    await end_lease(redis_store, database, BOX, "other")

    async def claim(owner: Owner, claim: Any = heir.ownership.claim) -> Any:
        return await (no_answer() if owner.node == "gone" else claim(owner))

    with monkeypatch.context() as broken:
        broken.setattr(heir.ownership, "claim", claim)
        assert await adopted(heir) == []
    assert [payload for payload in await adopted(heir) if payload != b"other"] == [b"buy", b"close"]


async def test_while_something_is_held_nobody_else_gets_what_belongs_to_it(
    heir: Journals, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await own(database, redis_store, BOX, "other")
    with monkeypatch.context() as broken:
        broken.setattr(heir.redis, "look", no_answer)
        assert await adopted(heir) == []
        assert await adopted(other) == []
    assert await adopted(heir) == [b"buy", b"close"]


async def test_what_is_held_of_one_who_came_back_and_died_comes_when_its_other_heir_has_got_the_rest(
    heir: Journals, database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await own(database, redis_store, BOX, "gone")
    await end_lease(redis_store, database, BOX, "gone")
    other = await own(database, redis_store, BOX, "other")
    with monkeypatch.context() as broken:
        broken.setattr(other.postgres, "adopt", no_answer)
        assert await adopted(other) == []
    assert await adopted(heir) == []
    assert await adopted(other) == [b"buy"]
    assert await adopted(heir) == [b"close"]


async def test_what_is_held_is_put_in_order_with_what_comes_later_of_others(
    database: Database, redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, younger = [await own(database, redis_store, BOX, node) for node in ("older", "younger")]
    await append(older.postgres, b"older 1")
    await append(older.redis, b"older 2")
    for journal, payload in ((younger.postgres, b"open"), (younger.redis, b"add"), (younger.postgres, b"close")):
        await append(journal, payload)
    await end_lease(redis_store, database, BOX, "younger")
    heir = await own(database, redis_store, BOX, "heir")
    with monkeypatch.context() as broken:
        broken.setattr(heir.redis, "adopt", no_answer)
        assert await adopted(heir) == []
    await end_lease(redis_store, database, BOX, "older")
    found = await adopted(heir)
    assert [payload for payload in found if b"older" in payload] == [b"older 1", b"older 2"]
    assert [payload for payload in found if b"older" not in payload] == [b"open", b"add", b"close"]


@pytest.mark.parametrize("first", ["stuck", "other"])
async def test_a_commit_that_does_not_end_holds_up_the_mail_of_its_own_node_alone(
    first: str, database: Database, redis_store: RedisStore
) -> None:
    nodes = ("stuck", "other") if first == "stuck" else ("other", "stuck")
    for node in nodes:
        journals = await own(database, redis_store, BOX, node)
        await append(journals.redis, node.encode())
        await append(journals.postgres, node.encode())
        await end_lease(redis_store, database, BOX, node)
    heir = await own(database, redis_store, BOX, "heir")
    async with database.transaction() as commit:
        await commit.execute("select from mailbox_owners where node = 'stuck' for key share")
        with structlog.testing.capture_logs() as logs:
            assert await adopted(heir) == [b"other", b"other"]
        said = [(line["event"], line["nodes"]) for line in logs]
        assert said == [("adoption of some waits, they cannot be fenced", ["stuck"])]
        with structlog.testing.capture_logs() as logs:
            assert await adopted(heir) == []
        assert [line["event"] for line in logs] == ["adoption waits, nobody can be fenced"]
    assert await adopted(heir) == [b"stuck", b"stuck"]
