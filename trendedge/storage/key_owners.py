"""Whom a webhook key stands for, and which accounts its alerts may name: all that intake needs, in one query."""

from dataclasses import dataclass

from trendedge.storage.postgres import Database, Row


@dataclass(frozen=True, slots=True)
class AccountName:
    """How an alert may name an account."""

    id: str
    name: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Who presents a key."""

    user_id: str
    key_id: str
    accounts: tuple[AccountName, ...]


async def select_key_owners(db: Database) -> dict[bytes, KeyOwner]:
    """Every key that is not revoked, by its SHA-256."""
    return {row["key_hash"]: _owner(row) for row in await db.fetch(_ALL)}


async def select_key_owner(db: Database, key_hash: bytes) -> KeyOwner | None:
    """The owner of the key with this SHA-256, or None when there is none or it is revoked."""
    row = await db.fetchrow(f"{_ALL} and k.key_hash = $1", key_hash)
    return None if row is None else _owner(row)


def _owner(row: Row) -> KeyOwner:
    names = zip(row["account_ids"], row["names"], row["defaults"], strict=True)
    accounts = tuple(AccountName(str(account_id), name, is_default) for account_id, name, is_default in names)
    return KeyOwner(str(row["user_id"]), str(row["key_id"]), accounts)


_ALL = """
    select k.key_hash, k.user_id, k.id as key_id, a.account_ids, a.names, a.defaults
    from api_keys k
    cross join lateral (
        select
            coalesce(array_agg(id order by created_at, id), '{}') as account_ids,
            coalesce(array_agg(name order by created_at, id), '{}') as names,
            coalesce(array_agg(is_default order by created_at, id), '{}') as defaults
        from accounts where user_id = k.user_id
    ) a
    where k.revoked_at is null
"""
