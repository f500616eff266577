"""The journal's own words for what happened to a trade: one sentence for each fill, with its numbers."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from trendedge.domain.booking import Leg, Step
from trendedge.domain.wire import dollars, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One entry of an account's journal, written by the system."""

    id: str
    signal_id: str
    account_id: str
    trade_id: str
    symbol: str
    kind: Step
    text: str
    at: datetime


def journal_line(leg: Leg, *, line_id: str, signal_id: str) -> JournalLine:
    """The line for one leg."""
    return JournalLine(
        id=line_id,
        signal_id=signal_id,
        account_id=leg.fill.account_id,
        trade_id=leg.trade.id,
        symbol=leg.fill.symbol,
        kind=leg.step,
        text=f"{_happened(leg)} Commission {dollars(leg.fill.commission)}.",
        at=leg.fill.at,
    )


def _happened(leg: Leg) -> str:
    fill, trade = leg.fill, leg.trade
    at = f"{fill.quantity} {fill.symbol} at {plain(fill.price)}"
    holding = f"{trade.direction.value} {trade.open_quantity} at {plain(leg.position.average_price)}"
    match leg.step:
        case Step.OPENED:
            return f"Opened {trade.direction.value} {at}."
        case Step.INCREASED:
            bought = "bought" if fill.side.sign > 0 else "sold"
            return f"Added: {bought} {at}, now {holding} on average."
        case Step.REDUCED:
            return f"Took off {at} for {dollars(leg.realized_pnl)}, still {holding} on average."
        case Step.CLOSED:
            way = f"{plain(trade.entry_price)} to {plain(trade.exit_price or fill.price)}"
            return (
                f"Closed {trade.direction.value} {trade.quantity} {fill.symbol}, {way}: "
                f"{dollars(trade.gross_pnl)} before and {dollars(trade.pnl)} after commission."
            )
        case _:
            assert_never(leg.step)
