"""What must hold in a flow whenever all rest, and after every run, by name. Each yields what breaks it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.simulation.flow_graph import SHUTDOWN_S
from tests.simulation.flow_ledger import Box, Call, Parcel
from tests.simulation.invariants import Broken
from trendedge.runtime import Overflow
from trendedge.runtime.cell import Cell
from trendedge.runtime.watchdog import cells

if TYPE_CHECKING:
    from tests.simulation.flow import World

type Invariant = Callable[["World"], Iterator[str]]

TOLD_OF = {
    "done": {"handled"},
    "LookupError": {"handled"},
    "HandlerCrashed": {"buried"},
    "MessageDropped": {"dropped"},
    "DeadlineExceeded": {"expired"},
    "ActorStopped": {"left"},
}
"""What has become of a request, by what its asker was told."""
OUTCOMES = {"handled": "handled", "buried": "buried", "dropped": "dropped", "left": "dropped", "expired": "expired"}
"""As what each outcome is counted."""


def look(world: "World") -> None:
    """Look at everything at a moment at which nobody has anything to do."""
    for name in world.circles.real():
        world.ledger.broken(name, "each circle is refused")
    for cell in cells(world.root):
        for what, invariant in _seen_at(world, cell):
            world.ledger.broken(f"{cell.path} {what}", invariant)


def _seen_at(world: "World", cell: Cell) -> Iterator[tuple[str, str]]:
    inside = sum(len(entity.mail) for entity in cell.entities.values())
    coming = 0 if cell._room is None else cell._room.coming
    if cell.depth != inside or coming:
        yield f"has {inside}, and counts {cell.depth} and {coming} to come", "counters count what is there"
    waiting = sum(call.cell is cell and not call.accepted for call in world.ledger.open.values())
    if cell.waiting != waiting:
        yield f"has {waiting} who wait for room, and counts {cell.waiting}", "counters count what is there"
    if waiting and (cell.depth < cell.spec.capacity or cell.ending):
        yield "has somebody who waits for nothing", "nobody waits for room that is there"
    here = [entity.name for entity in cell.entities.values() if entity.place is not None or entity.asks]
    held = sorted(
        cell.name_of(one.holder[1]) for one in world.ledger.open.values() if one.holder and one.holder[0] is cell
    )
    if sorted(here) != held:
        yield f"knows of {sorted(here)} who wait, and {held} do", "counters count what is there"
    if cell.spec.key is not None:
        hosted = sorted(entity.name for entity in cell.hosted())
        live = sorted(name for name, (of, task) in world.live.items() if of is cell and not task.done())
        if hosted != live:
            yield f"knows of {hosted}, and there are {live}", "each instance that lives is known"


def check(world: "World") -> None:
    """Check all of them, and those that were looked at while it ran.

    :raises Broken: some do not hold
    """
    found = {name: what for name, invariant in INVARIANTS.items() if (what := list(invariant(world)))}
    if found or world.ledger.found:
        raise Broken(found | world.ledger.found)


def one_outcome_each(world: "World") -> Iterator[str]:
    """What a mailbox has taken comes to one end, and what it has refused to none."""
    for number, call in world.ledger.calls.items():
        outcomes = [what for what, _ in world.ledger.outcomes.get(number, ())]
        if len(outcomes) != call.accepted:
            yield f"{number} was {'taken' if call.accepted else 'refused'} by {call.cell.path}: {outcomes}"
    for number in sorted(world.ledger.outcomes):
        if number not in world.ledger.calls and len(world.ledger.outcomes[number]) > 1:
            yield f"{number} of an actor to itself: {world.ledger.outcomes[number]}"


def told_the_truth(world: "World") -> Iterator[str]:
    """Whoever has called was told what has become of it."""
    for number, call in world.ledger.calls.items():
        outcome, at = next(iter(world.ledger.outcomes.get(number, ())), (None, 0.0))
        if not _true(call, outcome, at):
            yield f"{call.how} {number} to {call.cell.path} ended with {call.ended}, and was {outcome}"


def _true(call: Call, outcome: str | None, at: float) -> bool:
    if call.ended is None:
        return False  # it was not told anything
    if call.ended == "CancelledError":
        return call.how == "ask" or not call.accepted
    if call.how == "ask" and call.accepted:
        if call.ended == "AskTimeout":
            return outcome is None or at >= call.ended_at
        return outcome in TOLD_OF.get(call.ended, ())
    return call.accepted == (call.ended == "done")


def blocks(world: "World") -> Iterator[str]:
    """Who is refused for want of room cannot wait for any."""
    for number, call in world.ledger.calls.items():
        waits = call.how != "tell_nowait" and call.cell.spec.overflow is Overflow.BLOCK
        if waits and call.ended == "MailboxFull":
            yield f"{call.how} {number} to {call.cell.path} was refused"


def counted(world: "World") -> Iterator[str]:
    """The counters of an actor are what has become of its mail. Another cell in its place goes on counting."""
    actors: defaultdict[int, list[Box]] = defaultdict(list)
    happened: Counter[tuple[int, str]] = Counter()
    for box in world.ledger.boxes:
        actors[id(box.cell.stats)].append(box)
    for number, outcomes in world.ledger.outcomes.items():
        stats = id(world.ledger.where[number].cell.stats)
        happened.update((stats, OUTCOMES[what]) for what, _ in outcomes)
    for stats, boxes in actors.items():
        for what in sorted({*OUTCOMES.values()}):
            counts, times = getattr(boxes[0].cell.stats, what), happened[stats, what]
            if counts != times:
                yield f"{boxes[0].cell.path} counts {counts} {what}, and there were {times}"


def in_order(world: "World") -> Iterator[str]:
    """What one line takes is begun in that order; of what is coalesced, what takes each other's place."""
    for box in world.ledger.boxes:
        place = {number: at for at, number in reversed(list(enumerate(box.begun)))}
        lines: defaultdict[Hashable, list[int]] = defaultdict(list)
        for parcel in box.accepted:
            if parcel.number in place:
                lines[_line(box.cell, parcel)].append(parcel.number)
        for numbers in lines.values():
            for earlier, later in pairwise(numbers):
                if place[earlier] > place[later]:
                    yield f"{box.cell.path} began {later} before {earlier}"


