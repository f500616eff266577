"""What is known of each message of a flow: who sent it to whom, whether it was taken, and what became of it."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trendedge.runtime import ActorRef, Overflow, Request
from trendedge.runtime.cell import Cell
from trendedge.runtime.mailbox import Envelope

type Instance = tuple[Cell, str | None]
"""An actor's cell, and a key of it."""


@dataclass(frozen=True)
class Parcel(Request[int]):
    """One message; answered with its number."""

    number: int
    key: str
    subject: str
    """Of two with one subject only the later is of interest, where that is coalesced."""
    hops: int
    """How often what comes of it may be sent on."""


@dataclass(eq=False)
class Call:
    """Somebody sends one parcel: open from the call until it has returned or raised."""

    parcel: Parcel
    how: str
    """`tell`, `ask` or `tell_nowait`."""
    cell: Cell
    by: str
    holder: Instance | None
    """Whose handler waits for it; None for all who hold up no mailbox."""
    task: asyncio.Task[Any] | None
    arrived: int
    """The place of the call among all calls."""
    accepted: bool = False
    own: bool = False
    """It went round the capacity."""
    ended: str | None = None
    """`done`, or what it has raised."""
    ended_at: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether it is held up at this very moment: what it awaits has not come, whether or not it knows."""
        waiter = self.awaits
        return waiter is not None and not waiter.done()

    @property
    def goes_on_to_wait(self) -> bool:
        """Whether it has still to wait for an answer: it was just let in, or is being made right now."""
        return self.how == "ask" and self.ended is None and (self.is_let_in or self.awaits is None)

    @property
    def is_let_in(self) -> bool:
        """Whether there is room for it, and it does not yet know."""
        waiter = self.awaits
        done = waiter is not None and waiter.done() and not waiter.cancelled() and waiter.exception() is None
        return done and not self.accepted

    @property
    def awaits(self) -> asyncio.Future[Any] | None:
        """What its task awaits, or has awaited and does not yet know."""
        return getattr(self.task, "_fut_waiter", None) if self.ended is None else None

    @property
    def at(self) -> Instance:
        """Whom it is for."""
        return self.cell, self.cell.key_of(self.parcel)


@dataclass(eq=False)
class Box:
    """What is known from outside about one cell."""

    cell: Cell
    accepted: list[Parcel] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    """Numbers of parcels, once for each run of the handler."""
    active: Counter[str | None] = field(default_factory=Counter)
    """Handlers at work, by key."""
    impatient: list[Callable[[], object]] = field(default_factory=list)
    """How to cancel those who give up waiting for room just when there is some."""

    @property
    def numbers(self) -> list[int]:
        """What lies in its lines."""
        return [envelope.message.number for envelope in self.envelopes]

    @property
    def envelopes(self) -> list[Envelope]:
        """As `numbers`."""
        return [envelope for entity in self.cell.entities.values() for envelope in entity.mail]


class Ledger:
    """All calls, all mailboxes, and all outcomes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.boxes: list[Box] = []
        self.calls: dict[int, Call] = {}
        self.open: dict[int, Call] = {}
        self.outcomes: defaultdict[int, list[tuple[str, float]]] = defaultdict(list)
        """`handled`, `buried`, `dropped`, `expired` or `left`, and when, by number."""
        self.where: dict[int, Box] = {}
        """Whose the outcome was."""
        self.found: defaultdict[str, list[str]] = defaultdict(list)
        """What broke while it ran, by invariant."""

    def broken(self, text: str, invariant: str) -> None:
        """Note that an invariant does not hold."""
        self.found[invariant].append(text)

    # -- the sender's side --------------------------------------------------------------------------------------

    def begin(self, how: str, cell: Cell, parcel: Parcel, *, by: str, holder: Instance | None) -> Call:
        """Somebody is about to call."""
        call = Call(parcel, how, cell, by, holder, asyncio.current_task(), len(self.calls))
        self.calls[parcel.number] = self.open[parcel.number] = call
        return call

    def end(self, call: Call, error: BaseException | None) -> None:
        """It has returned, or raised."""
        call.ended, call.ended_at = "done" if error is None else type(error).__name__, self.now()
        del self.open[call.parcel.number]

    # -- the mailbox's side -------------------------------------------------------------------------------------

    def outcome(self, box: Box, number: int, what: str) -> None:
        """A parcel has come to its end."""
        self.outcomes[number].append((what, self.now()))
        self.where[number] = box

    def accept(self, box: Box, parcel: Parcel, *, own: bool, depth: int) -> None:
        """A mailbox has taken a parcel; its depth was `depth` before."""
        call = self.calls[parcel.number]
        call.accepted, call.own = True, own
        box.accepted.append(parcel)
        if not own:
            self._check_capacity(box, depth)
            self._check_turn(call)

    def _check_capacity(self, box: Box, depth: int) -> None:
        cell = box.cell
        coming = 0 if cell._room is None else cell._room.coming
        drops = cell.spec.overflow in (Overflow.DROP_OLDEST, Overflow.COALESCE)
        most = max(cell.spec.capacity, depth) if drops else cell.spec.capacity
        others = sum(one.origin is None and not self.calls[one.message.number].own for one in box.envelopes)
        if cell.depth + coming > most or others > cell.spec.capacity:
            text = f"{cell.path} took {cell.depth}, {others} of others, and {coming} are coming"
            self.broken(text, "capacity is never exceeded")

    def check_oldest(self, box: Box, dropped: Envelope) -> None:
        """A mailbox drops this for another one: what waits besides has come later, or at the same moment."""
        in_hand = [entity.in_hand for entity in box.cell.entities.values()]
        for one in box.envelopes:
            if one.enqueued_at < dropped.enqueued_at and one.origin is None and one not in in_hand:
                text = f"{box.cell.path} dropped {dropped.message.number} before {one.message.number}"
                self.broken(text, "the oldest is dropped")

    def _check_turn(self, call: Call) -> None:
        """Who was let in and does not know yet has had its turn."""
        for other in self.open.values():
            if other.cell is call.cell and other.arrived < call.arrived and not other.accepted and other.waits:
                text = f"{call.cell.path} took {call.parcel.number} before {other.parcel.number}"
                self.broken(text, "room goes to senders in order of arrival")


