"""What the tool is doing, on stderr: stdout holds the table alone."""

import sys
from time import perf_counter

_STARTED_AT = perf_counter()


def show(what: str) -> None:
    """One line with the seconds since the tool began."""
    print(f"[{perf_counter() - _STARTED_AT:6.1f} s] {what}", file=sys.stderr, flush=True)
