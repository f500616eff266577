"""The executor: one instance per account, which owns the account's book and trades one signal at a time."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

import structlog

from trendedge.actors.execution_store import ExecutionStore
from trendedge.actors.frames import channel_key, event_frame, event_wire, publication, stored_wire
from trendedge.actors.hub import push
from trendedge.actors.messages import ExecuteSignal, PushEvents
from trendedge.domain.book import Book, ExecutionRequest, LastPrice
from trendedge.domain.events import CHANNEL
from trendedge.domain.execution import LAST_PRICE_MAX_AGE, Execution, decide, duplicate_of, given_up
from trendedge.runtime import Actor, ActorRef, DeadLetter
from trendedge.storage.executions import AlreadyCommitted, Committed, DuplicateMark, Outcome, StaleBook, Trace

log = structlog.get_logger("trendedge.executor")

type Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What every instance works with."""

    store: ExecutionStore
    hub: ActorRef[PushEvents]
    node: str
    clock: Clock


class Executor(Actor[ExecuteSignal]):
    """Keyed by account. The book in memory is as good as its version: a commit on a stale one stores nothing."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._book: Book | None = None

    async def receive(self, message: ExecuteSignal) -> None:
        """Decide, commit, and only then tell. A message that comes a second time trades nothing and tells again.

        :raises StoreUnavailable: PostgreSQL is down; the message waits
        :raises UnknownAccount: the account is gone; the message is given up
        """
        mark: str | None = message.signal.meaning(message.user_id)
        first: str | None = None
        while True:
            execution, outcome = await self._attempt(message, mark=mark, first=first)
            match outcome:
                case Committed():
                    self._book = execution.book
                    return self._committed(message, execution)
                case AlreadyCommitted():
                    self._book = None
                    return await self._tell_again(message)
                case DuplicateMark():
                    mark, first = None, outcome.first_id
                case StaleBook():
                    self._book = None
                case _:
                    assert_never(outcome)

    async def _attempt(
        self, message: ExecuteSignal, *, mark: str | None, first: str | None
    ) -> tuple[Execution, Outcome]:
        """Decide on the book as it is known here, and try to commit that."""
        store, signal, now = self._floor.store, message.signal, self._floor.clock()
        book = self._book = self._book or await store.load_book(message.account_id)
        request = request_of(message)
        if first is not None:
            execution = duplicate_of(request, first=first, book=book)
        else:
            last_price = None if signal.stated_price is not None else await self._last_price(message, now)
            execution = decide(request, book=book, last_price=last_price, now=now)
        trace = Trace(raw=message.raw, request_id=message.request_id, timings_ms=_timings(message, now, self._floor))
        return execution, await store.commit(request, execution, before=book, mark=mark, trace=trace)

    async def _last_price(self, message: ExecuteSignal, now: datetime) -> LastPrice | None:
        return await self._floor.store.last_price(
            user_id=message.user_id,
            root=message.signal.symbol.root,
            since=now - LAST_PRICE_MAX_AGE,
        )

    def _committed(self, message: ExecuteSignal, execution: Execution) -> None:
        log.info(
            "signal executed",
            user_id=message.user_id,
            account_id=message.account_id,
            signal_id=message.signal_id,
            status=execution.status.value,
            rejection=execution.rejection.code.value if execution.rejection else None,
        )
        self._tell(message, [event_wire(event) for event in execution.events])

    async def _tell_again(self, message: ExecuteSignal) -> None:
        """The process died, or the store's answer was lost, between the commit and the telling."""
        log.warning("signal was executed before", user_id=message.user_id, signal_id=message.signal_id)
        stored = await self._floor.store.events_of_signal(message.user_id, message.signal_id)
        self._tell(message, [stored_wire(event) for event in stored])

    def _tell(self, message: ExecuteSignal, events: Sequence[dict[str, Any]]) -> None:
        if not events:
            return
        frames = tuple(event_frame(event) for event in events)
        # After the commit nothing may fail for want of a listener: it would cost the account a retry and its pause.
        push(
            self._floor.hub,
            PushEvents(user_id=message.user_id, channel=CHANNEL, frames=frames, request_id=message.request_id),
        )
        channel = channel_key(message.user_id)
        for event in events:
            self.context.announce_on_settle(channel, publication(event, origin=self._floor.node))


def burial(store: ExecutionStore) -> Callable[[ExecuteSignal, DeadLetter], Awaitable[None]]:
    """What is done when a signal is given up: its owner can read that, and which of our faults it was not."""

    async def give_up(message: ExecuteSignal, letter: DeadLetter) -> None:
        outcome: Outcome = StaleBook()
        while isinstance(outcome, StaleBook):
            book = await store.load_book(message.account_id)
            # The letter's cause is for operators: it may name internals.
            execution = given_up(request_of(message), cause=f"{letter.attempts} attempts failed", book=book)
            trace = Trace(raw=message.raw, request_id=message.request_id)
            outcome = await store.commit(request_of(message), execution, before=book, mark=None, trace=trace)

    return give_up


def request_of(message: ExecuteSignal) -> ExecutionRequest:
    """The message in the domain's terms."""
    return ExecutionRequest(
        signal_id=message.signal_id,
        user_id=message.user_id,
        account_id=message.account_id,
        received_at=message.received_at,
        signal=message.signal,
    )


def _timings(message: ExecuteSignal, began: datetime, floor: Floor) -> dict[str, float]:
    """Milliseconds from the alert's arrival to the beginning of the decision, and the decision itself."""
    return {
        "accepted_to_decision": round((began - message.received_at).total_seconds() * 1000, 3),
        "decision": round((floor.clock() - began).total_seconds() * 1000, 3),
    }
