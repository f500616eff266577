"""What an instance depends on while it handles a message: answers, room in a mailbox, children that start or end."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trendedge.runtime.errors import UnknownChild
from trendedge.runtime.failures import tell_crash
from trendedge.runtime.line import Line
from trendedge.runtime.offspring import Offspring
from trendedge.runtime.waits import Ask, Node, Place, Target

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.specs import Spec
    from trendedge.runtime.supervisor import Supervisor


class Dependent(Line):
    """A line whose handler may wait for others."""

    __slots__ = ("_escalated", "asks", "offspring", "place")

    def __init__(self, cell: "Cell", key: str | None) -> None:
        super().__init__(cell, key)
        self.asks: list[Ask] = []
        """Whom the handler has asked, and waits for."""
        self.place: Place | None = None
        """In whose mailbox it waits for room; or has waited, and does not yet know that it was let in."""
        self.offspring: Offspring | None = None
        """What this incarnation has spawned."""
        self._escalated: Exception | None = None
        """What it is to crash of, when the message in hand is done."""

    def escalate(self, error: Exception) -> None:
        """Crash the incarnation as soon as the message in hand is done. It crashes once, and all of it is told."""
        if self._escalated is not None:
            tell_crash(self.cell, self.key, error)
            return
        self._escalated = error
        self.wake()

    def _tell_escalated(self) -> None:
        """The incarnation has ended: of something else, if there is still a crash that it was to end of."""
        if self._escalated is not None:
            tell_crash(self.cell, self.key, self._escalated)

    async def spawn(self, spec: "Spec") -> None:
        """Start a child of this incarnation; see `Context.spawn`."""
        if self.offspring is None:
            self.offspring = Offspring(self)
        await self.offspring.spawn(spec)

    async def stop_child(self, child_id: str) -> None:
        """Stop and forget a spawned child; see `Context.stop_child`."""
        if self.offspring is None:
            raise UnknownChild(f"{self.name}/{child_id}")
        await self.offspring.stop_child(child_id)

    @property
    def children(self) -> "Supervisor | None":
        """Of what the incarnation has spawned; None before the first."""
        return None if self.offspring is None else self.offspring.supervisor

    @property
    def full(self) -> "Cell | None":
        """In whose mailbox it waits for room."""
        return None if self.place is None or self.place[1].done() else self.place[0]

    @property
    def _was_sent_away(self) -> bool:
        """It was refused while it waited for room, and does not yet know: what it was to ask, it does not."""
        let_in = None if self.place is None else self.place[1]
        return let_in is not None and let_in.done() and (let_in.cancelled() or let_in.exception() is not None)

    @property
    def waits_for_others(self) -> bool:
        """Whether it may: False is certain."""
        return self.place is not None or bool(self.asks) or self.offspring is not None

    @property
    def names(self) -> tuple[str, ...]:
        """What it adds to a circle of those who wait."""
        return (self.name,)

    def held_up_by(self) -> tuple[int, Iterator[Node]]:
        """How many have to go on before this one does, and who: all of them."""
        room = () if (full := self.full) is None else (full,)
        # Who is not there yet will begin with no wait under way.
        nodes = (*room, *(cell.entities[key] for cell, key in self.awaited() if key in cell.entities))
        return len(nodes), iter(nodes)

    def awaited(self) -> Iterator[Target]:
        """Whom the handler waits for: those that it asks, and those of its children that start or end."""
        if not self._was_sent_away:
            yield from ((cell, key) for cell, key, reply in self.asks if not reply.done())
        if self.offspring is not None:
            yield from self.offspring.awaited()

    async def _stop_children(self) -> None:
        if self.offspring is not None:
            try:
                await self.offspring.stop()
            finally:
                self.offspring = None
