"""`make dev`: serve, and start again when a file changes. The embedded servers stay up meanwhile."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import watchfiles

from trendedge.commands.console import Console
from trendedge.commands.parent import end_with_parent
from trendedge.commands.stores import all_stores
from trendedge.settings import Settings

_SOURCE = Path(__file__).resolve().parents[1]
_STOP_S = 15.0


async def run(settings: Settings, *, stop_with_parent: bool) -> int:
    """Serve until SIGINT or SIGTERM; always 0."""
    if stop_with_parent:
        end_with_parent()
    console = Console(to_stderr=False)
    async with all_stores(settings, console) as opened:
        servers = {"DATABASE_URL": opened.database_url, "UPSTASH_REDIS_URL": opened.redis_url}
        child = _Serving(servers, [])
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_set_on_signal, stop)
            async for changes in watchfiles.awatch(_SOURCE, stop_event=stop, debounce=60, step=20):
                console.say(f"changed: {', '.join(sorted({Path(path).name for _, path in changes}))}")
                await child.stop()
                child = _Serving(servers, ["--brief"])
            tasks.cancel_scope.cancel()
        await child.stop()
    return 0


async def _set_on_signal(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


class _Serving:
    """`trendedge serve` as a child. It ends with us; a child that failed is left alone until the next change."""

    def __init__(self, servers: dict[str, str], options: list[str]) -> None:
        command = [sys.executable, "-m", "trendedge", "serve", "--stop-with-parent", *options]
        self._process = subprocess.Popen(command, env=os.environ | servers)  # noqa: S603  # our own program

    async def stop(self) -> None:
        """End it in order, or, if it does not, at once."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
            with anyio.move_on_after(_STOP_S):
                while self._process.poll() is None:  # noqa: ASYNC110  # as in storage.embedded.children
                    await anyio.sleep(0.01)
