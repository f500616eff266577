"""Actors that wait for each other over many seeds: nothing may break, everything must happen, no safeguard is idle."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.simulation.flow import run_flow
from trendedge.runtime import cell as cells
from trendedge.runtime import ref as refs
from trendedge.runtime import room as rooms
from trendedge.runtime import waits
from trendedge.runtime.cell import Cell
from trendedge.runtime.entity import Entity
from trendedge.runtime.latest import Latest
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.room import Room, Waiter
from trendedge.runtime.simulation.campaign import run_seeds

SEEDS = range(80)
MOST_SEEDS = 400
SOMETIMES = [
    *(f"tell {how}" for how in ("done", "MailboxFull", "TellCycle", "ActorStopped", "CancelledError")),
    *(f"ask {how}" for how in ("done", "MailboxFull", "TellCycle", "AskCycle", "AskTimeout", "CancelledError")),
    *(f"ask {how}" for how in ("ActorStopped", "HandlerCrashed", "MessageDropped", "DeadlineExceeded", "LookupError")),
    *(f"tell_nowait {how}" for how in ("done", "MailboxFull", "ActorStopped")),
    *("handled", "buried", "dropped", "expired", "left"),
    *("suspended", "restarted", "added", "removed", "overran", "passivated", "at rest"),
    *("crash", "stray cancellation", "died at the start"),
    *(f"{what} cancelled" for what in ("tell", "ask", "inner tell", "inner ask", "restart", "remove")),
    *("waits for room", "cancelled when let in", "went round the capacity", "a circle arose"),
]


def test_many_seeds_break_nothing_and_everything_happens_in_them() -> None:
    campaign = run_seeds(run_flow, SEEDS, processes=1)
    failures = [f'make simulate SEED={one.seed} ARGS="--scenario flow": {one.failure}' for one in campaign.failures]
    assert failures == []
    assert [kind for kind in SOMETIMES if not campaign.counts[kind]] == []


def test_a_seed_is_one_run() -> None:
    assert run_flow(5).digest == run_flow(5).digest
    assert run_flow(5).digest != run_flow(6).digest


# -- ablations ------------------------------------------------------------------------------------------------------


def last_first(room: Room, waiter: Waiter) -> None:
    """Who comes last is let in first."""
    room.waiters.appendleft(waiter)


def rude(room: Room, ticket: int) -> bool:
    """Whoever is let in takes the place, whether or not it was that of another."""
    return room._cell.is_full and not room._cell.ending


def blind(sender: Entity, cell: Cell) -> None:
    """Who waits for whom is not looked at when a handler begins to wait for room."""


def credulous(asker: Entity, cell: Cell, key: str | None) -> None:
    """As little when it asks."""


def never(room: Room) -> None:
    """Who waits for whom is not looked at when somebody has left."""


def uninformed(line: Entity) -> Cell | None:
    """Who was let in waits until it knows."""
    return None if line.place is None else line.place[0]


def everybody(cell: Cell) -> tuple[int, Iterator[Any]]:
    """Those who are coming are left out of account, and those who have put all aside."""
    return 1, iter([one for one in cell.entities.values() if one.mail])


def dead_end(search: Any, first: Any, last: Entity, way: Callable[..., Any] = waits._Search.way) -> tuple[str, ...]:
    """Who waits behind a circle of others is refused for it."""
    return way(search, first, last) or (last.name,)


def hospitable(room: Room) -> None:
    """Who waits when the actor ends goes on waiting."""


def asleep(room: Room) -> None:
    """Nobody is let in when a message leaves."""


async def selfish(room: Room, sender: Entity | None) -> None:
    """Who is cancelled after it was let in keeps its turn to itself."""
    room._last += 1
    ticket = room._last
    while room._must_wait(ticket):
        waiter = asyncio.get_running_loop().create_future()
        if sender is not None:
            waits.refuse_tell_in_circle(sender, room._cell)
            sender.place = (room._cell, waiter)
        room._queue(Waiter(ticket, waiter, sender))
        try:
            await waiter
        finally:
            if sender is not None:
                sender.place = None
        room.coming -= 1


def open_to_all(cell: Cell) -> bool:
    """The places of those who are coming are free for others."""
    return cell.depth >= cell.spec.capacity


def nobody() -> None:
    """A handler that tells its own actor waits for room as others do."""


def spare(cell: Cell) -> None:
    """Nothing is dropped for a later message."""


def newest(cell: Cell) -> tuple[Envelope, Entity] | None:
    """What was sent last is dropped."""
    waiting = [(one, line) for line in cell.entities.values() for one in line.mail if one is not line.in_hand]
    return next((found for found in reversed(waiting) if found[0].origin is None), None)


def uncounted(cell: Cell, envelope: Envelope, why: str, dropped: Callable[..., None] = Cell.dropped) -> None:
    """What is dropped is not counted."""
    dropped(cell, envelope, why)
    cell.stats.dropped -= 1


def silent(latest: Latest, envelope: Envelope, replace: Callable[..., bool] = Latest.replace) -> bool:
    """Who has asked for what a later message replaces is not told."""
    waiting = latest._waiting.get(latest._key(envelope.message))
    if waiting is not None:
        waiting.reply = None
    return replace(latest, envelope)


def mute(envelope: Envelope, actor: str) -> None:
    """Who has asked for what a stop leaves is not told."""


def restless(line: Entity, context: Any) -> bool:
    """Nobody is ever idle."""
    return False


type Patch = tuple[Any, str, Any]

ABLATIONS: dict[str, tuple[list[Patch], str]] = {
    "first come, first let in": (
        [(Room, "_queue", last_first), (Room, "_must_wait", rude)],
        "room goes to senders in order of arrival",
    ),
    "leaving a place to who has come before": (
        [(Room, "_must_wait", rude)],
        "room goes to senders in order of arrival",
    ),
    "looking for circles of tells": ([(rooms, "refuse_tell_in_circle", blind)], "each circle is refused"),
    "looking for circles of asks": ([(refs, "refuse_ask_in_circle", credulous)], "each circle is refused"),
    "looking again when somebody has left": ([(Room, "refuse_circles", never)], "each circle is refused"),
    "knowing who was let in": ([(Entity, "full", property(uninformed))], "what is refused as a circle is one"),
    "knowing that somebody is coming": ([(Cell, "held_up_by", everybody)], "what is refused as a circle is one"),
    "refusing nobody for the circle of others": (
        [(waits._Search, "way", dead_end)],
        "what is refused as a circle is one",
    ),
    "sending away who waits": ([(Room, "send_away", hospitable)], "nobody waits for room that is there"),
    "letting in the next": ([(Room, "let_in", asleep)], "nobody waits for room that is there"),
    "handing on the turn of who gives up": ([(Room, "wait", selfish)], "nobody waits for room that is there"),
    "keeping the places of those who come": ([(Cell, "is_full", property(open_to_all))], "who blocks refuses nobody"),
    "going round one's own capacity": ([(cells, "asking_entity", nobody)], "each circle is refused"),
    "dropping the oldest": ([(Cell, "_oldest", newest)], "the oldest is dropped"),
    "dropping for a later message": ([(Cell, "_drop_oldest", spare)], "capacity is never exceeded"),
    "counting what is dropped": ([(Cell, "dropped", uncounted)], "counters count what has happened"),
    "telling whose request was replaced": ([(Latest, "replace", silent)], "each sender is told what has become of it"),
    "telling whose request was left": ([(Envelope, "abandon", mute)], "each sender is told what has become of it"),
    "passivation": ([(Entity, "_idle", restless)], "idle instances are passivated"),
}


@pytest.mark.parametrize("safeguard", ABLATIONS)
def test_without_this_safeguard_some_seed_fails(safeguard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patches, expected = ABLATIONS[safeguard]
    for owner, name, worse in patches:
        monkeypatch.setattr(owner, name, worse)
    assert any(expected in run_flow(seed).broken for seed in range(MOST_SEEDS))
