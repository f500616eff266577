"""`trendedge seed`: a demo user with a webhook key and a paper account that trades at any hour. Development's alone."""

from dataclasses import dataclass

from trendedge.actors.keyring import hash_key
from trendedge.commands.console import Console
from trendedge.commands.errors import NotInThisEnvironment
from trendedge.commands.keys import HINT_CHARS
from trendedge.commands.schema import migrate_if_needed
from trendedge.commands.stores import database_only
from trendedge.settings import Settings
from trendedge.storage.api_keys import insert_api_key, select_key_by_hash
from trendedge.storage.postgres import open_database
from trendedge.storage.users import ensure_user, select_user_by_email

DEMO_EMAIL = "demo@example.com"


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo user."""

    email: str
    webhook_key: str | None
    """None when the user has been there before and somebody has revoked the key, or deleted the file that kept it."""


async def seed(settings: Settings, console: Console) -> Demo:
    """Make the demo user, once. The schema has to be there, and `settings.database_url` has to name a server."""
    digest = hash_key(settings.demo_webhook_key)
    async with open_database(settings.database_url, pool_size=1) as database:
        if await select_key_by_hash(database, digest):
            return Demo(DEMO_EMAIL, settings.demo_webhook_key)
        if await select_user_by_email(database, DEMO_EMAIL):
            return Demo(DEMO_EMAIL, None)
        with console.step(f"demo user {DEMO_EMAIL} seeded; its paper account trades at any hour"):
            user = await ensure_user(database, email=DEMO_EMAIL, any_hour=True)
            hint = settings.demo_webhook_key[-HINT_CHARS:]
            await insert_api_key(database, user_id=user.id, name="demo", key_hash=digest, hint=hint)
    return Demo(DEMO_EMAIL, settings.demo_webhook_key)


async def run(settings: Settings) -> None:
    """The command.

    :raises NotInThisEnvironment: a user whom nobody signed up has no place outside of development
    """
    if not settings.is_development:
        raise NotInThisEnvironment("seed", settings.app_env, "development")
    console = Console(to_stderr=False)
    async with database_only(settings, console) as opened:
        await migrate_if_needed(opened, console)
        demo = await seed(opened, console)
    console.say(f"demo user: {demo.email}")
    console.say(f"webhook key: {demo.webhook_key or 'revoked; make one with `trendedge apikey`'}")
