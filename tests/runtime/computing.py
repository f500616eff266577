"""What the lanes' tests let worker processes do. A module of its own: a process that runs one of these imports it."""

import os
import signal
import sys
import threading
from pathlib import Path


class TwoPartError(Exception):
    """Like many an exception: it can be pickled, and not unpickled."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{number}: {text}")


def square(number: int) -> int:
    return number * number


def where() -> int:
    return os.getpid()


def niceness() -> int:
    return os.nice(0)


def divide(by: int) -> float:
    return 1 / by


def raise_two_parts() -> None:
    raise TwoPartError(7, "seven")


def leave() -> None:
    sys.exit(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable() -> object:
    return threading.Lock()


def interrupt_self() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def spin(started: Path) -> None:
    """Never ends by itself, and does not listen to anybody."""
    started.write_text(str(os.getpid()))
    while True:
        pass


def inherited(inode: int) -> bool:
    """Whether this process has the file or socket of that number open."""
    for descriptor in range(256):
        try:
            if os.fstat(descriptor).st_ino == inode:
                return True
        except OSError:
            continue
    return False
