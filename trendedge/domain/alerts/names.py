"""Which of our fields a sender's field is: the vendors' names and their spellings, nested or not."""

import re
from collections.abc import Mapping
from enum import StrEnum, auto
from functools import lru_cache
from typing import Final


class Target(StrEnum):
    """What a sender's field can be for us. Text, because its hash is computed in C, and each alert looks up thirty."""

    SYMBOL = auto()
    EXCHANGE = auto()
    ACTION = auto()
    SENTIMENT = auto()
    """The side that the strategy is on after the order."""
    QUANTITY = auto()
    QUANTITY_TYPE = auto()
    ORDER_TYPE = auto()
    TYPE = auto()
    """`type` alone: an order type or an action; its words tell which."""
    PRICE = auto()
    """The price of the order: the limit of a limit order, else the market's."""
    MARKET_PRICE = auto()
    BAR_CLOSE = auto()
    """The close of the bar, a number and never an action: the market's price when no other field gives it."""
    LIMIT_PRICE = auto()
    STOP_PRICE = auto()
    SENDER_ID = auto()
    CLOCK = auto()
    ACCOUNT = auto()
    PLAYBOOK = auto()
    ACCOUNTS = auto()
    """A list of accounts that copy the trade."""
    MULTIPLIER = auto()
    UPDATE = auto()
    """A wish to change the exits of a position instead of trading."""


_NAMES: Final[Mapping[Target, str]] = {
    Target.SYMBOL: "symbol ticker instrument contract",
    Target.EXCHANGE: "exchange",
    Target.ACTION: "action side signal data direction orderaction orderside tradeaction strategyorderaction",
    Target.SENTIMENT: "sentiment marketposition strategymarketposition",
    Target.QUANTITY: "quantity qty contracts size ordercontracts orderquantity orderqty strategyordercontracts",
    Target.QUANTITY_TYPE: "quantitytype qtytype",
    Target.ORDER_TYPE: "ordertype",
    Target.TYPE: "type",
    Target.PRICE: "price orderprice entryprice strategyorderprice",
    Target.MARKET_PRICE: "signalprice marketprice lastprice",
    Target.BAR_CLOSE: "close barclose",
    Target.LIMIT_PRICE: "limitprice limit lmtprice",
    Target.STOP_PRICE: "stopprice triggerprice",
    Target.SENDER_ID: "id alertid orderid",
    Target.CLOCK: "timenow timestamp sentat time date datetime bartime",
    Target.ACCOUNT: "account accountid accountname",
    Target.PLAYBOOK: "playbook playbookid",
    Target.ACCOUNTS: "multipleaccounts",
    Target.MULTIPLIER: "quantitymultiplier multipleaccountsquantitymultiplier",
    Target.UPDATE: "updatetp updatesl",
}
_TARGETS: Final[Mapping[str, Target]] = {name: target for target, names in _NAMES.items() for name in names.split()}

IDS: Final = tuple(_NAMES[Target.SENDER_ID].split())
"""The sender's ids by precedence."""

CLOCKS: Final = tuple(_NAMES[Target.CLOCK].split())
"""The sender's clocks by trust: the time of firing before that of the bar."""

_ENVELOPES: Final = frozenset({"order", "signal", "alert", "data", "payload", "trade", "strategy", "message"})
"""Objects whose fields mean what they would mean at the top."""

_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


def squeeze(name: str) -> str:
    """A name or word without case and separators: `Order-Type`, `order_type` and `orderType` are one."""
    return _SEPARATORS.sub("", name.lower())


@lru_cache(maxsize=2048)
def target_of(path: str) -> Target | None:
    """What the field at this dotted path is; None for those that we do not know, which are fine.

    Nested fields count inside the envelopes, and a bar's `close` and `time`. An id inside `strategy` is that of
    TradingView's order (`{{strategy.order.id}}`), the same for each trade: it cannot say what a duplicate is.
    """
    *above, leaf = map(squeeze, path.split("."))
    if above in (["bar"], ["multipleaccounts"]):
        return _TARGETS.get(above[0] + leaf)
    if not all(name in _ENVELOPES for name in above):
        return None
    target = _TARGETS.get(leaf)
    return None if target is Target.SENDER_ID and "strategy" in above else target
