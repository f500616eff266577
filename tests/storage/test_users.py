"""Users are made on the spot, once, with an account to trade in; their keys open nothing but what is theirs."""

import asyncio
import hashlib
from uuid import uuid4

import pytest

from trendedge.storage.api_keys import insert_api_key, revoke_api_key, select_active_keys, select_key_by_hash
from trendedge.storage.errors import InvalidUserId, UnknownUser
from trendedge.storage.postgres import Database
from trendedge.storage.users import ensure_user, select_user, select_user_by_email

KEY = hashlib.sha256(b"key").digest()


async def test_a_new_user_has_one_default_paper_account(database: Database) -> None:
    user = await ensure_user(database, email="a@example.com", any_hour=True)
    accounts = await database.fetch("select mode, is_default, any_hour from accounts where user_id::text = $1", user.id)
    assert [tuple(row) for row in accounts] == [("paper", True, True)]


async def test_many_requests_of_a_new_user_make_one(database: Database) -> None:
    users = await asyncio.gather(*(ensure_user(database, email=f"{'aA'[n % 2]}@Example.com") for n in range(10)))
    assert len({user.id for user in users}) == 1
    assert await database.fetchval("select count(*) from accounts") == 1


async def test_an_id_of_the_identity_provider_is_kept(database: Database) -> None:
    id = str(uuid4())
    user = await ensure_user(database, id=id, email="a@example.com")
    assert (user.id, user.email) == (id, "a@example.com")
    assert await ensure_user(database, id=id) == user
    assert await select_user(database, id) == user
    assert await select_user_by_email(database, "A@EXAMPLE.COM") == user


async def test_the_id_wins_over_an_address_that_somebody_else_has(database: Database) -> None:
    first = await ensure_user(database, email="a@example.com")
    second = await ensure_user(database, id=str(uuid4()), email="A@example.com")
    assert (second.id != first.id, second.email) == (True, None)


async def test_an_account_that_exists_stays_as_it_is(database: Database) -> None:
    await ensure_user(database, email="a@example.com", any_hour=False)
    await ensure_user(database, email="a@example.com", any_hour=True)
    assert await database.fetchval("select any_hour from accounts") is False


@pytest.mark.parametrize("id", ["", "42", "not-a-uuid", "\x00"])
async def test_an_id_that_is_no_uuid_is_refused(database: Database, id: str) -> None:
    with pytest.raises(InvalidUserId):
        await ensure_user(database, id=id)
    assert await select_user(database, id) is None


async def test_nobody_is_nobody(database: Database) -> None:
    with pytest.raises(ValueError, match="id or an email"):
        await ensure_user(database)
    assert await select_user(database, str(uuid4())) is None
    assert await select_user_by_email(database, "\x00@\ud800") is None


async def test_a_key_is_found_until_it_is_revoked(database: Database) -> None:
    user = await ensure_user(database, email="a@example.com")
    key = await insert_api_key(database, user_id=user.id, name="TradingView", key_hash=KEY, hint="1234")
    assert await select_key_by_hash(database, KEY) == key
    assert await select_active_keys(database) == [key] == await select_active_keys(database, user_id=user.id)
    assert await revoke_api_key(database, user_id=user.id, key_id=key.id)
    assert await select_key_by_hash(database, KEY) is None
    assert await select_active_keys(database) == []
    assert not await revoke_api_key(database, user_id=user.id, key_id=key.id)


async def test_a_key_of_somebody_else_cannot_be_seen_or_revoked(database: Database) -> None:
    user, stranger = [await ensure_user(database, email=f"{name}@example.com") for name in ("a", "b")]
    key = await insert_api_key(database, user_id=user.id, name="k", key_hash=KEY, hint="1234")
    assert await select_active_keys(database, user_id=stranger.id) == []
    assert not await revoke_api_key(database, user_id=stranger.id, key_id=key.id)
    assert not await revoke_api_key(database, user_id=user.id, key_id="junk")
    assert await select_key_by_hash(database, KEY) == key


@pytest.mark.parametrize("user_id", ["7d0c2f1e-5b1a-4c7e-9a43-3f2f6d1c8e90", "junk"])
async def test_a_key_for_nobody_is_refused(database: Database, user_id: str) -> None:
    with pytest.raises(UnknownUser):
        await insert_api_key(database, user_id=user_id, name="k", key_hash=KEY, hint="1234")
