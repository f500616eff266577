"""The two stores of the journal that goes on: whether each is down, and what they answer when both are asked."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Settlement
from trendedge.storage.leased_journal import LeasedJournal

log = structlog.get_logger("trendedge.journal")

_REMEMBERED = 100_000
"""Settlements remembered for a store that is down. What is beyond is delivered again after a restart: harmless."""


@dataclass(eq=False, slots=True)
class Side:
    """One of the two stores, and the settlements that it is owed."""

    prefix: str
    """Begins the ids of its entries, so that a settlement finds its store."""
    journal: LeasedJournal
    owed: deque[tuple[str, Settlement]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Sides:
    """Both stores. Whoever is told by one of them that it is down, or up, tells `learn`."""

    def __init__(self, first: LeasedJournal, second: LeasedJournal, *, on_change: Callable[[bool], None]) -> None:
        self.first, self.second = self.both = Side("1:", first), Side("2:", second)
        self.degraded = False
        """The first is down; `on_change` is called with each new value."""
        self._on_change = on_change
        self._unanswered: dict[tuple[str, str], str] = {}
        """By (prefix, question) the names of the stores that gave no answer the last time they were asked it."""

    def of(self, entry_id: str) -> tuple[Side, str]:
        """Where an entry, or a dead letter, is, and its id there."""
        side = self.first if entry_id.startswith(self.first.prefix) else self.second
        return side, entry_id.removeprefix(side.prefix)

    def by_side(self, entry_ids: Sequence[str]) -> dict[Side, list[str]]:
        """The entries' ids in each store that has some of them."""
        own_ids: dict[Side, list[str]] = {}
        for side, own_id in map(self.of, entry_ids):
            own_ids.setdefault(side, []).append(own_id)
        return own_ids

    def learn(self, side: Side, *, down: bool) -> None:
        """It has answered, or not."""
        if side is self.first and down != self.degraded:
            self.degraded = down
            self._on_change(down)

    async def ask[T](self, side: Side, asked: str, question: Callable[[Side], Awaitable[T]]) -> T:
        """:param asked: names the question in the log

        :raises JournalUnavailable: it gives no answer
        """
        try:
            answer = await question(side)
        except Fenced:
            raise
        except JournalUnavailable as error:
            self._say_unanswered(side, asked, error)
            self.learn(side, down=True)
            raise
        store = self._unanswered.pop((side.prefix, asked), None)
        if store is not None:
            log.info("store answers again", store=store, asked=asked)
        return answer

    async def ask_both[T](
        self, asked: str, question: Callable[[Side], Awaitable[T]], sides: Sequence[Side] | None = None
    ) -> list[tuple[Side, T]]:
        """The answers of the stores that have one; what failed is in the log.

        :param sides: those that are asked; None for both
        :raises JournalUnavailable: none of them has
        """
        answers: list[tuple[Side, T]] = []
        failure: JournalUnavailable | None = None
        for side in self.both if sides is None else sides:
            try:
                answers.append((side, await self.ask(side, asked, question)))
            except Fenced:
                raise
            except JournalUnavailable as error:
                failure = error
        if failure is not None and not answers:
            raise failure
        return answers

    def _say_unanswered(self, side: Side, asked: str, error: JournalUnavailable) -> None:
        """Once a change, and not while the store is known to be down."""
        place = side.prefix, asked
        if place not in self._unanswered and not (side is self.first and self.degraded):
            log.warning("store gives no answer", store=error.store, asked=asked, reason=error.reason)
            self._unanswered[place] = error.store
