"""The command line. Each command's module is imported when it is run: `trendedge --help` waits for nothing."""

import re
import sys
from collections.abc import Awaitable, Callable

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """From a TradingView alert to a filled, journalled trade. Settings come from the environment and from .env."""


@cli.command()
@click.option("--migrate/--no-migrate", default=True, show_default=True, help="Bring the schema up to date first.")
@click.option("--stop-with-parent", is_flag=True, hidden=True, help="Stop when the parent process is gone.")
@click.option("--brief", is_flag=True, hidden=True, help="Do not say what to do next.")
def serve(migrate: bool, stop_with_parent: bool, brief: bool) -> None:
    """Run the product until SIGINT or SIGTERM."""
    from trendedge.commands import serve as command
    from trendedge.settings import load_settings

    how = command.How(migrate=migrate, stop_with_parent=stop_with_parent, brief=brief)
    sys.exit(_run(lambda: command.run(load_settings(), how)))


@cli.command(hidden=True)
@click.option("--stop-with-parent", is_flag=True, hidden=True, help="Stop when the parent process is gone.")
def dev(stop_with_parent: bool) -> None:
    """Serve, and start again when a source file changes."""
    from trendedge.commands import dev as command
    from trendedge.settings import load_settings

    sys.exit(_run(lambda: command.run(load_settings(), stop_with_parent=stop_with_parent)))


@cli.group()
def migrate() -> None:
    """Change the database's schema."""


@migrate.command()
@click.argument("revision", default="head")
def up(revision: str) -> None:
    """Apply what is missing, up to REVISION (default: all)."""
    from trendedge.commands import schema as command
    from trendedge.settings import load_settings

    _run(lambda: command.upgrade(load_settings(), revision=revision))


@migrate.command()
@click.argument("revision", default="-1")
def down(revision: str) -> None:
    """Take back what came after REVISION ("base": everything; default: the last one). Data goes with its tables."""
    from trendedge.commands import schema as command
    from trendedge.settings import load_settings

    _run(lambda: command.downgrade(load_settings(), revision=revision))


@migrate.command()
def status() -> None:
    """Show what is applied."""
    from trendedge.commands import schema as command
    from trendedge.settings import load_settings

    _run(lambda: command.print_status(load_settings()))


@cli.command()
def seed() -> None:
    """Make the demo user, if there is none (development only)."""
    from trendedge.commands import seed as command
    from trendedge.settings import load_settings

    _run(lambda: command.run(load_settings()))


@cli.command()
@click.option("--email", required=True, callback=lambda _, __, value: _email(value), help="Of the user.")
@click.option("--role", type=click.Choice(["user", "operator"]), default="user", show_default=True)
@click.option("--ttl", "ttl_s", type=click.IntRange(1, 30 * 86400), default=3600, show_default=True, help="In seconds.")
def token(email: str, role: str, ttl_s: int) -> None:
    """Print a JWT for a user, who is made if unknown (development and staging only)."""
    from trendedge.commands import keys as command
    from trendedge.settings import load_settings

    _run(lambda: command.print_token(load_settings(), email=email, role=role, ttl_s=ttl_s))


@cli.command()
@click.option("--email", required=True, callback=lambda _, __, value: _email(value), help="Of the user.")
@click.option("--name", default="webhook", show_default=True, help="For its owner to tell keys apart.")
def apikey(email: str, name: str) -> None:
    """Make a webhook key of a user, who is made if unknown, and print it once."""
    from trendedge.commands import keys as command
    from trendedge.settings import load_settings

    _run(lambda: command.print_api_key(load_settings(), email=email, name=name))


@cli.command()
def doctor() -> None:
    """Check settings, connections, schema, clock and disk, and say how to mend what is wrong."""
    from trendedge.commands import doctor as command

    sys.exit(_run(command.run))


_URL = click.option("--url", help="Where the product runs, when it is not here.")


@cli.group()
def deadletters() -> None:
    """See and work off what was given up. Asks the running product, with OPERATOR_API_KEY."""


@deadletters.command("list")
@click.option("--mailbox", help="Only this one's.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@_URL
def list_letters(mailbox: str | None, limit: int, url: str | None) -> None:
    """Print the newest: id, when, attempts, cause."""
    from trendedge.commands import deadletters as command
    from trendedge.settings import load_settings

    _run(lambda: command.print_list(load_settings(), url=url, mailbox=mailbox, limit=limit))


@deadletters.command()
@click.argument("letter_id")
@_URL
def show(letter_id: str, url: str | None) -> None:
    """Print one as JSON; its traceback goes to the standard error."""
    from trendedge.commands import deadletters as command
    from trendedge.settings import load_settings

    _run(lambda: command.print_letter(load_settings(), letter_id, url=url))


@deadletters.command()
@click.argument("letter_id")
@click.option("--dry-run", is_flag=True, help="Print what it would do now, and do nothing.")
@_URL
def replay(letter_id: str, dry_run: bool, url: str | None) -> None:
    """Deliver one again. A dead signal trades then, on the book as it is now."""
    from trendedge.commands import deadletters as command
    from trendedge.settings import load_settings

    _run(lambda: command.replay(load_settings(), letter_id, url=url, dry_run=dry_run))


@deadletters.command()
@click.argument("letter_id")
@_URL
def discard(letter_id: str, url: str | None) -> None:
    """Remove one for good."""
    from trendedge.commands import deadletters as command
    from trendedge.settings import load_settings

    _run(lambda: command.discard(load_settings(), letter_id, url=url))


def _run[T](function: Callable[[], Awaitable[T]]) -> T:
    """Run it on the event loop. What is known to go wrong ends with its sentence and status 1, without a traceback."""
    import anyio

    from trendedge.commands.errors import CommandFailed
    from trendedge.runtime.errors import RuntimeFault
    from trendedge.settings import InvalidSettings
    from trendedge.storage.embedded import EmbeddedFault
    from trendedge.storage.errors import StorageFault

    async def awaited() -> T:
        return await function()

    try:
        return anyio.run(awaited, backend_options={"use_uvloop": True})
    except (CommandFailed, InvalidSettings, EmbeddedFault, RuntimeFault, StorageFault) as error:
        click.echo(f"trendedge: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _email(raw: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", raw) or len(raw) > 254:
        raise click.BadParameter("that is no address")
    return raw


def main() -> None:
    """The entry point."""
    cli(prog_name="trendedge")


if __name__ == "__main__":
    main()
