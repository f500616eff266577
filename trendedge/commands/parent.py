"""Ending with the process that started us: a killed `make` leaves nothing behind that holds the port and the data."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Get SIGTERM, and with it an orderly stop, when the parent is gone. On Linux; elsewhere the terminal has to do."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), signal.SIGTERM)
