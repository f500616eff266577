"""The servers that a command works on: those that the settings name, else embedded ones, found running or started.

`serve` owns the embedded servers that it starts. Any other command uses the running process's, and only when there is
none starts them for as long as it takes.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio

from trendedge.commands.connections import check_postgres, check_redis
from trendedge.commands.console import Console
from trendedge.commands.errors import StoresUnusable, StoreUnusable
from trendedge.settings import Settings
from trendedge.storage.embedded import HomeInUse, find_running
from trendedge.storage.embedded.postgres import Postgres
from trendedge.storage.embedded.server import PREDECESSOR_S, Kind, start
from trendedge.storage.embedded.valkey import Valkey


@dataclass(frozen=True, slots=True)
class _Need:
    """One store that a command needs."""

    field: str
    check: Callable[[str, Console], Awaitable[None]]
    kind: type[Kind]
    title: str


_POSTGRES = _Need("database_url", check_postgres, Postgres, "PostgreSQL")
_REDIS = _Need("upstash_redis_url", check_redis, Valkey, "Valkey")


@asynccontextmanager
async def all_stores(settings: Settings, console: Console, *, share: bool = False) -> AsyncIterator[Settings]:
    """The settings with both addresses filled in. The servers answer, and those that we started end with the block.

    Call it from the main thread.

    :param share: use the servers of another process that runs on this home, if there are any
    :raises StoreUnusable: a server that the settings name cannot be used
    :raises EmbeddedFault: an embedded server cannot be started
    """
    async with _open(settings, console, (_POSTGRES, _REDIS), share=share) as opened:
        yield opened


@asynccontextmanager
async def database_only(settings: Settings, console: Console) -> AsyncIterator[Settings]:
    """As `all_stores`, shared, for commands that need no Redis."""
    async with _open(settings, console, (_POSTGRES,), share=True) as opened:
        yield opened


@asynccontextmanager
async def _open(
    settings: Settings, console: Console, needs: tuple[_Need, ...], *, share: bool
) -> AsyncIterator[Settings]:
    await _check([(need, getattr(settings, need.field)) for need in needs], console)
    missing = [need for need in needs if not getattr(settings, need.field)]
    found: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        try:
            async with anyio.create_task_group() as tasks:
                for need in missing:
                    tasks.start_soon(_provide, settings, console, need, share, found, stack)
        except* Exception as group:
            raise _first(group) from None
        yield settings.model_copy(update=found)


async def _check(addresses: list[tuple[_Need, str]], console: Console) -> None:
    """Look at all servers that the settings name at once, so that one message tells of all that is wrong."""
    faults: list[StoreUnusable] = []

    async def check(need: _Need, url: str) -> None:
        try:
            await need.check(url, console)
        except StoreUnusable as fault:
            faults.append(fault)

    async with anyio.create_task_group() as tasks:
        for need, url in addresses:
            if url:
                tasks.start_soon(check, need, url)
    if len(faults) > 1:
        raise StoresUnusable(faults)
    if faults:
        raise faults[0]


async def _provide(
    settings: Settings, console: Console, need: _Need, share: bool, found: dict[str, str], stack: AsyncExitStack
) -> None:
    name = need.kind.name
    deadline = time.monotonic() + PREDECESSOR_S
    while share:
        running = find_running(settings.home, name)
        if running:
            found[need.field] = running
            return
        try:  # Its owner may be about to be ready: look again and again while the home is taken.
            await _start(settings, console, need, found, stack, patience_s=0.1)
        except HomeInUse:
            if time.monotonic() > deadline:
                raise
            continue
        return
    await _start(settings, console, need, found, stack, patience_s=PREDECESSOR_S)


async def _start(
    settings: Settings,
    console: Console,
    need: _Need,
    found: dict[str, str],
    stack: AsyncExitStack,
    *,
    patience_s: float,
) -> None:
    with console.step(f"embedded {need.title}") as details:
        server = await start(
            need.kind(), settings.home, report=console.say if patience_s > 1 else _nobody, patience_s=patience_s
        )
        stack.push_async_callback(server.stop)
        found[need.field] = server.url
        details.append(f"on 127.0.0.1:{server.port}")


def _nobody(_: str) -> None:
    """Brief waits are not worth a line."""


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One sentence is what a person can act on; the next run tells the next."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
