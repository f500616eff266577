"""Numbers of specs that make no sense are refused where they are declared, and not found out by what hangs later."""

import math


def at_least(least: float, **fields: float) -> None:
    """Raise `ValueError` for a field that is less, or no number."""
    for name, value in fields.items():
        if not value >= least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def more_than_nothing(**fields: float) -> None:
    """Raise `ValueError` for a field that is 0 or less, or no number."""
    for name, value in fields.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be more than 0")


def delays(**fields: tuple[float, ...]) -> None:
    """Raise `ValueError` for a field of which one is less than 0, or no moment is ever after it."""
    for name, values in fields.items():
        for value in values:
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} has {value} among them; each must be at least 0, and end")
