"""Who waits for whom in a flow, from what the senders know of their calls: the runtime's own books are not asked."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.simulation.flow_ledger import Call, Instance, Ledger
from trendedge.runtime import AskCycle, TellCycle
from trendedge.runtime.cell import Cell
from trendedge.runtime.simulation import SimulatedLoop

type Waits = dict[Instance, list[Sequence[Instance]]]
"""Who waits, and the groups of which one has to go on before it does."""


class Circles:
    """The circles in which nobody could ever go on."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._late: list[TellCycle] = []

    def waits(self) -> Waits:
        """All handlers that are held up by a call."""
        return {
            call.holder: list(self._groups(call))
            for call in self._ledger.open.values()
            if call.holder is not None and (call.waits or call.goes_on_to_wait)
        }

    def real(self) -> list[str]:
        """Who is in a circle that was not refused, or waits for one."""
        return sorted(cell.name_of(key) for cell, key in stuck(self.waits()))

    def watch(self, loop: SimulatedLoop) -> None:
        """Look also at who is refused while it waits, at the moment at which that is decided."""
        circles = self

        class Watched(asyncio.Future[Any]):
            def set_exception(self, exception: type | BaseException, /) -> None:
                if isinstance(exception, TellCycle):
                    loop.trace.note("a circle arose")
                    circles.refused_late(self, exception)
                super().set_exception(exception)

        loop.create_future = lambda: Watched(loop=loop)  # type: ignore[method-assign]

    def refused_late(self, awaited: asyncio.Future[Any], error: TellCycle) -> None:
        """Whoever awaits this is about to be told that it waits for itself."""
        call = next(one for one in self._ledger.open.values() if one.awaits is awaited)
        self._late.append(error)
        self._look(call, error)

    def refused(self, call: Call, error: TellCycle | AskCycle) -> None:
        """Somebody was told so: just now, or it is known already."""
        if error not in self._late:
            self._look(call, error)

    def _look(self, call: Call, error: TellCycle | AskCycle) -> None:
        for what in self._wrong(call, error):
            self._ledger.broken(what, "what is refused as a circle is one")

    def _wrong(self, call: Call, error: TellCycle | AskCycle) -> Iterator[str]:
        """Why a call that was refused just now would not have waited for itself."""
        waits = self.waits()
        if call.holder is None:
            yield f"{call.by} holds up nobody"
            return
        waits[call.holder] = [[call.holder]]
        group = self._in_line(call.cell) if isinstance(error, TellCycle) else [call.at]
        if not group or not stuck(waits).issuperset(group):
            yield f"{call.by} was refused at {call.cell.path}: {' -> '.join(error.cycle)}"
        yield from _wrong_steps(call.holder, group, waits, error.cycle)

    def _groups(self, call: Call) -> Iterator[Sequence[Instance]]:
        """Of whom one has to go on: to answer, and to make room."""
        if call.how == "ask":
            yield [call.at]
        if not call.accepted and call.waits:
            yield self._in_line(call.cell)

    def _in_line(self, cell: Cell) -> list[Instance]:
        """Who has mail there, or is about to, and makes room when it has handled some."""
        about_to = [call.at for call in self._ledger.open.values() if call.cell is cell and call.is_let_in]
        return [*((cell, key) for key, entity in cell.entities.items() if entity.mail), *about_to]


def _wrong_steps(asker: Instance, group: Sequence[Instance], waits: Waits, told: Sequence[str]) -> Iterator[str]:
    """The circle in the error goes from one to whom that one waits for, and round."""
    steps: Mapping[Instance, list[Instance]] = {
        one: [of for some in groups for of in some] for one, groups in waits.items()
    }
    by_name = {cell.name_of(key): (cell, key) for cell, key in (asker, *group, *steps)}
    way = [by_name.get(name) for name in told]
    if way[0] != asker or way[-1] != asker:
        yield f"{told} does not begin and end with who was refused"
    for here, there in pairwise(way):
        expected = group if here == asker else steps.get(here, []) if here is not None else []
        if there not in expected:
            yield f"{told}: nobody waits that way"


def stuck(waits: Waits) -> set[Instance]:
    """Those who wait for nobody but each other: whoever has a group with somebody else in it goes on."""
    left = set(waits)
    while free := [one for one in left if not any(group and left.issuperset(group) for group in waits[one])]:
        left.difference_update(free)
    return left
