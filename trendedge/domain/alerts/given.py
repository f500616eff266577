"""The fields of one alert sorted by what they are for us, and the agreement among those that are the same thing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trendedge.domain.alerts.errors import shown, unacceptable
from trendedge.domain.alerts.fields import Fields, Value
from trendedge.domain.alerts.names import Target, squeeze, target_of
from trendedge.domain.alerts.scalars import read_word
from trendedge.domain.alerts.words import ACTIONS, Said

type Found = tuple[str, Value]
"""A field's path as the sender spelled it, and what it holds."""


@dataclass(frozen=True, slots=True)
class Given:
    """All known fields that are not null, in the order in which the sender wrote them."""

    found: dict[Target, list[Found]] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Fields) -> "Given":
        """Sort the fields of one alert. Unknown ones are left out: they are fine, and kept in `raw`."""
        given = cls()
        for path, value in fields.values.items():
            target = target_of(path)
            if target is None or value is None:
                continue
            if target is Target.TYPE:
                is_action = isinstance(value, str) and squeeze(value) in ACTIONS
                target = Target.ACTION if is_action else Target.ORDER_TYPE
            given.found.setdefault(target, []).append((path, value))
        return given

    def all(self, target: Target) -> Sequence[Found]:
        """The fields of one target."""
        return self.found.get(target, ())

    def words(self, target: Target) -> list[Said]:
        """The texts of one target.

        :raises AlertRefused: 422, one of them is empty, a placeholder, or no text
        """
        return [(path, read_word(path, value)) for path, value in self.found.get(target, ())]

    def one[T](self, read: Callable[[str, Value], T | None], *targets: Target) -> T | None:
        """What all fields of these targets say, each read with `read`; None when none says anything.

        :raises AlertRefused: 422, two of them disagree, or as `read` does
        """
        agreed: T | None = None
        first: Found | None = None
        for target in targets:
            for path, value in self.found.get(target, ()):
                result = read(path, value)
                if result is None or (first is not None and result == agreed):
                    continue
                if first is not None:
                    raise unacceptable(
                        path, f"{shown(value)}, and {shown(first[1])} in {first[0]}", "say one thing only"
                    )
                agreed, first = result, (path, value)
        return agreed
