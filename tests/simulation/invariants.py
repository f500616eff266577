"""What must hold after every run, by name. Each yields what breaks it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from tests.simulation.node import KILLER, POISON
from tests.simulation.world import World
from trendedge.actors.codec import decode_execute
from trendedge.actors.messages import ExecuteSignal
from trendedge.actors.tree import EXECUTOR_MAILBOX
from trendedge.domain.execution import ExecutionStatus
from trendedge.runtime.simulation import Stored
from trendedge.storage.executions import MARK_TTL_S

type Invariant = Callable[[World], Iterator[str]]


class Broken(AssertionError):
    """Invariants do not hold."""

    def __init__(self, found: dict[str, list[str]]) -> None:
        super().__init__(" | ".join(f"{name}: {'; '.join(what[:5])}" for name, what in found.items()))
        self.names = tuple(found)


def check(world: World) -> None:
    """Check all of them.

    :raises Broken: some do not hold
    """
    found = {name: what for name, invariant in INVARIANTS.items() if (what := list(invariant(world)))}
    if found:
        raise Broken(found)


def conserved(world: World) -> Iterator[str]:
    """Accepted = settled + dead + pending, entry by entry. The executor's mailbox drops nothing."""
    for name, server in world.servers.items():
        held = Counter(stored.origin for stream in server.streams.values() for stored in stream.values())
        for origin in server.accepted:
            places = held[origin] + (origin in server.settled) + (origin in server.buried)
            if places != 1:
                yield f"entry {origin} of {name} is in {places} places"


def worked_off(world: World) -> Iterator[str]:
    """In peace, everything comes to its end."""
    for name, server in world.servers.items():
        for (_, node), stream in server.streams.items():
            for stored in stream.values():
                yield f"entry {stored.origin} of {name} still waits at {node} after {stored.attempts()} attempts"


def one_outcome_each(world: World) -> Iterator[str]:
    """What was acknowledged has exactly one outcome: a stored one, or at least a dead letter."""
    stored = Counter(row.request.signal_id for row in world.bank.commits)
    dead = {message.signal_id for message in dead_letters(world)}
    for signal_id in acknowledged(world):
        if stored[signal_id] > 1:
            yield f"{signal_id} was stored {stored[signal_id]} times"
        if not stored[signal_id] and signal_id not in dead:
            yield f"{signal_id} was acknowledged and has no outcome"


def traded_once(world: World) -> Iterator[str]:
    """Two alerts of one meaning within the window trade once."""
    filled: dict[str, list[float]] = defaultdict(list)
    for row in world.bank.commits:
        if row.execution.status is ExecutionStatus.FILLED:
            meaning = row.request.signal.meaning(row.request.user_id)
            filled[meaning].append(row.request.received_at.timestamp())
    for meaning, times in filled.items():
        ordered = sorted(times)
        if any(later - earlier < MARK_TTL_S for earlier, later in pairwise(ordered)):
            yield f"{meaning} was traded {len(times)} times"


def one_handler_a_key(world: World) -> Iterator[str]:
    """Within a process an account has one handler at a time."""
    yield from world.handlings.overlaps


def no_fenced_commit(world: World) -> Iterator[str]:
    """Whoever's mail was adopted commits nothing any more."""
    for row in world.bank.commits:
        if not row.owned:
            yield f"{row.request.signal_id} was committed by a process that did not own it"


def no_stale_commit(world: World) -> Iterator[str]:
    """Each filled signal was decided on the version that the one before it has left."""
    versions: dict[str, int] = defaultdict(int)
    for row in world.bank.commits:
        account_id = row.request.account_id
        if row.before != versions[account_id]:
            yield f"{row.request.signal_id} was decided on version {row.before} and stored on {versions[account_id]}"
        versions[account_id] = row.execution.book.account.version


def in_order(world: World) -> Iterator[str]:
    """Signals of an account that one process has accepted, and that went the same way since, end in their order.

    A node that could read only one of its stores at a start works off what it has: that is the price of going on. What
    is given up has no place: while an outage keeps its outcome from being told, those after it go on.
    """
    given_up = {message.signal_id for message in dead_letters(world)}
    place = {one: number for number, one in enumerate(world.bank.signals) if one not in given_up}
    went = journeys(world)
    last: dict[tuple[str, ...], str] = {}
    accepted_asks = {
        asked.signal_id: asked.process
        for asked in world.asked
        if asked.answer == "accepted" and asked.signal_id is not None
    }
    for signal_id in sorted(accepted_asks.keys() & place.keys() & went.keys(), key=lambda one: went[one].appended_at):
        journey, process = went[signal_id], accepted_asks[signal_id]
        if world.read_half(journey.nodes):
            continue
        way = (journey.account_id, process, *journey.nodes)
        before = last.get(way)
        if before is not None and place[before] > place[signal_id] and went[before].appended_at < journey.appended_at:
            yield f"{signal_id} of {journey.account_id} came before {before}"
        last[way] = signal_id


