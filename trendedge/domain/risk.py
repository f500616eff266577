"""The checks between a plan and the market. Each says what it looked at, in words and numbers, also when it passes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from trendedge.domain.accounts import Account
from trendedge.domain.book import LastPrice
from trendedge.domain.sessions import session_at
from trendedge.domain.signals import OrderType, Signal
from trendedge.domain.wire import plain

LAST_PRICE_MAX_AGE: Final = timedelta(minutes=15)
"""A last price of this age or older is no price (CONTRACT, "Readings fixed")."""
MAX_CONTRACTS: Final = 1_000_000
"""Most contracts of one order, and most to be held. No risk limit: it keeps every sum within 28 digits, so exact."""
MAX_PRICE: Final = Decimal(10_000_000)
"""Prices are smaller than this in points, for the same reason."""

_EXECUTED: Final = (OrderType.MARKET, OrderType.LIMIT)
_PAPER: Final = "paper"


class RejectionCode(StrEnum):
    """Why a signal was not traded."""

    AMBIGUOUS_CONTRACT = "AMBIGUOUS_CONTRACT"
    BROKER_UNSUPPORTED = "BROKER_UNSUPPORTED"
    DUPLICATE = "DUPLICATE"
    GIVEN_UP = "GIVEN_UP"
    HALTED = "HALTED"
    MARKET_CLOSED = "MARKET_CLOSED"
    NO_POSITION = "NO_POSITION"
    NO_PRICE = "NO_PRICE"
    NOTHING_TO_CANCEL = "NOTHING_TO_CANCEL"
    ORDER_TYPE_UNSUPPORTED = "ORDER_TYPE_UNSUPPORTED"
    PRICE_OUT_OF_RANGE = "PRICE_OUT_OF_RANGE"
    QUANTITY_OUT_OF_RANGE = "QUANTITY_OUT_OF_RANGE"


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check. On the wire `facts` stands beside the three others, not below them."""

    check: str
    passed: bool
    detail: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """The numbers compared, as strings."""
    code: RejectionCode | None = None
    """What the signal is rejected with, when the check did not pass."""

    def to_wire(self) -> dict[str, str | bool]:
        """As an item of `checks` in the decision trace."""
        return {"check": self.check, "passed": self.passed, "detail": self.detail, **self.facts}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the rules refused a signal: a code for programs and a sentence for people."""

    code: RejectionCode
    message: str

    def to_wire(self) -> dict[str, str]:
        """As `rejection` of the decision trace."""
        return {"code": self.code.value, "message": self.message}


def passed(check: str, detail: str, **facts: str) -> Check:
    """A check that lets the signal through."""
    return Check(check, True, detail, facts)


def failed(check: str, code: RejectionCode, detail: str, **facts: str) -> Check:
    """A check that stops the signal."""
    return Check(check, False, detail, facts, code)


def rejection_of(checks: tuple[Check, ...]) -> Rejection | None:
    """What the first failed check says; None when all have passed."""
    for check in checks:
        if check.code is not None:
            return Rejection(check.code, check.detail)
    return None


def check_broker(account: Account) -> Check:
    """Whether the account's orders can be executed here. A live account is never filled on paper."""
    facts = {"broker": account.broker, "mode": account.mode.value}
    if account.broker == _PAPER and account.mode == _PAPER:
        return passed("broker", "the paper market executes the orders of this account", **facts)
    detail = f"there is no way yet to a broker named {account.broker} for a {account.mode.value} account"
    return failed("broker", RejectionCode.BROKER_UNSUPPORTED, detail, **facts)


def check_order_type(order_type: OrderType) -> Check:
    """Whether the market can execute this type of order."""
    facts = {"order_type": order_type.value}
    if order_type in _EXECUTED:
        return passed("order_type", f"{order_type.value} orders are executed", **facts)
    detail = f"{order_type.value} orders are not executed; send market or limit"
    return failed("order_type", RejectionCode.ORDER_TYPE_UNSUPPORTED, detail, **facts)


