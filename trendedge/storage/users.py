"""Who uses the platform. The identity provider knows them; here they get an id, a role and an account."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from trendedge.storage.errors import InvalidUserId, StoreUnavailable
from trendedge.storage.postgres import STORE, Connection, Database, Row
from trendedge.storage.values import as_uuid, storable

DEFAULT_ACCOUNT = "Paper"
"""Name of the account that a new user begins with."""


@dataclass(frozen=True, slots=True)
class User:
    """One user. `email` is None when the identity provider gave none."""

    id: str
    email: str | None
    role: str
    created_at: datetime


async def ensure_user(db: Database, *, id: str | None = None, email: str | None = None, any_hour: bool = False) -> User:
    """The user with this id, or with this address when no id is given; made on the spot if unknown.

    A new user gets a paper account. `any_hour` lets that account trade outside of the exchange's session; an account
    that exists stays as it is. Addresses are compared without regard to case. The id wins: an address that another
    user has already is then left out.

    :raises InvalidUserId: `id` is no UUID
    :raises ValueError: neither id nor email
    """
    if id is None and email is None:
        raise ValueError("ensure_user needs an id or an email")
    wanted = None if id is None else _uuid(id)
    user = await _find(db, id=wanted, email=email)
    if user is not None:
        return user
    address = None if email is None else storable(email)
    async with db.transaction() as connection:
        row = await _insert(connection, wanted, address)
        # The second time the address that somebody took in between is seen, and left out.
        row = row or await _insert(connection, wanted, address)
        if row is None:
            raise StoreUnavailable(STORE, "the user was deleted while it was being made")
        await connection.execute(_INSERT_ACCOUNT, row["id"], DEFAULT_ACCOUNT, any_hour)
    return _user(row)


async def select_user(db: Database, user_id: str) -> User | None:
    """The user with this id, or None."""
    key = as_uuid(user_id)
    return None if key is None else await _find(db, id=key, email=None)


async def select_user_by_email(db: Database, email: str) -> User | None:
    """The user with this address in whatever case, or None."""
    return await _find(db, id=None, email=email)


async def _find(db: Database, *, id: UUID | None, email: str | None) -> User | None:
    row = await db.fetchrow(_BY_ID if id else _BY_EMAIL, id or storable(email or ""))
    return None if row is None else _user(row)


async def _insert(connection: Connection, id: UUID | None, email: str | None) -> Row | None:
    await connection.execute(_INSERT_USER, id or uuid4(), email)
    return await connection.fetchrow(_BY_ID if id else _BY_EMAIL, id or email)


def _uuid(raw: str) -> UUID:
    key = as_uuid(raw)
    if key is None:
        raise InvalidUserId(raw)
    return key


def _user(row: Row) -> User:
    return User(id=str(row["id"]), email=row["email"], role=row["role"], created_at=row["created_at"])


_BY_ID = "select id, email, role, created_at from users where id = $1"
_BY_EMAIL = "select id, email, role, created_at from users where lower(email) = lower($1)"
# Two requests of a new user may come at once: whoever is second finds the row of the first.
_INSERT_USER = """
    insert into users (id, email)
    select $1::uuid, case when not exists (select from users where lower(email) = lower($2)) then $2::text end
    on conflict do nothing
"""
_INSERT_ACCOUNT = """
    insert into accounts (user_id, name, any_hour, is_default)
    select $1, $2, $3, true
    where not exists (select from accounts where user_id = $1)
    on conflict do nothing
"""
