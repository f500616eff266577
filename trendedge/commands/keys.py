"""`trendedge token` and `trendedge apikey`: credentials. They go to the standard output, and nothing else does."""

import time
import uuid

import click
import jwt

from trendedge.actors.keyring import hash_key, new_key
from trendedge.commands.console import Console
from trendedge.commands.errors import NotInThisEnvironment
from trendedge.commands.schema import prepare_schema
from trendedge.commands.stores import database_only
from trendedge.http.tokens import AUDIENCE
from trendedge.settings import Settings
from trendedge.storage.api_keys import insert_api_key
from trendedge.storage.postgres import open_database
from trendedge.storage.users import User, ensure_user

HINT_CHARS = 4
"""So much of a key's end is kept in the clear, for its owner to tell two keys apart."""


async def print_token(settings: Settings, *, email: str, role: str, ttl_s: int) -> None:
    """Sign a token as Supabase would, for the user with this address, who is made if unknown.

    :raises NotInThisEnvironment: in production only the identity provider signs
    """
    if settings.is_production:
        raise NotInThisEnvironment("token", settings.app_env, "development and staging")
    console = Console()
    user, _ = await _user(settings, console, email)
    console.say(f"token of {email} (user {user.id}), {role}, valid for {ttl_s} s")
    click.echo(sign(settings, user_id=user.id, email=email, role=role, ttl_s=ttl_s))


async def print_api_key(settings: Settings, *, email: str, name: str) -> None:
    """Make a webhook key of this user, who is made if unknown, and print it: it is stored as a hash alone."""
    console = Console()
    key = new_key()
    user, stored = await _user(settings, console, email, key=key, key_name=name)
    console.say(f"webhook key {stored!r} of {email} (user {user.id}); it is not shown again")
    click.echo(key)


def sign(settings: Settings, *, user_id: str, email: str, role: str, ttl_s: int) -> str:
    """A token with every claim that Supabase's user tokens have."""
    now = int(time.time())
    claims = {
        "iss": f"{settings.supabase_url.rstrip('/')}/auth/v1",
        "aud": AUDIENCE,
        "sub": user_id,
        "iat": now,
        "exp": now + ttl_s,
        "role": "authenticated",
        "aal": "aal2" if role == "operator" else "aal1",
        "session_id": str(uuid.uuid4()),
        "email": email,
        "phone": "",
        "is_anonymous": False,
        "app_metadata": {"provider": "trendedge-cli", "role": role},
    }
    return jwt.encode(claims, settings.supabase_jwt_secret, algorithm="HS256")


async def _user(
    settings: Settings, console: Console, email: str, *, key: str | None = None, key_name: str = ""
) -> tuple[User, str]:
    async with database_only(settings, console) as opened:
        await prepare_schema(opened, console)
        async with open_database(opened.database_url, pool_size=1) as database:
            user = await ensure_user(database, email=email, any_hour=settings.is_development)
            if key is not None:
                await insert_api_key(
                    database, user_id=user.id, name=key_name, key_hash=hash_key(key), hint=key[-HINT_CHARS:]
                )
    return user, key_name
