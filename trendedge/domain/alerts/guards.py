"""Fields that would give the rest of the alert another meaning than the one we read.

Whoever sets them is refused: taking no notice would trade something that nobody asked for.
"""

from typing import Final

from trendedge.domain.alerts.errors import shown, unacceptable
from trendedge.domain.alerts.fields import Value
from trendedge.domain.alerts.names import squeeze
from trendedge.domain.alerts.scalars import read_number

_CONTRACTS: Final = frozenset({"", "fixedquantity", "fixed", "quantity", "contract", "contracts"})
_NO: Final = frozenset({"", "false", "0", "no", "off", "none", "null"})


def refuse_copies(path: str, value: Value) -> None:
    """Accept a `multiple_accounts` list only if it copies nothing: at most one entry, and that for the same quantity.

    :raises AlertRefused: 422
    """
    entries = value if isinstance(value, list) else [value]
    if not entries or entries in ([None], [""]):
        return
    if len(entries) > 1:
        raise unacceptable(
            path, f"{len(entries)} accounts", "send one alert for each account, with its name in account"
        )
    if not isinstance(entries[0], dict):
        raise unacceptable(path, shown(entries[0]), "send a list with one object, or leave it out")
    multiplier = entries[0].get("quantity_multiplier")
    if multiplier is not None:
        refuse_multiple(f"{path}[0].quantity_multiplier", multiplier)


def refuse_multiple(path: str, value: Value) -> None:
    """Accept a multiplier of the quantity only if it is 1.

    :raises AlertRefused: 422
    """
    if read_number(path, value) != 1:
        raise unacceptable(path, shown(value), "send 1, and the number of contracts in quantity")


def refuse_other_units(path: str, value: Value) -> None:
    """Accept a quantity's type only if it counts contracts: dollars or percents are no contracts.

    :raises AlertRefused: 422
    """
    if value is not None and (not isinstance(value, str) or squeeze(value) not in _CONTRACTS):
        raise unacceptable(path, shown(value), "send fixed_quantity, and the number of contracts in quantity")


def refuse_update(path: str, value: Value) -> None:
    """Accept a wish to update exits only if it is off: an alert that has it on does not want to trade.

    :raises AlertRefused: 422
    """
    if str(value).strip().lower() not in _NO:
        raise unacceptable(path, shown(value), "send false: an alert trades, it does not move the exits of a position")
