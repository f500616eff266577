"""Keeps a simulation from the world outside: what the interpreter audits raises `NotSimulated` while one runs.

Reading a clock or the system's randomness is not audited, and not kept from anybody; nor is waiting for a lock, a queue
or a file: see `NotSimulated`.
"""

import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module
from types import ModuleType
from typing import Any

from trendedge.runtime.simulation.errors import NotSimulated

_FORBIDDEN = {
    "_thread.start_new_thread": "starting a thread",
    "_thread.start_joinable_thread": "starting a thread",
    "_posixsubprocess.fork_exec": "starting a process",
    "os.exec": "starting a process",
    "os.fork": "starting a process",
    "os.forkpty": "starting a process",
    "os.posix_spawn": "starting a process",
    "os.kill": "sending a signal",
    "os.system": "starting a process",
    "signal.alarm": "setting a real timer",
    "signal.pthread_kill": "sending a signal",
    "signal.setitimer": "setting a real timer",
    "signal.signal": "handling a signal",
    "socket.__new__": "opening a socket",
    "socket.connect": "connecting a socket",
    "socket.getaddrinfo": "resolving a host name",
    "socket.gethostbyaddr": "resolving a host name",
    "socket.gethostbyname": "resolving a host name",
    "socket.getnameinfo": "resolving a host name",
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
        _audit(time, "sleep")
    for name in ("signal", "alarm", "setitimer"):
        _audit(signal, name)
    # By which `multiprocessing` starts processes, without `subprocess`.
    _audit(import_module("_posixsubprocess"), "fork_exec")


def _audit(module: ModuleType, name: str) -> None:
    """Let the calls of a function be audited that the interpreter, or an older one, does not audit by itself."""
    function, event = getattr(module, name), f"{module.__name__}.{name}"

    @wraps(function)
    def audited(*args: Any, **options: Any) -> Any:
        sys.audit(event, *args)
        return function(*args, **options)

    setattr(module, name, audited)


def _forbid(event: str, _: tuple[Any, ...]) -> None:
    if _inside and event in _FORBIDDEN and threading.get_ident() in _inside:
        raise NotSimulated(_FORBIDDEN[event])
