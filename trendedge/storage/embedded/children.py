"""Child processes that end with their parent, whatever ends it, and outlive it by no more than their own shutdown."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals
from typing import IO

import anyio

_LAUNCH = Path(__file__).with_name("launch.py")
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""The servers'. Nothing of ours: PGPORT, PGOPTIONS and the like would change them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a server runs as. Without a uid: as we do."""

    uid: int | None = None
    gid: int | None = None
    alias: int | None = None
    """The uid that the server sees itself as, in a user namespace. On disk nothing changes."""

    def __str__(self) -> str:
        who = "as we are" if self.uid is None else f"as user {self.uid}"
        return who if self.alias is None else f"{who} in a user namespace"


SELF = Identity()


class Child:
    """A running server process. Not bound to an event loop."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int | None) -> None:
        self._process = process
        self._lifeline = lifeline

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def stop(self, *signals: Signals, patience_s: float = 10.0) -> None:
        """Send the signals one after the other, each time waiting for the end, and SIGKILL at last. Not cancellable."""
        with anyio.CancelScope(shield=True):
            for number in (*signals, Signals.SIGKILL):
                if self.running:
                    self._process.send_signal(number)
                    with anyio.move_on_after(patience_s):
                        await self.wait()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def wait(self) -> int:
        """Wait for the end; the exit code."""
        while self.running:  # noqa: ASYNC110  # the alternative, SIGCHLD, belongs to the event loop; a thread would linger
            await anyio.sleep(0.01)
        return self._process.wait()


def spawn(
    argv: list[str],
    *,
    cwd: Path,
    log: IO[bytes],
    parent_death_signal: Signals,
    identity: Identity = SELF,
    keep: tuple[int, ...] = (),
    watchdog: bool = sys.platform != "linux",
) -> Child:
    """Start a server that gets `parent_death_signal` when we end. Call it from the main thread.

    On Linux the kernel watches the *thread* that spawns: a worker thread would take the server with it. The server has
    a session of its own, so that Ctrl-C in the terminal reaches us first and the shutdown keeps its order.

    :param keep: descriptors that the server inherits, for example of its lock
    :param watchdog: watch the parent through a pipe and not through the kernel
    """
    reader, writer = os.pipe() if watchdog else (None, None)
    order = {
        "argv": argv,
        "environment": _ENVIRONMENT,
        "parent": os.getpid(),
        "parent_death_signal": int(parent_death_signal),
        "identity": asdict(identity),
        "lifeline": reader,
    }
    process = subprocess.Popen(  # noqa: S603  # the program is ours, and there is no shell
        [sys.executable, "-I", "-S", str(_LAUNCH), json.dumps(order)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=keep if reader is None else (*keep, reader),
        start_new_session=True,
    )
    if reader is not None:
        os.close(reader)
    return Child(process, writer)