@dataclass(frozen=True, slots=True)
class Journey:
    """Where a signal was journalled."""

    account_id: str
    appended_at: float
    """The first time: an append whose answer was lost is made once more in the other store."""
    nodes: tuple[str, ...]
    """All whose it was, by name; with the store, when it was adopted."""


def journeys(world: World) -> dict[str, Journey]:
    """The journey of each signal."""
    found: dict[str, Journey] = {}
    for store, stored, message in accepted(world):
        known = found.get(message.signal_id, Journey(message.account_id, stored.appended_at, ()))
        # Two stores that are adopted from are read one after the other: their entries mix in the order of that.
        way = [f"{node} {store}" for node in stored.way] if stored.moved else stored.way
        nodes = tuple(sorted({*known.nodes, *way}))
        found[message.signal_id] = Journey(message.account_id, min(known.appended_at, stored.appended_at), nodes)
    return found


def asks_settle(world: World) -> Iterator[str]:
    """Each ask of a living process settles, once."""
    for asked in world.asked:
        if asked.answers > 1 or (asked.answers == 0 and world.lives(asked.process)):
            yield f"ask {asked.number} at {asked.process} has {asked.answers} answers"


def only_the_guilty_die(world: World) -> Iterator[str]:
    """A message is given up when it crashes its handler, or when processes died over it: not for what others did."""
    begins: Counter[str] = Counter()
    for name, stored, message in accepted(world):
        begins[message.signal_id] += world.servers[name].begun[stored.origin]
    for message in dead_letters(world):
        if message.raw not in (POISON, KILLER) and begins[message.signal_id] < 2:
            yield f"{message.signal_id} was given up after {begins[message.signal_id]} attempts that were begun"


def guilty_trade_nothing(world: World) -> Iterator[str]:
    """What can never be handled is never filled."""
    bodies = {message.signal_id: message.raw for _, _, message in accepted(world)}
    for row in world.bank.commits:
        body = bodies.get(row.request.signal_id)
        if body in (POISON, KILLER) and row.execution.status is ExecutionStatus.FILLED:
            yield f"{row.request.signal_id} ({body}) was filled"


def positions_are_sums(world: World) -> Iterator[str]:
    """Position = sum of fills."""
    held: Counter[tuple[str, str]] = Counter()
    for fill in world.bank.fills:
        held[fill.account_id, fill.symbol] += fill.signed_quantity
    for key, position in world.bank.positions.items():
        if position.quantity != held[key]:
            yield f"{key} holds {position.quantity}, its fills are {held[key]}"


def money_is_conserved(world: World) -> Iterator[str]:
    """Realised profit and commissions of an account are those of its trades, positions and fills."""
    bank = world.bank
    for account in bank.accounts.values():
        fills = [fill for fill in bank.fills if fill.account_id == account.id]
        positions = [one for (owner, _), one in bank.positions.items() if owner == account.id]
        trades = [trade for trade in bank.trades.values() if trade.account_id == account.id]
        paid = sum((fill.commission for fill in fills), Decimal(0))
        earned = sum((one.realized_pnl for one in positions), Decimal(0))
        traded = sum((trade.gross_pnl for trade in trades), Decimal(0))
        if account.commissions != paid:
            yield f"{account.id} has paid {account.commissions}, its fills cost {paid}"
        if not account.realized_pnl == earned == traded:
            yield f"{account.id} earned {account.realized_pnl}, its positions {earned}, its trades {traded}"


def dead_letters(world: World) -> list[ExecuteSignal]:
    """The messages that were given up."""
    letters = [server.dead[EXECUTOR_MAILBOX] for server in world.servers.values()]
    return [decode_execute(one.payload) for of_one in letters for one in of_one.values()]


def accepted(world: World) -> list[tuple[str, Stored, ExecuteSignal]]:
    """What was journalled: store, entry and message, in the order of the appends to each store."""
    return [
        (name, stored, decode_execute(stored.payload))
        for name, server in world.servers.items()
        for stored in server.accepted.values()
    ]


def acknowledged(world: World) -> list[str]:
    """Ids of the signals that a trader was told of, the first of a duplicate too."""
    return [asked.signal_id for asked in world.asked if asked.signal_id is not None]


INVARIANTS: dict[str, Invariant] = {
    "accepted = settled + dead + pending": conserved,
    "each ask settles exactly once": asks_settle,
    "one handler per key at a time": one_handler_a_key,
    "no commit by a fenced process": no_fenced_commit,
    "no commit on a stale book": no_stale_commit,
    "position = sum of fills": positions_are_sums,
    "money is conserved": money_is_conserved,
    "two alerts of one meaning trade once": traded_once,
    "each acknowledged signal has exactly one outcome": one_outcome_each,
    "order per key": in_order,
    "only the guilty are given up": only_the_guilty_die,
    "the guilty trade nothing": guilty_trade_nothing,
    "everything comes to its end": worked_off,
}
