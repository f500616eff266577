"""What happened in a run, as a digest that two runs can be compared by, and as lines that a person can read."""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable

_STEP = struct.Struct("<dq")


class Trace:
    """The digest covers every step and every note; the lines are kept only when `verbose`.

    Only what follows from the seed may be noted: no address, no real time, no iteration over a set.
    """

    def __init__(self, clock: Callable[[], float], *, verbose: bool = False) -> None:
        self.verbose = verbose
        self.lines: list[str] = []
        self.counts: Counter[str] = Counter()
        """Notes by kind."""
        self._open = True
        self._clock = clock
        self._hash = hashlib.blake2b(digest_size=16)

    def step(self, at_s: float, number: int, name: Callable[[], str]) -> None:
        """One callback (number 0) or one step of the task with this number is about to run."""
        self._hash.update(_STEP.pack(at_s, number))
        if self.verbose:
            self.lines.append(f"{at_s:14.6f}      . {name()}")

    def note(self, kind: str, text: str = "") -> None:
        """Something worth knowing: a fault, a commit, an acknowledgement."""
        if not self._open:
            return
        self.counts[kind] += 1
        self._hash.update(f"{kind}\x1f{text}\x1e".encode())
        if self.verbose:
            self.lines.append(f"{self._clock():14.6f} {kind:>6} {text}")

    def comment(self, text: str) -> None:
        """A line for the reader that does not count towards the digest."""
        if self.verbose and self._open:
            self.lines.append(f"{self._clock():14.6f}      # {text}")

    def close(self) -> None:
        """Take nothing any more."""
        self._open = False

    def digest(self) -> str:
        """32 hexadecimal digits."""
        return self._hash.hexdigest()
