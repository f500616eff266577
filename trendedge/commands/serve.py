"""`trendedge serve`: everything that comes before the process listens, and the word on what to do next."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from trendedge.commands.console import Console
from trendedge.commands.parent import end_with_parent
from trendedge.commands.schema import migrate_if_needed, require_schema
from trendedge.commands.seed import Demo, seed
from trendedge.commands.stores import all_stores
from trendedge.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What the command's options say."""

    migrate: bool = True
    """Bring the schema up to the code first."""
    stop_with_parent: bool = False
    """Stop, in order, when the parent process (`make`) is gone."""
    brief: bool = False
    """Do not say what to do next."""


async def run(settings: Settings, how: How) -> int:
    """Serve until SIGINT or SIGTERM; the exit code."""
    if how.stop_with_parent:
        end_with_parent()
    # Outside of development the standard output is the log's, and the log is JSON (PRD INF-FR-018).
    console = Console(to_stderr=not settings.is_development)
    console.say(f"TrendEdge {settings.app_version}, {settings.app_env}, home {settings.home}")
    async with all_stores(settings, console) as opened:
        if how.migrate:
            await migrate_if_needed(opened, console)
        else:
            await require_schema(opened)
        demo = await seed(opened, console) if settings.is_development else None
        with console.step("program loaded"):
            from trendedge import app  # the rest of the product: half of the start's imports
        guide = _Guide(console, [] if how.brief else next_steps(opened, demo))
        return await app.serve(opened, report=guide.report)


class _Guide:
    """Passes on what the process reports, and says what to do once it listens."""

    def __init__(self, console: Console, steps: list[str]) -> None:
        self._console, self._steps = console, steps

    def report(self, text: str) -> None:
        """Print it, with the time since the start."""
        self._console.timed(self._console.elapsed_s, text)
        for line in self._steps:  # the first thing it reports is that it listens
            self._console.say(line)
        self._steps = []


def next_steps(settings: Settings, demo: Demo | None) -> list[str]:
    """What to try, as lines that work when pasted into a shell in this directory."""
    base, program = settings.public_url, _program(settings)
    lines = ["", f"TrendEdge is ready: {base}  (health: {base}/health/ready)", "Ctrl-C stops it.", ""]
    if demo is None:
        return lines
    key = demo.webhook_key or f"'\"$({program} apikey --email {demo.email})\"'"
    alert = f'{{"api_key": "{key}", "ticker": "MNQ1!", "action": "buy", "quantity": "1", "price": "18250.25"}}'
    token = f"$({program} token --email {demo.email})"
    return [
        *lines,
        "Send an alert, as TradingView would:",
        f"  curl -sS {base}/api/v1/webhooks/tradingview -H 'Content-Type: application/json' -d '{alert}'",
        "See the trade that it made:",
        f'  curl -sS {base}/api/v1/trades -H "Authorization: Bearer {token}"',
        "Listen to the trades as they happen:",
        f'  {_python()} -m websockets "{base.replace("http", "ws", 1)}/api/v1/ws?token={token}"',
        "A token, for other clients:",
        f"  {program} token --email {demo.email}",
        "",
    ]


def _program(settings: Settings) -> str:
    """How to call this program again, from this directory, for this home."""
    called = Path(sys.argv[0])
    command = shlex.quote(_short(called)) if called.name == "trendedge" else f"{_python()} -m trendedge"
    home = settings.home
    return command if home == Path(".trendedge").absolute() else f"TRENDEDGE_HOME={shlex.quote(str(home))} {command}"


def _python() -> str:
    return shlex.quote(_short(Path(sys.executable)))


def _short(path: Path) -> str:
    """The path relative to here if it lies below."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
