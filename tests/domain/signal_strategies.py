"""Signals as the parser can make them, for Hypothesis."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from trendedge.domain.instruments import INSTRUMENTS, MONTH_CODES
from trendedge.domain.signals import Action, Dialect, Direction, OrderType, Repair, Signal
from trendedge.domain.symbols import Symbol

NAMES = st.none() | st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20).filter(
    lambda name: (
        name.lower() not in {"nan", "na", "n/a", "inf", "infinity", "null", "none", "undefined"} and "{{" not in name
    )
)
REPAIRS = st.builds(Repair, st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))


@st.composite
def symbols(draw: st.DrawFn) -> Symbol:
    instrument = INSTRUMENTS[draw(st.sampled_from(sorted(INSTRUMENTS)))]
    if draw(st.booleans()):
        return Symbol(instrument.root)
    month = MONTH_CODES.index(draw(st.sampled_from(instrument.months))) + 1
    return Symbol(instrument.root, month, draw(st.integers(2000, 2099)))


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """Any signal that an alert can mean: prices on the tick, and only those that its order type has a use for."""
    symbol = draw(symbols())
    on_tick = st.integers(1, 1_000_000).map(lambda ticks: Decimal(ticks) * symbol.instrument.tick_size)
    action = draw(st.sampled_from(Action))
    kind = draw(st.sampled_from(OrderType))
    may_hold = action in (Action.CLOSE, Action.ADD)
    return Signal(
        action=action,
        symbol=symbol,
        dialect=draw(st.sampled_from(Dialect)),
        order_type=kind,
        quantity=draw(st.none() | st.integers(1, 10_000)),
        held=draw(st.none() | st.sampled_from(Direction)) if may_hold else None,
        price=draw(st.none() | on_tick),
        limit_price=draw(on_tick) if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
        stop_price=draw(on_tick) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        sender_id=draw(NAMES),
        sent_at=draw(st.none() | st.datetimes(datetime(2001, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC))),  # noqa: DTZ001 - Hypothesis adds the zone
        account=draw(NAMES),
        playbook=draw(NAMES),
        repairs=tuple(draw(st.lists(REPAIRS, max_size=3))),
    )
