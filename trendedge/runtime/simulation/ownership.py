"""The registry of epochs in memory: what several simulated processes share, and the view that each has of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from trendedge.runtime.errors import Fenced
from trendedge.runtime.ownership import Owner, Ownership
from trendedge.runtime.simulation.wire import GoodWire, Wire


@dataclass
class MemoryRegistry:
    """The newest epoch of each owner. Every method is one atomic step."""

    epochs: dict[tuple[str, str], int] = field(default_factory=dict)
    """By mailbox and node."""
    processes: Iterator[int] = field(default_factory=lambda: count(1))
    """Names for them."""
    refusals: int = 0
    """How often a process has learnt that it was fenced."""

    def next_epoch(self, mailbox: str, node: str, *, above: int = 0) -> int:
        """Count up, and so make an earlier process of the node stale."""
        self.epochs[mailbox, node] = epoch = max(self.epochs.get((mailbox, node), 0), above) + 1
        return epoch

    def fence(self, owner: Owner) -> bool:
        """As `Ownership.fence`."""
        newest = self.epochs.get((owner.mailbox, owner.node))
        if newest is None or newest > owner.epoch:
            return False
        self.epochs[owner.mailbox, owner.node] = owner.epoch + 1
        return True

    def valid(self, owner: Owner) -> bool:
        """Whether this owner may commit: what a store has to look at in the transaction of the commit."""
        return self.epochs.get((owner.mailbox, owner.node)) == owner.epoch


class MemoryOwnership(Ownership):
    """The epochs of one simulated process. Raises what its wire raises when the registry cannot be reached."""

    def __init__(self, registry: MemoryRegistry, *, node: str, wire: Wire | None = None) -> None:
        super().__init__(node=node, process=str(next(registry.processes)))
        self._registry = registry
        self._wire = wire or GoodWire()

    async def next_epoch(self, mailbox: str, *, above: int) -> int:
        """As `Ownership.next_epoch`."""
        take = partial(self._registry.next_epoch, mailbox, self.node, above=above)
        return await self._wire.call("next_epoch", take)

    async def fence(self, owner: Owner) -> bool:
        """As `Ownership.fence`."""
        return await self._wire.call("fence", lambda: self._registry.fence(owner))

    def lost(self, owner: Owner, *, valid_from: int = 0) -> Fenced:
        """As `Ownership.lost`, and counted."""
        self._registry.refusals += 1
        return super().lost(owner, valid_from=valid_from)