def _line(cell: Cell, parcel: Parcel) -> Hashable:
    coalesces = cell.spec.overflow is Overflow.COALESCE
    return cell.key_of(parcel), parcel.subject if coalesces else None


def bounded_stop(world: "World") -> Iterator[str]:
    """The stop takes no longer than its children may take one after the other, and leaves nothing running."""
    if world.ended_at is None:
        yield "the graph has not ended"
        return
    took_s, most_s = world.ended_at - world.stop_asked_at, SHUTDOWN_S * len(world.refs)
    if took_s > most_s:
        yield f"the stop took {took_s:.1f} s, and may take {most_s:.1f} s"


def nothing_left_behind(world: "World") -> Iterator[str]:
    """When all is over nobody waits for anything, and no room is taken."""
    for name in world.left_behind:
        yield f"the task {name} goes on"
    for call in world.ledger.open.values():
        yield f"{call.by} waits for its {call.how} to {call.cell.path}"
    for box in world.ledger.boxes:
        cell = box.cell
        coming = 0 if cell._room is None else cell._room.coming
        if cell.depth or cell.waiting or coming or cell.entities or box.active.total():
            yield f"{cell.path} has depth {cell.depth}, {cell.waiting} + {coming} wait for room"


INVARIANTS: dict[str, Invariant] = {
    "each message has one outcome": one_outcome_each,
    "each sender is told what has become of it": told_the_truth,
    "who blocks refuses nobody": blocks,
    "counters count what has happened": counted,
    "order per key": in_order,
    "bounded stops": bounded_stop,
    "nothing is left behind": nothing_left_behind,
}
