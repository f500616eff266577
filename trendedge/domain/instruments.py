"""The futures that TrendEdge knows: tick size, point value and listed months by root.

Source: CME Group's contract specifications, as looked up in November 2026. A root that is not in `INSTRUMENTS` cannot
be traded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Final

MONTH_CODES: Final = "FGHJKMNQUVXZ"
"""The exchange's letters for January to December."""

QUARTERLY: Final = "HMUZ"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One product: what a point is worth and which prices exist."""

    root: str
    exchange: str
    """The exchange of CME Group that lists it: CME, CBOT, NYMEX or COMEX."""
    name: str
    tick_size: Decimal
    """Smallest step of a price, in points."""
    point_value: Decimal
    """US dollars for one point of one contract."""
    months: str
    """Codes of the delivery months that are listed and liquid, in the order of the year."""
    micro_of: str | None = None
    """Root of the bigger contract on the same underlying, when this is its micro."""

    @property
    def tick_value(self) -> Decimal:
        """US dollars for one tick of one contract."""
        return self.tick_size * self.point_value

    def on_tick(self, price: Decimal) -> bool:
        """Whether the exchange could print this price. A price that is not finite is on no tick."""
        return price.is_finite() and price == self.nearest_tick(price)

    def nearest_tick(self, price: Decimal) -> Decimal:
        """The closest price on the grid, written with the decimals of a tick; halfway goes to the even tick.

        :raises decimal.InvalidOperation: the price is not finite, or has more than 28 significant digits of ticks
        """
        return (price / self.tick_size).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) * self.tick_size


def _listed(
    root: str, exchange: str, name: str, tick: str, point: str, months: str, micro_of: str | None = None
) -> Instrument:
    return Instrument(root, exchange, name, Decimal(tick), Decimal(point), months, micro_of)


_TABLE: Final = (
    _listed("ES", "CME", "E-mini S&P 500", "0.25", "50", QUARTERLY),
    _listed("MES", "CME", "Micro E-mini S&P 500", "0.25", "5", QUARTERLY, "ES"),
    _listed("NQ", "CME", "E-mini Nasdaq-100", "0.25", "20", QUARTERLY),
    _listed("MNQ", "CME", "Micro E-mini Nasdaq-100", "0.25", "2", QUARTERLY, "NQ"),
    _listed("YM", "CBOT", "E-mini Dow", "1", "5", QUARTERLY),
    _listed("MYM", "CBOT", "Micro E-mini Dow", "1", "0.5", QUARTERLY, "YM"),
    _listed("RTY", "CME", "E-mini Russell 2000", "0.1", "50", QUARTERLY),
    _listed("M2K", "CME", "Micro E-mini Russell 2000", "0.1", "5", QUARTERLY, "RTY"),
    _listed("CL", "NYMEX", "WTI Crude Oil", "0.01", "1000", MONTH_CODES),
    _listed("MCL", "NYMEX", "Micro WTI Crude Oil", "0.01", "100", MONTH_CODES, "CL"),
    _listed("NG", "NYMEX", "Henry Hub Natural Gas", "0.001", "10000", MONTH_CODES),
    _listed("GC", "COMEX", "Gold", "0.1", "100", "GJMQVZ"),
    _listed("MGC", "COMEX", "Micro Gold", "0.1", "10", "GJMQVZ", "GC"),
    _listed("SI", "COMEX", "Silver", "0.005", "5000", "HKNUZ"),
    _listed("SIL", "COMEX", "Micro Silver", "0.005", "1000", "HKNUZ", "SI"),
    _listed("HG", "COMEX", "Copper", "0.0005", "25000", "HKNUZ"),
    _listed("PL", "NYMEX", "Platinum", "0.1", "50", "FJNV"),
    _listed("ZB", "CBOT", "30-Year U.S. Treasury Bond", "0.03125", "1000", QUARTERLY),
    _listed("ZN", "CBOT", "10-Year U.S. Treasury Note", "0.015625", "1000", QUARTERLY),
    _listed("6E", "CME", "Euro FX", "0.00005", "125000", QUARTERLY),
    _listed("6B", "CME", "British Pound", "0.0001", "62500", QUARTERLY),
    _listed("6J", "CME", "Japanese Yen", "0.0000005", "12500000", QUARTERLY),
    _listed("BTC", "CME", "Bitcoin", "5", "5", MONTH_CODES),
    _listed("MBT", "CME", "Micro Bitcoin", "5", "0.1", MONTH_CODES, "BTC"),
)

INSTRUMENTS: Final[Mapping[str, Instrument]] = MappingProxyType({row.root: row for row in _TABLE})
"""Every tradable product by its root, e.g. ``INSTRUMENTS["MNQ"]``."""
