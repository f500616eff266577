"""Webhook keys. Only their SHA-256 is stored: a key is 256 random bits, a slow hash would protect nothing more."""

from dataclasses import dataclass
from datetime import datetime

from trendedge.storage.errors import UnknownUser
from trendedge.storage.postgres import Database, Row
from trendedge.storage.values import as_uuid, storable


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One webhook key, without the key."""

    id: str
    user_id: str
    name: str
    key_hash: bytes
    """SHA-256 of the key, 32 bytes."""
    hint: str
    """The last characters of the key, so that its owner can tell two apart."""
    created_at: datetime


async def insert_api_key(db: Database, *, user_id: str, name: str, key_hash: bytes, hint: str) -> ApiKey:
    """Store a key of this user.

    :raises UnknownUser: make one with `ensure_user` first
    """
    owner = as_uuid(user_id)
    row = await db.fetchrow(_INSERT, owner, storable(name), key_hash, storable(hint)) if owner else None
    if row is None:
        raise UnknownUser(user_id)
    return _key(row)


async def select_active_keys(db: Database, *, user_id: str | None = None) -> list[ApiKey]:
    """All keys that are not revoked, oldest first; of one user, or of everybody (to keep them in memory)."""
    if user_id is None:
        rows = await db.fetch(f"{_SELECT} order by created_at, id")
    else:
        rows = await db.fetch(f"{_SELECT} and user_id = $1 order by created_at, id", as_uuid(user_id))
    return [_key(row) for row in rows]


async def select_key_by_hash(db: Database, key_hash: bytes) -> ApiKey | None:
    """The key with this SHA-256 if there is one and it is not revoked."""
    row = await db.fetchrow(f"{_SELECT} and key_hash = $1", key_hash)
    return None if row is None else _key(row)


async def revoke_api_key(db: Database, *, user_id: str, key_id: str) -> bool:
    """Revoke a key of this user. False when there was nothing to revoke."""
    tag = await db.execute(_REVOKE, as_uuid(key_id), as_uuid(user_id))
    return tag == "UPDATE 1"


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        name=row["name"],
        key_hash=row["key_hash"],
        hint=row["hint"],
        created_at=row["created_at"],
    )


_SELECT = "select id, user_id, name, key_hash, hint, created_at from api_keys where revoked_at is null"
_INSERT = """
    insert into api_keys (user_id, name, key_hash, hint)
    select id, $2, $3, $4 from users where id = $1
    returning id, user_id, name, key_hash, hint, created_at
"""
_REVOKE = "update api_keys set revoked_at = now() where id = $1 and user_id = $2 and revoked_at is null"
