"""Which process this is, for as long as its unsettled mail lives.

A process that starts again on the same TRENDEDGE_HOME is the same node: its mail is its own at once, without waiting
for a lease to run out. The id is kept in a file that the process holds locked, so that two processes never are one.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_FILE = "node"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a silent node counts as alive; everything else follows from that."""

    lease_s: float = 30.0
    """How long a node that says nothing counts as alive while it has unsettled mail."""

    @property
    def heartbeat_s(self) -> float:
        """How often a node with unsettled mail says that it is alive."""
        return self.lease_s / 3

    @property
    def again_s(self) -> float:
        """How soon a heartbeat that got no answer is made again."""
        return self.heartbeat_s / 10

    @property
    def look_every_s(self) -> float:
        """How often a node looks for mail of dead ones: one Redis command each time, whatever there is.

        Once a minute is 1,440 a day, of the 3,000 that idling may cost.
        """
        return self.lease_s * 2


DEFAULT_TIMES = LeaseTimes()


@contextmanager
def open_node(home: Path | None) -> Iterator[str]:
    """The id of this node, its own until the block ends.

    Without a home, or when another process holds the home's id, it is a new one: what this process leaves behind is
    then adopted by another when the lease has run out. The kernel gives the lock back when the process dies.
    """
    if home is None:
        yield uuid4().hex
        return
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _kept_id(descriptor) if _lock(descriptor) else uuid4().hex
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kept_id(descriptor: int) -> str:
    kept = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
    if _ID.fullmatch(kept):
        return kept
    fresh = uuid4().hex
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, fresh.encode(), 0)
    os.fsync(descriptor)
    return fresh