def check_quantity(*, held: int, order: int, after: int) -> Check:
    """Whether order and resulting position can be counted. `held` and `after` are signed."""
    facts = {"held": str(held), "order": str(order), "after": str(after), "maximum": str(MAX_CONTRACTS)}
    if order <= MAX_CONTRACTS and abs(after) <= MAX_CONTRACTS:
        return passed("quantity", f"an order for {order} takes the position from {held} to {after}", **facts)
    detail = f"an order for {order} that takes the position from {held} to {after} is over {MAX_CONTRACTS} contracts"
    return failed("quantity", RejectionCode.QUANTITY_OUT_OF_RANGE, detail, **facts)


def check_halt(*, account_halted: bool, system_halted: bool, opens: int) -> Check:
    """The kill switches. Whatever opens no contract is an exit and passes."""
    facts = {"account_halted": _word(account_halted), "system_halted": _word(system_halted), "opens": str(opens)}
    if not (account_halted or system_halted):
        return passed("halt", "trading is not halted", **facts)
    by = "the account" if account_halted else "the system"
    if opens == 0:
        return passed("halt", f"{by} is halted; an exit passes", **facts)
    detail = f"{by} is halted: exits pass, but this would open {opens}"
    return failed("halt", RejectionCode.HALTED, detail, **facts)


def check_session(root: str, *, any_hour: bool, now: datetime) -> Check:
    """Whether the exchange trades the product now."""
    state = session_at(root, now)
    facts = {"exchange_time": state.local.isoformat(), "any_hour": _word(any_hour)}
    if state.is_open:
        return passed("session", state.reason, **facts)
    if any_hour:
        return passed("session", f"{state.reason}, but this account trades at any hour", **facts)
    return failed("session", RejectionCode.MARKET_CLOSED, state.reason, **facts)


def reference_price(signal: Signal, *, last: LastPrice | None, now: datetime) -> tuple[Decimal | None, Check]:
    """The price to execute at, before slippage, and the check of it; no price when the check fails.

    A limit order has its limit. A market order has the alert's price, else the last price of the product while that is
    under `LAST_PRICE_MAX_AGE`.
    """
    if signal.order_type is OrderType.LIMIT:
        return _sane(signal.limit_price, source="the limit", missing="a limit order needs a limit price")
    if signal.price is not None:
        return _sane(signal.price, source="the alert's price", missing="")
    if last is None or last.root != signal.symbol.root:
        return _no_price(f"the alert has no price, and none is known for {signal.symbol.root}")
    return _aged(last, now=now)


def _aged(last: LastPrice, *, now: datetime) -> tuple[Decimal | None, Check]:
    age = now - last.at
    facts = {
        "age_s": plain(Decimal(str(age.total_seconds()))),
        "max_age_s": str(int(LAST_PRICE_MAX_AGE.total_seconds())),
    }
    if age >= LAST_PRICE_MAX_AGE:
        detail = f"the alert has no price, and the last one of {last.root} is too old"
        return _no_price(detail, price=plain(last.price), **facts)
    return _sane(last.price, source=f"the last price of {last.root}", missing="", **facts)


def _sane(price: Decimal | None, *, source: str, missing: str, **facts: str) -> tuple[Decimal | None, Check]:
    if price is None:
        return _no_price(missing, **facts)
    if abs(price) < MAX_PRICE:
        facts["price"] = plain(price)
        return price, passed("price", f"{source} is {facts['price']}", **facts)
    # Not written out in full: an exponent of millions would be a text of millions.
    detail = f"{source} is {price:.6g}, which no future has ever cost"
    return None, failed("price", RejectionCode.PRICE_OUT_OF_RANGE, detail, price=f"{price:.6g}", **facts)


def _no_price(detail: str, **facts: str) -> tuple[None, Check]:
    return None, failed("price", RejectionCode.NO_PRICE, detail, **facts)


def _word(flag: bool) -> str:
    return "true" if flag else "false"
