"""Keeps a simulation from the world outside: what the interpreter audits raises `NotSimulated` while one runs.

Reading a clock or the system's randomness is not audited, and not kept from anybody: see `NotSimulated`.
"""

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from trendedge.runtime.simulation.errors import NotSimulated

_FORBIDDEN = {
    "_thread.start_new_thread": "starting a thread",
    "_thread.start_joinable_thread": "starting a thread",
    "os.fork": "starting a process",
    "os.forkpty": "starting a process",
    "os.posix_spawn": "starting a process",
    "os.system": "starting a process",
    "socket.__new__": "opening a socket",
    "socket.connect": "connecting a socket",
    "socket.getaddrinfo": "resolving a host name",
    "subprocess.Popen": "starting a process",
    "time.sleep": "sleeping in real time",
}
_inside: set[int] = set()
"""Identifiers of the threads in which a simulation runs just now."""


@contextmanager
def sealed() -> Generator[None]:
    """Within the block this thread can start, connect and sleep nothing. Other threads are left alone."""
    _install()
    ident = threading.get_ident()
    _inside.add(ident)
    try:
        yield
    finally:
        _inside.discard(ident)


@cache
def _install() -> None:
    # An audit hook cannot be removed: one for the life of the process, which looks at `_inside` first.
    sys.addaudithook(_forbid)
    if sys.version_info < (3, 13):
        _audit_sleep(time.sleep)


def _audit_sleep(sleep: Callable[[float], None]) -> None:
    """Let sleeping be audited, which the interpreter does by itself from 3.13 on."""

    def audited(seconds: float, /) -> None:
        sys.audit("time.sleep", seconds)
        sleep(seconds)

    time.sleep = audited  # type: ignore[assignment]  # it is given seconds as a float or an int


def _forbid(event: str, _: tuple[Any, ...]) -> None:
    if _inside and event in _FORBIDDEN and threading.get_ident() in _inside:
        raise NotSimulated(_FORBIDDEN[event])
