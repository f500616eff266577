"""Which of an alert's prices is the market's, which the order's."""

from dataclasses import dataclass, field
from decimal import Decimal

from trendedge.domain.alerts.errors import AlertRefused, unacceptable
from trendedge.domain.alerts.fields import Value
from trendedge.domain.alerts.given import Given
from trendedge.domain.alerts.names import Target
from trendedge.domain.alerts.scalars import read_number, read_price
from trendedge.domain.instruments import Instrument
from trendedge.domain.signals import OrderType, Repair

_LIMITED = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_TRIGGERED = (OrderType.STOP, OrderType.STOP_LIMIT)


@dataclass(slots=True)
class Prices:
    """The prices of one alert on the instrument's grid, as far as its order type has a use for them."""

    instrument: Instrument
    market: Decimal | None = None
    limit: Decimal | None = None
    stop: Decimal | None = None
    repairs: list[Repair] = field(default_factory=list)

    def read(self, path: str, value: Value) -> Decimal:
        """One price; the rounding of float noise is recorded.

        :raises AlertRefused: 422
        """
        price, repair = read_price(path, value, instrument=self.instrument)
        if repair is not None:
            self.repairs.append(repair)
        return price

    def read_optional(self, path: str, value: Value) -> Decimal | None:
        """As `read`, where vendors' templates say "unset" with 0 or an empty text."""
        if value == "" or (_is_number(value) and read_number(path, value) == 0):
            return None
        return self.read(path, value)


def read_prices(given: Given, *, order_type: OrderType | None, instrument: Instrument) -> Prices:
    """Read the prices for an order of this type; None stands for an alert that names no type and so means the market.

    `price` is the order's own price where it has one that is not given elsewhere (limit, trigger), else the market's. A
    limit or trigger without an order type is refused: others use these names for targets and protective stops.

    :raises AlertRefused: 422
    """
    prices = Prices(instrument)
    if order_type is not OrderType.MARKET:
        prices.limit = given.one(prices.read_optional, Target.LIMIT_PRICE)
        prices.stop = given.one(prices.read_optional, Target.STOP_PRICE)
    if order_type is None and (prices.limit is not None or prices.stop is not None):
        kind, target = ("stop", Target.STOP_PRICE) if prices.limit is None else ("limit", Target.LIMIT_PRICE)
        raise unacceptable(given.all(target)[0][0], "a price without an order type", f'add "order_type": "{kind}"')
    if order_type in _LIMITED and prices.limit is None:
        prices.limit = _own_price(given, prices, "limit_price")
    elif order_type is OrderType.STOP and prices.stop is None:
        prices.stop = _own_price(given, prices, "stop_price")
    else:
        prices.market = given.one(prices.read, Target.PRICE, Target.MARKET_PRICE)
    if order_type is OrderType.STOP_LIMIT and prices.stop is None:
        raise _missing("stop_price")
    return _trimmed(given, prices, order_type)


def _own_price(given: Given, prices: Prices, name: str) -> Decimal:
    """The order's price out of `price`; the market's then can only come from a field that says so."""
    own = given.one(prices.read, Target.PRICE)
    if own is None:
        raise _missing(name)
    prices.market = given.one(prices.read, Target.MARKET_PRICE)
    return own


def _trimmed(given: Given, prices: Prices, order_type: OrderType | None) -> Prices:
    """Fall back to the bar's close for the market's price, and drop what this type of order has no use for."""
    if prices.market is None:
        prices.market = given.one(prices.read, Target.BAR_CLOSE)
    if order_type not in _LIMITED:
        prices.limit = None
    if order_type not in _TRIGGERED:
        prices.stop = None
    return prices


def _missing(name: str) -> AlertRefused:
    return unacceptable(name, "nothing", f'add "{name}" with a price in points')


def _is_number(value: Value) -> bool:
    try:
        read_number("", value)
    except AlertRefused:
        return False
    return True
