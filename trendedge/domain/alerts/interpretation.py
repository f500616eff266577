"""From the fields of an alert to the one `Signal` that they mean.

Nothing is guessed: what could mean two things is refused, with the field, what was seen and how to mend it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from trendedge.domain.alerts.errors import AlertRefused, shown, unacceptable
from trendedge.domain.alerts.fields import Fields, Value
from trendedge.domain.alerts.given import Given
from trendedge.domain.alerts.guards import refuse_copies, refuse_multiple, refuse_other_units, refuse_update
from trendedge.domain.alerts.names import CLOCKS, IDS, Target, squeeze
from trendedge.domain.alerts.prices import read_prices
from trendedge.domain.alerts.redaction import SHORTEST, redact
from trendedge.domain.alerts.scalars import read_clock, read_name, read_quantity
from trendedge.domain.alerts.words import Intent, read_intent, read_order_type, settle_position
from trendedge.domain.signals import OrderType, Repair, Signal
from trendedge.domain.symbols import InvalidSymbol, Symbol, is_exchange

_GUARDS: Final[dict[Target, Callable[[str, Value], None]]] = {
    Target.ACCOUNTS: refuse_copies,
    Target.MULTIPLIER: refuse_multiple,
    Target.QUANTITY_TYPE: refuse_other_units,
    Target.UPDATE: refuse_update,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAlert:
    """A readable alert that means one thing."""

    signal: Signal
    secret: str | None
    """The webhook key that stood in the body."""
    raw: str
    """The body as text, with secrets replaced by `***`."""


def interpret(fields: Fields, *, today: date) -> ParsedAlert:
    """Say what the fields mean. `today` resolves a delivery year of one digit.

    :raises AlertRefused: 422
    """
    try:
        if fields.refusal is not None:
            raise fields.refusal
        signal = _signal(fields, today=today)
    except AlertRefused as refusal:
        raise _without_secrets(refusal, fields.secrets) from None
    return ParsedAlert(signal=signal, secret=fields.secret, raw=fields.raw)


def _signal(fields: Fields, *, today: date) -> Signal:
    given = Given.of(fields)
    for target, guard in _GUARDS.items():
        for path, value in given.all(target):
            guard(path, value)
    symbol = _symbol(given, today=today)
    quantity = given.one(read_quantity, Target.QUANTITY)
    intent = _intent(given, counted=quantity is not None)
    order_type = given.one(_order_type, Target.ORDER_TYPE)
    prices = read_prices(given, order_type=order_type, instrument=symbol.instrument)
    sent_at, ignored = _clock(given, fields.secrets)
    return Signal(
        action=intent.action,
        symbol=symbol,
        dialect=fields.dialect,
        order_type=order_type or OrderType.MARKET,
        quantity=quantity,
        held=intent.held,
        price=prices.market,
        limit_price=prices.limit,
        stop_price=prices.stop,
        sender_id=_sender_id(given, fields.secrets),
        sent_at=sent_at,
        account=_name(given, Target.ACCOUNT, fields.secrets),
        playbook=_name(given, Target.PLAYBOOK, fields.secrets),
        repairs=(*fields.repairs, *prices.repairs, *ignored),
    )


def _symbol(given: Given, *, today: date) -> Symbol:
    for path, exchange in given.words(Target.EXCHANGE) if any(v != "" for _, v in given.all(Target.EXCHANGE)) else ():
        if not is_exchange(exchange):
            raise unacceptable(path, shown(exchange), "send alerts of CME Group's futures (CME, CBOT, NYMEX, COMEX)")
    said = given.words(Target.SYMBOL)
    if not said:
        raise unacceptable("symbol", "nothing", 'add "ticker": "{{ticker}}"')
    found: Symbol | None = None
    for path, word in said:
        try:
            symbol = Symbol.parse(word, today=today)
        except InvalidSymbol as error:
            raise unacceptable(path, shown(word), error.reason) from None
        if found is not None and symbol != found:
            raise unacceptable(path, f"{shown(word)}, and {shown(said[0][1])} in {said[0][0]}", "name one symbol only")
        found = symbol
    assert found is not None  # noqa: S101 - `said` is not empty; tells mypy
    return found


def _intent(given: Given, *, counted: bool) -> Intent:
    sentiment = given.words(Target.SENTIMENT)
    intent = read_intent(given.words(Target.ACTION))
    if intent is not None:
        return settle_position(intent, sentiment, counted=counted)
    # `market_position` alone reports where a strategy is; `sentiment` is what the sender wants.
    intent = read_intent([one for one in sentiment if squeeze(one[0]) == "sentiment"])
    if intent is None:
        raise unacceptable(
            "action", "nothing", 'add "action": "{{strategy.order.action}}", or "buy", "sell" or "close"'
        )
    return settle_position(intent, sentiment, counted=counted)


def _order_type(path: str, value: Value) -> OrderType | None:
    if value == "":
        return None
    if not isinstance(value, str):
        raise unacceptable(path, shown(value), "send market, limit, stop, stop_limit or trailing_stop")
    return read_order_type(path, value)


def _clock(given: Given, secrets: tuple[str, ...]) -> tuple[datetime | None, list[Repair]]:
    """The most trusted clock that tells a time; those before it that do not are recorded as ignored."""
    ignored: list[Repair] = []
    clocks = sorted(given.all(Target.CLOCK), key=lambda one: _rank(one[0], CLOCKS))
    for path, value in clocks:
        sent_at = read_clock(value)
        if sent_at is not None:
            return sent_at, ignored
        ignored.append(Repair(path, redact(shown(value), secrets), "ignored"))
    return None, ignored


def _rank(path: str, order: tuple[str, ...]) -> int:
    """Where the field's own name stands in this order of precedence; a bar's time is the bar's, not the alert's."""
    return len(order) if squeeze(path) == "bartime" else order.index(squeeze(path.rpartition(".")[2]))


def _sender_id(given: Given, secrets: tuple[str, ...]) -> str | None:
    """The sender's own id. `id` counts before `alert_id` before `order_id`: two of them need not agree."""
    ids = sorted(given.all(Target.SENDER_ID), key=lambda one: _rank(one[0], IDS))
    for path, value in ids:
        name = _read_safe(path, value, secrets)
        if name is not None:
            return name
    return None


def _name(given: Given, target: Target, secrets: tuple[str, ...]) -> str | None:
    return given.one(lambda path, value: _read_safe(path, value, secrets), target)


def _read_safe(path: str, value: Value, secrets: tuple[str, ...]) -> str | None:
    """A name, unless it holds the sender's key: names are stored and shown."""
    name = read_name(path, value)
    if name is not None and any(len(secret) >= SHORTEST and secret in name for secret in secrets):
        raise unacceptable(path, "the webhook key", "keep the key in its own field")
    return name


def _without_secrets(refusal: AlertRefused, secrets: tuple[str, ...]) -> AlertRefused:
    return AlertRefused(
        refusal.status,
        field=None if refusal.field is None else redact(refusal.field, secrets),
        seen=redact(refusal.seen, secrets),
        mend=redact(refusal.mend, secrets),
    )
