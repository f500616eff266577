"""`trendedge deadletters`: what was given up, seen and worked off from a terminal.

It asks the running product, as any operator does: so each act is audited, and what is replayed is delivered at once.
"""

import json
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

import anyio.to_thread
import click

from trendedge.commands.errors import CommandFailed
from trendedge.settings import Settings

PATH = "/ops/dead-letters"
TIMEOUT_S = 15.0
_CAUSE_CHARS = 72


class NotRunning(CommandFailed):
    """Nobody answers where the product should."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the product does not answer on {url}: {reason}. Start it, or say with --url where it runs; "
            "what is dead waits meanwhile"
        )
        self.url, self.reason = url, reason


class Refused(CommandFailed):
    """The product answers, and says no."""

    def __init__(self, status: int, message: str) -> None:
        hint = " Check OPERATOR_API_KEY" if status == HTTPStatus.UNAUTHORIZED else ""
        super().__init__(f"{message} ({status}).{hint}")
        self.status = status


class Desk:
    """The operators' door of the running product."""

    def __init__(self, settings: Settings, url: str | None) -> None:
        self._url = (url or settings.public_url).rstrip("/")
        self._key = settings.operator_api_key
        self._open = build_opener(ProxyHandler({})).open  # it is this machine, or one that is named: no proxy between

    async def get(self, path: str, **query: Any) -> Any:
        """Read."""
        return await self._call("GET", path, query)

    async def post(self, path: str, **query: Any) -> Any:
        """Act."""
        return await self._call("POST", path, query)

    async def _call(self, method: str, path: str, query: dict[str, Any]) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        url = f"{self._url}{path}" + (f"?{urlencode(given)}" if given else "")
        if not url.startswith(("http://", "https://")):
            raise NotRunning(self._url, "that is no http:// or https:// address")
        request = Request(url, method=method, headers={"X-API-Key": self._key})  # noqa: S310 - checked above
        return await anyio.to_thread.run_sync(self._answer, request)

    def _answer(self, request: Request) -> Any:
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise Refused(error.code, _message(error)) from None
        except (URLError, OSError, ValueError) as error:
            raise NotRunning(self._url, str(getattr(error, "reason", error))) from None


def _message(error: HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return "the answer is not one of ours"


async def print_list(settings: Settings, *, url: str | None, mailbox: str | None, limit: int) -> None:
    """The newest letters, one a line: id, when, attempts, cause."""
    page = await Desk(settings, url).get(PATH, mailbox=mailbox, limit=limit)
    for letter in page["items"]:
        cause = letter["cause"].partition("\n")[0][:_CAUSE_CHARS]
        click.echo(f"{letter['id']}  {letter['buried_at']}  {letter['attempts']:>2}  {cause}")
    if not page["items"]:
        click.echo("no dead letters", err=True)
    if page["next_cursor"] is not None:
        click.echo(f"there are more than {limit}: ask for more with --limit", err=True)


async def print_letter(settings: Settings, letter_id: str, *, url: str | None) -> None:
    """One letter as JSON, its traceback last and as it was."""
    letter = await Desk(settings, url).get(f"{PATH}/{quote(letter_id, safe='')}")
    traceback = letter.pop("traceback")
    click.echo(json.dumps(letter, indent=2, ensure_ascii=False))
    click.echo(traceback, err=True)


async def replay(settings: Settings, letter_id: str, *, url: str | None, dry_run: bool) -> None:
    """Have it delivered again; with `dry_run`, print as JSON what that would do."""
    desk = Desk(settings, url)
    answer = await desk.post(f"{PATH}/{quote(letter_id, safe='')}/replay", dry_run="true" if dry_run else None)
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False) if dry_run else f"{letter_id} replayed")


async def discard(settings: Settings, letter_id: str, *, url: str | None) -> None:
    """Remove it for good."""
    await Desk(settings, url).post(f"{PATH}/{quote(letter_id, safe='')}/discard")
    click.echo(f"{letter_id} discarded")
