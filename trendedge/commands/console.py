"""What people read while a command works: one line a step, with the time that it took."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import click


class Console:
    """Writes to the standard error, or to the standard output where nothing but people read that."""

    def __init__(self, *, to_stderr: bool = True) -> None:
        self._to_stderr = to_stderr
        self._begun = perf_counter()

    def say(self, text: str = "") -> None:
        """Print a line at once."""
        click.echo(text, err=self._to_stderr)

    @contextmanager
    def step(self, text: str) -> Iterator[list[str]]:
        """Time a step of the start and print it when it is done; what the block appends to the list goes behind it."""
        begun, details = perf_counter(), list[str]()
        yield details
        self.timed(perf_counter() - begun, " ".join([text, *details]))

    def timed(self, seconds: float, text: str) -> None:
        """Print a step that took so long."""
        self.say(f"  {seconds:6.2f} s  {text}")

    @property
    def elapsed_s(self) -> float:
        """Since the command began."""
        return perf_counter() - self._begun
