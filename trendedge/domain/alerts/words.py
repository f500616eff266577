"""Senders' words for sides, exits and order types, and what several of them in one alert mean together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from trendedge.domain.alerts.errors import AlertRefused, shown, unacceptable
from trendedge.domain.alerts.fields import Value
from trendedge.domain.alerts.names import squeeze
from trendedge.domain.signals import Action, Direction, OrderType

LONG, SHORT = Direction.LONG, Direction.SHORT


@dataclass(frozen=True, slots=True)
class Intent:
    """An action, and the side of the position that it speaks of, when it says so."""

    action: Action
    held: Direction | None = None


_INTENTS: Final[Mapping[Intent, str]] = {
    Intent(Action.BUY): "buy long bullish enterlong entrylong openlong golong longentry",
    Intent(Action.SELL): "sell short bearish entershort entryshort openshort goshort shortentry sellshort",
    Intent(Action.CLOSE): "close exit flat flatten closeposition exitposition",
    Intent(Action.CLOSE, LONG): "closelong exitlong longexit longclose selltoclose",
    Intent(Action.CLOSE, SHORT): "closeshort exitshort shortexit shortclose buytocover buytoclose",
    Intent(Action.REVERSE): "reverse",
    Intent(Action.ADD): "add",
    Intent(Action.ADD, LONG): "addlong addtolong",
    Intent(Action.ADD, SHORT): "addshort addtoshort",
    Intent(Action.CANCEL): "cancel",
}
ACTIONS: Final[Mapping[str, Intent]] = {word: intent for intent, words in _INTENTS.items() for word in words.split()}

_POSITION_WORDS: Final = {"long": LONG, "bullish": LONG, "short": SHORT, "bearish": SHORT}
_SIDES: Final = {Action.BUY: LONG, Action.SELL: SHORT}
_OPPOSITE: Final = {LONG: SHORT, SHORT: LONG}

_TYPES: Final[Mapping[OrderType, str]] = {
    OrderType.MARKET: "market mkt",
    OrderType.LIMIT: "limit lmt",
    OrderType.STOP: "stop stp stopmarket stopmkt",
    OrderType.STOP_LIMIT: "stoplimit stoplmt stplmt",
    OrderType.TRAILING_STOP: "trailingstop trailing trail trailstop",
}
ORDER_TYPES: Final[Mapping[str, OrderType]] = {word: kind for kind, words in _TYPES.items() for word in words.split()}

type Said = tuple[str, str]
"""The path of a field, and the word that it holds."""


def read_intent(said: Iterable[Said]) -> Intent | None:
    """What the action fields of one alert mean together; None without any.

    A close that names a position (`"action": "close", "side": "long"`) speaks of that one, and so does an add.

    :raises AlertRefused: 422, an unknown word, or two that contradict each other
    """
    found = [(_intent_of(path, word), path, word) for path, word in said]
    if not found:
        return None
    # A plain buy or sell last: next to a close or an add it only tells the side.
    found.sort(key=lambda one: one[0].action in _SIDES)
    (intent, first_path, first_word), *others = found
    for other, path, word in others:
        both = _together(intent, other, word)
        if both is None:
            raise unacceptable(path, f"{shown(word)}, and {shown(first_word)} in {first_path}", "say one thing only")
        intent = both
    return intent


def _intent_of(path: str, word: str) -> Intent:
    intent = ACTIONS.get(squeeze(word))
    if intent is None:
        raise _unknown(path, word, "buy, sell, long, short, close, exit, flat, reverse, add or cancel")
    return intent


def _together(one: Intent, other: Intent, word: str) -> Intent | None:
    """What `one` means when `other` is said as well, with this word; None for a contradiction."""
    if one.action is other.action:
        return (
            None if None not in (one.held, other.held) and one != other else Intent(one.action, one.held or other.held)
        )
    side = _SIDES.get(other.action)
    if side is not None and one.action is Action.ADD and one.held in (None, side):
        return Intent(Action.ADD, side)
    if side is None or one.action is not Action.CLOSE:
        return None
    # "close" and "sell": some mean the side of the order, some that of the position. Both mean a close.
    named = _POSITION_WORDS.get(squeeze(word), one.held)
    return Intent(Action.CLOSE, named) if one.held in (None, named) else None


def settle_position(intent: Intent, sentiment: Iterable[Said], *, counted: bool) -> Intent:
    """The intent in the light of where the position stands afterwards (`sentiment`, `market_position`).

    A buy or sell that ends flat closes, and one that ends on the other side reduces what is held there: neither may
    open a position. The latter has to say how many (`counted`).

    :raises AlertRefused: 422, an unknown word, a contradiction, or a reduction without a quantity
    """
    for path, word in sentiment:
        ends = _POSITION_WORDS.get(squeeze(word))
        if ends is None and squeeze(word) != "flat":
            raise _unknown(path, word, "long, short, bullish, bearish or flat")
        side = _SIDES.get(intent.action)
        if ends is None:
            if side is None and intent.action is not Action.CLOSE:
                raise unacceptable(path, f"{shown(word)} with {intent.action}", "say one thing only")
            intent = Intent(Action.CLOSE, intent.held if side is None else _OPPOSITE[side])
        elif side is not None and side is not ends:
            if not counted:
                seen = f"{shown(word)} after a {intent.action}"
                raise unacceptable(path, seen, f"say how many contracts of the {ends} position to {intent.action}")
            intent = Intent(Action.CLOSE, ends)
    return intent


def read_order_type(path: str, word: str) -> OrderType:
    """The order type of this word.

    :raises AlertRefused: 422, the word is none
    """
    found = ORDER_TYPES.get(squeeze(word))
    if found is None:
        raise _unknown(path, word, "market, limit, stop, stop_limit or trailing_stop")
    return found


def _unknown(path: str, word: Value, known: str) -> AlertRefused:
    return unacceptable(path, shown(word), f"send {known}")
