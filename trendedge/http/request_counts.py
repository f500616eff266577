"""How many requests were answered, and how."""

from collections import defaultdict
from dataclasses import dataclass

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Answered:
    """Requests of one kind."""

    requests: int = 0
    seconds: float = 0.0
    """That they took, in all."""


class RequestCounts:
    """Counts in a dictionary, which costs a request next to nothing. Reset by the start of the process alone."""

    def __init__(self) -> None:
        self.by_kind: defaultdict[tuple[str, str], Answered] = defaultdict(Answered)
        """By method and status. Methods that clients make up are one, or a stranger could fill the memory."""

    def count(self, method: str, status: int, seconds: float) -> None:
        """Take in one answer."""
        answered = self.by_kind[method if method in _METHODS else "other", str(status)]
        answered.requests += 1
        answered.seconds += seconds
