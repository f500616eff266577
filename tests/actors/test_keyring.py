"""Webhook keys in memory: found without a query, also while PostgreSQL is down, and never after they are revoked."""

import pytest

from trendedge.actors.keyring import REMEMBER_UNKNOWN_S, Keyring, hash_key, new_key
from trendedge.storage.api_keys import insert_api_key, revoke_api_key
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.users import ensure_user


class Clock:
    """Monotonic seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def make_key(database: Database, email: str = "trader@example.test") -> tuple[str, str, str]:
    """(key, key id, user id) of a new key."""
    user = await ensure_user(database, email=email)
    key = new_key()
    stored = await insert_api_key(database, user_id=user.id, name="test", key_hash=hash_key(key), hint=key[-4:])
    return key, stored.id, user.id


async def test_a_key_opens_the_door_of_its_owner_and_no_other_key_does(database: Database) -> None:
    key, key_id, user_id = await make_key(database)
    keyring = Keyring(database)
    await keyring.reload()
    owner = await keyring.owner_of(key)
    assert owner is not None
    assert (owner.user_id, owner.key_id) == (user_id, key_id)
    assert [(account.name, account.is_default) for account in owner.accounts] == [("Paper", True)]
    for wrong in (key[:-1], key + "x", key.upper(), "", "\ud800"):
        assert await keyring.owner_of(wrong) is None


async def test_a_key_made_after_the_start_is_found(database: Database) -> None:
    keyring = Keyring(database)
    await keyring.reload()
    key, _, user_id = await make_key(database)
    owner = await keyring.owner_of(key)
    assert owner is not None
    assert owner.user_id == user_id


async def test_an_unknown_key_is_looked_up_again_after_a_while(database: Database) -> None:
    clock = Clock()
    keyring = Keyring(database, clock=clock)
    key = new_key()
    assert await keyring.owner_of(key) is None
    user = await ensure_user(database, email="late@example.test")
    await insert_api_key(database, user_id=user.id, name="late", key_hash=hash_key(key), hint="")
    assert await keyring.owner_of(key) is None
    clock.now += REMEMBER_UNKNOWN_S
    assert await keyring.owner_of(key) is not None


async def test_a_revoked_key_opens_nothing_after_the_next_refresh(database: Database) -> None:
    key, key_id, user_id = await make_key(database)
    keyring = Keyring(database)
    await keyring.reload()
    assert await revoke_api_key(database, user_id=user_id, key_id=key_id)
    await keyring.reload()
    assert await keyring.owner_of(key) is None


async def test_known_keys_work_while_postgresql_is_down_and_unknown_ones_are_not_called_wrong(
    database_url: str,
) -> None:
    async with open_database(database_url) as database:
        key, _, user_id = await make_key(database)
        keyring = Keyring(database)
        await keyring.reload()
    owner = await keyring.owner_of(key)  # its pool is closed: no query is possible any more
    assert owner is not None
    assert owner.user_id == user_id
    with pytest.raises(StoreUnavailable):
        await keyring.owner_of(new_key())
