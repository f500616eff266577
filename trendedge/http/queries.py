"""What clients may ask of a list: `?limit= &cursor= &account_id= &root= &status= &since= &until=`.

Unknown names are ignored.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from trendedge.http.errors import ApiError, Code, invalid
from trendedge.http.exchange import Exchange
from trendedge.storage.paging import Filters

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_MAX_PARAMETERS = 64
_ROOT = re.compile(r"[A-Z0-9]{1,8}")
_WORD = re.compile(r"[\x21-\x7e]{1,256}")


class Query:
    """The query string, taken apart once; each accessor validates what it gives out.

    All accessors raise `ApiError` 400 with the name of the parameter.
    """

    def __init__(self, exchange: Exchange) -> None:
        raw: str = exchange.scope.get("query_string", b"").decode("latin-1")
        try:
            # A repeated parameter: the last one counts.
            self._values: dict[str, str] = dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
        except ValueError:
            raise ApiError(Code.VALIDATION_ERROR, f"At most {_MAX_PARAMETERS} query parameters.") from None

    def filters(self, *, statuses: Collection[str] = ()) -> Filters:
        """All filters of a list; `statuses` are those that its items can have."""
        return Filters(
            account_id=self.account_id(),
            root=self.root(),
            status=self.status(statuses) if statuses else None,
            since=self.moment("since"),
            until=self.moment("until"),
        )

    def limit(self) -> int:
        """How many items at most: 1 to 200, 50 by default."""
        raw = self._values.get("limit")
        if raw is None:
            return DEFAULT_LIMIT
        if not (raw.isascii() and raw.isdigit() and len(raw) <= 9 and 1 <= int(raw) <= MAX_LIMIT):
            raise invalid("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
        return int(raw)

    def cursor(self) -> str | None:
        """Where to go on; only the list that made it can tell whether it is one of its own."""
        return self._word("cursor", "must be a `next_cursor` of this list")

    def account_id(self) -> str | None:
        """Only what belongs to this account."""
        return self._word("account_id", "must be the id of an account")

    def root(self) -> str | None:
        """Only this product; `mnq` is taken for `MNQ`."""
        raw = self._values.get("root")
        if not raw:
            return None
        if not _ROOT.fullmatch(raw.upper()):
            raise invalid("root", "must be a product such as MNQ")
        return raw.upper()

    def status(self, known: Collection[str]) -> str | None:
        """Only this status."""
        raw = self._values.get("status")
        if not raw:
            return None
        if raw not in known:
            raise invalid("status", f"must be one of {', '.join(sorted(known))}")
        return raw

    def moment(self, name: str) -> datetime | None:
        """A time in RFC 3339, or a date; without an offset it is taken as UTC."""
        raw = self._values.get(name)
        if not raw:
            return None
        try:
            # An offset's plus sign that was not percent-encoded arrives as a space.
            found = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", raw) if "T" in raw else raw)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            raise invalid(name, "must be a time such as 2026-02-11T15:00:00Z") from None

    def word(self, name: str) -> str | None:
        """A plain word."""
        return self._word(name, "must be a word")

    def flag(self, name: str) -> bool:
        """`true` or `false`; false when it is not given."""
        raw = self._values.get(name) or "false"
        if raw not in {"true", "false"}:
            raise invalid(name, "must be true or false")
        return raw == "true"

    def _word(self, name: str, message: str) -> str | None:
        raw = self._values.get(name)
        if not raw:
            return None
        if not _WORD.fullmatch(raw):
            raise invalid(name, message)
        return raw
