"""What a signal asks of a book: which contract, which side, how many contracts to close and how many to open."""

from dataclasses import dataclass, replace
from typing import assert_never

from trendedge.domain.book import Book
from trendedge.domain.instruments import INSTRUMENTS
from trendedge.domain.orders import Side
from trendedge.domain.positions import Position
from trendedge.domain.risk import Check, RejectionCode, failed, passed
from trendedge.domain.signals import Action, Direction, Signal
from trendedge.domain.wire import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The contract that a signal was resolved to, for the decision trace."""

    requested: str
    """The symbol of the alert, normalised."""
    symbol: str
    """The contract as traded: another one than requested when an exit goes to what is held."""
    root: str
    resolution: str
    """How the one led to the other, as a sentence."""

    def to_wire(self) -> dict[str, str]:
        """As `contract` of the decision trace, with what the exchange says of the product."""
        product = INSTRUMENTS[self.root]
        return {
            "requested": self.requested,
            "symbol": self.symbol,
            "root": self.root,
            "resolution": self.resolution,
            "exchange": product.exchange,
            "name": product.name,
            "tick_size": plain(product.tick_size),
            "point_value": plain(product.point_value),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One order: first `closes` contracts against the position, then `opens` contracts on the order's side."""

    position: Position
    side: Side
    closes: int
    opens: int

    @property
    def quantity(self) -> int:
        """Contracts of the order."""
        return self.closes + self.opens


def resolve(signal: Signal, book: Book) -> tuple[Contract, Check | None]:
    """The contract to trade, and a failed check when the alert could mean several.

    An entry goes to the symbol of the alert. What acts on a position (close, reverse, add) goes to the one that is
    actually held, because senders disagree on when a contract rolls (FACTS, "CME futures"): to the symbol itself if it
    is held, else, where one of the two symbols is continuous, to the only contract of the product that is held.
    """
    wanted, root = str(signal.symbol), signal.symbol.root
    contract = Contract(requested=wanted, symbol=wanted, root=root, resolution="as the alert says")
    if signal.action in (Action.BUY, Action.SELL, Action.CANCEL):
        return contract, None
    meant = tuple(p.symbol for p in book.held(root) if _speaks_of(signal, p.quantity))
    if wanted in meant:
        return contract, None
    match meant:
        case [only] if signal.symbol.is_continuous or only == root:
            return replace(contract, symbol=only, resolution=f"{only} is what is held of {root}"), None
        case [_, _, *_] if signal.symbol.is_continuous:
            names = ", ".join(meant)
            detail = f"{wanted} could mean each of {names}, which are all held; name the contract"
            return contract, failed("position", RejectionCode.AMBIGUOUS_CONTRACT, detail, held=names)
    return contract, None


def plan(signal: Signal, *, position: Position, default_quantity: int) -> tuple[Plan | None, Check]:
    """What to order, and the check that says why (not)."""
    held = position.quantity
    count = signal.quantity if signal.quantity is not None else default_quantity
    match signal.action:
        case Action.CANCEL:
            return None, _nothing_to_cancel(position.symbol)
        case Action.BUY | Action.SELL:
            side = Side.BUY if signal.action is Action.BUY else Side.SELL
            closes = min(count, abs(held)) if held * side.sign < 0 else 0
            chosen = Plan(position=position, side=side, closes=closes, opens=count - closes)
        case Action.ADD | Action.CLOSE | Action.REVERSE if not _speaks_of(signal, held):
            return None, _no_position(signal, held=held)
        case Action.ADD:
            chosen = Plan(position=position, side=Side.of(held), closes=0, opens=count)
        case Action.CLOSE:
            closes = min(signal.quantity or abs(held), abs(held))
            chosen = Plan(position=position, side=Side.of(-held), closes=closes, opens=0)
        case Action.REVERSE:
            opens = signal.quantity or abs(held)
            chosen = Plan(position=position, side=Side.of(-held), closes=abs(held), opens=opens)
        case _:
            assert_never(signal.action)
    return chosen, _planned(signal, chosen)


def _planned(signal: Signal, chosen: Plan) -> Check:
    facts = {"held": str(chosen.position.quantity), "closes": str(chosen.closes), "opens": str(chosen.opens)}
    if signal.quantity is not None:
        facts["requested"] = str(signal.quantity)
    detail = f"{chosen.side.value} {chosen.quantity} {chosen.position.symbol}: {_purpose(chosen)}"
    if signal.action is Action.CLOSE and signal.quantity is not None and signal.quantity > chosen.closes:
        detail += f"; {signal.quantity} were asked for, and an exit never opens the other side"
    return passed("position", detail, **facts)


def _purpose(chosen: Plan) -> str:
    held = abs(chosen.position.quantity)
    if not chosen.closes:
        return f"opens {chosen.opens}" if not held else f"adds {chosen.opens} to the {held} held"
    closing = f"closes {chosen.closes} of the {held} held"
    return closing if not chosen.opens else f"{closing} and opens {chosen.opens} on the other side"


def _speaks_of(signal: Signal, held: int) -> bool:
    """Whether the position is the one that the alert is about: an exit from a long must not buy back a short."""
    if not held or signal.held is None:
        return held != 0
    return (held > 0) == (signal.held is Direction.LONG)


def _no_position(signal: Signal, *, held: int) -> Check:
    wanted = f"{signal.held.value} {signal.symbol}" if signal.held is not None else str(signal.symbol)
    purpose = "add to" if signal.action is Action.ADD else signal.action.value
    detail = f"no {wanted} is held ({held} now), so there is nothing to {purpose}"
    return failed("position", RejectionCode.NO_POSITION, detail, held=str(held))


def _nothing_to_cancel(symbol: str) -> Check:
    return failed("position", RejectionCode.NOTHING_TO_CANCEL, f"no order for {symbol} rests", working_orders="0")
