"""The fields of an alert between reading and interpretation, and the limits that every dialect obeys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trendedge.domain.alerts.errors import AlertRefused
from trendedge.domain.signals import Dialect, Repair

MAX_DEPTH: Final = 5
"""Levels of nesting, the outermost object included (PRD INF-SEC-005, rule 4)."""

MAX_STRING: Final = 10_000
"""Characters of one string (PRD INF-SEC-005, rule 1)."""

MAX_FIELDS: Final = 500
"""Fields and list items of one alert, at all levels. The longest vendor's template that we know has 60."""

type Value = str | int | float | bool | list[Value] | dict[str, Value] | None
"""What JSON can say. The tolerant reader leaves numbers as the text that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """One alert as read, not yet understood."""

    dialect: Dialect
    values: Mapping[str, Value]
    """By dotted path as the sender spelled it (`strategy.order_action`). Objects are flattened, lists are not."""
    secret: str | None
    """The sender's webhook key, from `api_key`, `token`, `secret` or `passphrase`; to be verified by the caller."""
    secrets: tuple[str, ...] = ()
    """Every text that stood under a secret's name at any depth, the longest first. Never to be shown or stored."""
    raw: str
    """The body as text, with each of the secrets replaced by `***`."""
    repairs: tuple[Repair, ...] = ()
    refusal: AlertRefused | None = None
    """A fault found in reading that an unauthenticated sender need not know; `interpret` raises it."""
