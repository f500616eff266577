"""Memory of a process tree as its proportional share (PSS): pages that several processes share count once in all."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

SERVERS = frozenset({"postgres", "valkey-server", "redis-server"})
SHELLS = frozenset({"sh", "bash", "dash"})
"""They launch the system under test, and are no part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Where the memory is. None where the operating system does not tell."""

    when: str
    product_mb: float | None
    product_processes: int
    servers_mb: float | None
    """PostgreSQL and Redis, as far as they run inside the tree."""
    server_processes: int


def measure_memory(root_pid: int, *, when: str) -> MemoryUse:
    """Sum up the tree below `root_pid`. Processes that end meanwhile do not count.

    :raises psutil.NoSuchProcess: the root has ended
    """
    root = psutil.Process(root_pid)
    product, servers = list[float | None](), list[float | None]()
    for process in (root, *root.children(recursive=True)):
        try:
            name = process.name()
            if name not in SHELLS:
                (servers if name in SERVERS else product).append(_share_mb(process))
        except psutil.NoSuchProcess:
            continue
    return MemoryUse(
        when=when,
        product_mb=_total(product),
        product_processes=len(product),
        servers_mb=_total(servers),
        server_processes=len(servers),
    )


def _share_mb(process: psutil.Process) -> float | None:
    try:
        share = getattr(process.memory_full_info(), "pss", None)
    except psutil.AccessDenied:
        return None
    return None if share is None else share / 2**20


def _total(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return round(sum(known), 1) if shares and len(known) == len(shares) else None
