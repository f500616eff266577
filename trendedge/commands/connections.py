"""Whether the servers that the settings name can be used: within seconds, and with a sentence that says what to do."""

from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import anyio

from trendedge.commands.console import Console
from trendedge.commands.errors import StoreUnusable
from trendedge.storage import postgres, redis
from trendedge.storage.errors import StoreUnavailable

CONNECT_S = 5.0
"""Longer than any server takes that can be worked with, and short enough that the whole start fails within 10 s."""

_MENDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"ConnectionRefusedError"}), "Nothing listens there: start the server, or correct host and port in {}."),
    (frozenset({"gaierror"}), "There is no such host: correct {}."),
    (frozenset({"TimeoutError"}), "It does not answer: check the host and port in {}, the network and the firewall."),
    (
        frozenset({"InvalidPasswordError", "InvalidAuthorizationSpecificationError", "AuthenticationError"}),
        "It refuses the user or the password: correct them in {}.",
    ),
    (frozenset({"InvalidCatalogNameError"}), "Create the database, or correct its name in {}."),
)
_OTHERWISE = "Correct {}."


async def check_postgres(url: str, console: Console, *, setting: str = "DATABASE_URL") -> None:
    """Ask the server for a sign of life.

    :raises StoreUnusable: there is none
    """
    address = f"PostgreSQL at {postgres.address_of(urlsplit(url))}"

    async def version() -> str | None:
        async with postgres.open_database(url, connect_timeout_s=CONNECT_S) as database:
            await database.ping()
            return database.version

    with console.step(address) as details:
        details.append(f"({await _answer(version, url, setting, address)})")


async def check_redis(url: str, console: Console, *, setting: str = "UPSTASH_REDIS_URL") -> None:
    """Ask the server for a sign of life.

    :raises StoreUnusable: there is none
    """
    address = f"Redis at {redis.address_of(url)}"

    async def version() -> str | None:
        async with redis.open_redis(url, timeout_s=CONNECT_S, connect_timeout_s=CONNECT_S) as store:
            await store.ping()
            return store.version

    with console.step(address) as details:
        details.append(f"({await _answer(version, url, setting, address)})")


async def _answer(ask: Callable[[], Awaitable[str | None]], url: str, setting: str, address: str) -> str:
    try:
        with anyio.fail_after(CONNECT_S + 2):  # a resolver or a handshake in between has no limit of its own
            return await ask() or "of unknown version"
    except Exception as error:  # a driver's own too: no such Redis database, not a Redis at all
        reason = error.reason if isinstance(error, StoreUnavailable) else str(error)
        reason = "no answer in time" if reason in {"", "TimeoutError"} else reason
        raise StoreUnusable(setting, address, _without_password(reason, url), _mend(error).format(setting)) from error


def _mend(error: BaseException) -> str:
    """What to do, from the exceptions behind this one. By their names: the drivers are storage's alone."""
    names: set[str] = set()
    behind: BaseException | None = error
    while behind is not None:
        names.update(kind.__name__ for kind in type(behind).__mro__)
        behind = behind.__cause__ or behind.__context__
    return next((mend for kinds, mend in _MENDS if kinds & names), _OTHERWISE)


def _without_password(text: str, url: str) -> str:
    password = urlsplit(url).password
    for secret in filter(None, {password, unquote(password or "")}):
        text = text.replace(secret, "***")
    return text.rstrip(".")
