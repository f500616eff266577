"""One walk over what was read: the limits, the secrets, and the dotted paths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from trendedge.domain.alerts.errors import AlertRefused, printable, unreadable
from trendedge.domain.alerts.fields import MAX_DEPTH, MAX_FIELDS, MAX_STRING, Value
from trendedge.domain.alerts.json_reader import clash, too_deep, too_many
from trendedge.domain.alerts.redaction import is_secret_name

_KEY_NAMES: Final = ("apikey", "token", "secret", "passphrase")
"""Where the webhook key may stand (CONTRACT), in the order in which they are tried."""


@dataclass(slots=True)
class Survey:
    """What an alert's tree holds. Build it with `survey`."""

    values: dict[str, Value] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    keys: int = 0
    """Keys of objects, at every level."""
    items: int = 0
    """Keys and list items, at every level."""
    clash: AlertRefused | None = None
    """A path given twice, once nested and once with the dots in the key."""

    def secret(self) -> str | None:
        """The webhook key: text or a whole number at the top under one of its names, in any spelling."""
        named: dict[str, str] = {}
        for path, value in self.values.items():
            if is_secret_name(path) and isinstance(value, str | int) and not isinstance(value, bool):
                named.setdefault(path.replace("_", "").replace("-", "").lower(), str(value).strip())
        return next((named[name] for name in _KEY_NAMES if named.get(name)), None)


def survey(tree: Mapping[str, Value]) -> Survey:
    """Walk the whole tree once.

    :raises AlertRefused: 400, over one of the limits in `fields`
    """
    found = Survey()
    _walk_object(found, tree, "", depth=1, secret=False)
    return found


def _walk_object(found: Survey, tree: Mapping[str, Value], path: str, *, depth: int, secret: bool) -> None:
    if depth > MAX_DEPTH:
        raise too_deep()
    found.keys += len(tree)
    _count(found, len(tree))
    for key, value in tree.items():
        if len(key) > MAX_STRING:
            raise _too_long("a field's name")
        name = key if key.isprintable() else printable(key)
        below = f"{path}.{name}" if path else name
        hidden = secret or is_secret_name(key)
        if isinstance(value, dict):
            _walk_object(found, value, below, depth=depth + 1, secret=hidden)
            continue
        if below in found.values and found.values[below] != value and found.clash is None:
            found.clash = clash(below, found.values[below], value)
        found.values[below] = value
        _walk(found, value, below, depth=depth, secret=hidden)


def _walk(found: Survey, value: Value, path: str, *, depth: int, secret: bool) -> None:
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise _too_long(path)
    if isinstance(value, list):
        if depth >= MAX_DEPTH:
            raise too_deep()
        _count(found, len(value))
        for item in value:
            if isinstance(item, dict):
                # Its fields are of no use without the list, so they go nowhere; their limits and secrets count.
                inner = Survey(secrets=found.secrets, keys=found.keys, items=found.items)
                _walk_object(inner, item, path, depth=depth + 2, secret=secret)
                found.keys, found.items = inner.keys, inner.items
            else:
                _walk(found, item, path, depth=depth + 1, secret=secret)
    elif secret and value is not None and not isinstance(value, bool):
        found.secrets.add(str(value))


def _count(found: Survey, more: int) -> None:
    found.items += more
    if found.items > MAX_FIELDS:
        raise too_many()


def _too_long(path: str) -> AlertRefused:
    return unreadable(f"text of more than {MAX_STRING} characters", f"send at most {MAX_STRING} characters", field=path)
