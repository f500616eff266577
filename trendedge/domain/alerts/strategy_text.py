"""The sentence that TradingView writes for a strategy's order when the user leaves the message as it is.

    My Strat (14, close): order sell @ 2 filled on NQ1!. New strategy position is -2

Users add a time frame or a comment, and lines of `KEY=VALUE` for the webhook key.
"""

import re
from typing import Final

from trendedge.domain.alerts import key_value
from trendedge.domain.alerts.errors import unreadable
from trendedge.domain.alerts.fields import MAX_STRING, Value

_ORDER: Final = re.compile(
    r"\border\s{1,4}(?P<action>[^\s@]{1,64})\s{1,4}@\s{0,4}(?P<contracts>\S{1,64})\s{1,4}filled\s{1,4}on\s{1,4}"
    r"(?P<ticker>\{\{[^{}]{1,64}\}\}|[^\s,;.(){}]{1,64})[^\n]{0,100}?"
    r"\bnew\s{1,4}strategy\s{1,4}position\s{1,4}is\s{1,4}(?P<position>\{\{[^{}]{1,64}\}\}|[^\s,;]{1,64})",
    re.IGNORECASE,
)
_MINUS_SIGN: Final = "\u2212"


def is_sentence(text: str) -> bool:
    """Whether the text holds TradingView's sentence. One longer than any single value may be is not searched."""
    return len(text) <= MAX_STRING and _ORDER.search(text) is not None


def read(text: str) -> dict[str, Value]:
    """The fields of the sentence under the names of TradingView's placeholders, and the `KEY=VALUE` lines around it.

    :raises AlertRefused: 400, two orders in one text
    """
    orders = list(_ORDER.finditer(text))
    if len(orders) > 1:
        raise unreadable(f"{len(orders)} orders in one text", "send one alert for each order")
    order = orders[0]
    found: dict[str, Value] = {
        "strategy.order.action": order["action"],
        "strategy.order.contracts": order["contracts"],
        "ticker": order["ticker"],
        "strategy.market_position": _side_of(order["position"]),
    }
    for line in [*text[: order.start()].splitlines()[:-1], *text[order.end() :].splitlines()]:
        key_value.read_line(line, into=found)
    return found


def _side_of(position: str) -> str:
    """`long`, `short` or `flat` for the size of the position after the order; the text itself when it is no number."""
    size = re.fullmatch(rf"([-+{_MINUS_SIGN}]?)([0-9]{{1,12}}(?:\.[0-9]{{0,12}})?)\.?", position)
    if size is None:
        return position
    if not size[2].strip("0."):
        return "flat"
    return "short" if size[1] in ("-", _MINUS_SIGN) else "long"