def watch(cell: Cell, ledger: Ledger) -> None:
    """Note what a cell takes in, and what it says it has thrown away."""
    box = Box(cell)
    ledger.boxes.append(box)
    _watch_entrance(box, ledger)
    dropped, expired, close, release = cell.dropped, cell.expired, cell.close, cell.release

    def watched_release() -> None:
        release()
        while box.impatient:
            box.impatient.pop()()

    def watched_dropped(envelope: Envelope, why: str) -> None:
        if "the mailbox was full" in why:
            ledger.check_oldest(box, envelope)
        ledger.outcome(box, envelope.message.number, "dropped")
        dropped(envelope, why)

    def watched_expired(envelope: Envelope) -> None:
        ledger.outcome(box, envelope.message.number, "expired")
        expired(envelope)

    def watched_close() -> None:
        for number in box.numbers:
            ledger.outcome(box, number, "left")
        close()

    cell.dropped, cell.expired = watched_dropped, watched_expired  # type: ignore[method-assign]
    cell.close, cell.release = watched_close, watched_release  # type: ignore[method-assign]


def _watch_entrance(box: Box, ledger: Ledger) -> None:
    cell, put = box.cell, box.cell.put_nowait

    def put_nowait(message: Parcel, *rest: Any, own: bool = False) -> None:
        depth, before = cell.depth, box.numbers
        put(message, *rest, own=own)
        if cell.spec.overflow is Overflow.COALESCE:
            for number in sorted({*before} - {*box.numbers}):
                ledger.outcome(box, number, "dropped")
        ledger.accept(box, message, own=own, depth=depth)

    cell.put_nowait = put_nowait  # type: ignore[method-assign, assignment]


class WatchedRef(ActorRef[Parcel]):
    """Watches each of the cells that it is bound to."""

    __slots__ = ("_ledger",)

    def __init__(self, name: str, ledger: Ledger) -> None:
        super().__init__(name)
        self._ledger = ledger

    def bind(self, cell: Cell) -> None:
        super().bind(cell)
        watch(cell, self._ledger)
