"""Lists by keyset: newest first by (time, id), a page at a time, without gaps or doubles while rows are added."""

import hashlib
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from trendedge.storage.errors import InvalidCursor
from trendedge.storage.postgres import Row
from trendedge.storage.values import as_uuid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = struct.Struct(">3sq16s")
_TAG_BYTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a client may narrow a list down by. `since` is included, `until` is not; both are aware."""

    account_id: str | None = None
    root: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None


NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: bytes
    """A JSON array, ready to be sent."""
    next_cursor: str | None
    """Where the next page begins; None on the last one."""


class Listing:
    """The `where`, `order by` and `limit` of one list, and its arguments in order.

    Only the conditions that are asked for are in the statement: a generic `$1 is null or ...` would keep PostgreSQL
    from using the index.
    """

    def __init__(self, *, time: str, id: str, user_id: str | None = None, user: str = "user_id") -> None:
        """Of one user's items; without a `user_id` of everybody's, which is for operators."""
        self._time, self._id = time, id
        self._conditions: list[str] = []
        self.args: list[Any] = []
        if user_id is not None:
            self.where(f"{user} = {{}}", as_uuid(user_id))

    def where(self, condition: str, value: object) -> None:
        """Add a condition; `{}` in it stands for the value."""
        self.args.append(value)
        self._conditions.append(condition.format(f"${len(self.args)}"))

    def narrow(self, filters: Filters, *, account: str, root: str, status: str | None) -> None:
        """Add the client's filters. A list without a status ignores that one."""
        if filters.account_id is not None:
            self.where(f"{account} = {{}}", as_uuid(filters.account_id))
        if filters.root is not None:
            self.where(f"{root} = {{}}", filters.root)
        if filters.status is not None and status is not None:
            self.where(f"{status} = {{}}", filters.status)
        self.between(filters)

    def between(self, filters: Filters) -> None:
        """Add the client's bounds of time alone."""
        if filters.since is not None:
            self.where(f"{self._time} >= {{}}", filters.since)
        if filters.until is not None:
            self.where(f"{self._time} < {{}}", filters.until)

    def after(self, cursor: str | None) -> None:
        """Begin after the item that the cursor stands for.

        :raises InvalidCursor: it is none
        """
        if cursor is not None:
            at, id = decode_cursor(cursor, of=self._time)
            self.args += [at, id]
            place = len(self.args)
            self._conditions.append(f"({self._time}, {self._id}) < (${place - 1}, ${place})")

    def sql(self, limit: int) -> str:
        """One row more than `limit` is asked for: it tells whether there is a next page."""
        conditions = " and ".join(self._conditions) or "true"
        return f"where {conditions} order by {self._time} desc, {self._id} desc limit {limit + 1:d}"

    def page(self, rows: Sequence[Row], limit: int) -> Page:
        """A page of rows with the columns `item` (JSON text), `at` and `id`, as many as `sql` asked for."""
        shown = rows[:limit]
        items = ("[" + ",".join([row["item"] for row in shown]) + "]").encode()
        return Page(items, self.cursor(shown[-1]["at"], shown[-1]["id"]) if len(rows) > limit else None)

    def cursor(self, at: datetime, id: UUID) -> str:
        """An opaque name of the place after this item, good for this list alone."""
        return encode_cursor(at, id, of=self._time)


def encode_cursor(at: datetime, id: UUID, *, of: str) -> str:
    """An opaque name of the place after this item in the list named by `of`."""
    return urlsafe_b64encode(_CURSOR.pack(_tag(of), (at - _EPOCH) // _MICROSECOND, id.bytes)).decode()


def decode_cursor(cursor: str, *, of: str) -> tuple[datetime, UUID]:
    """What `encode_cursor` was given.

    :raises InvalidCursor: it was made by nobody, or for another list
    """
    try:
        tag, microseconds, id = _CURSOR.unpack(urlsafe_b64decode(cursor.encode("ascii")))
        place = _EPOCH + microseconds * _MICROSECOND, UUID(bytes=id)
    except (ValueError, OverflowError, struct.error):  # not ASCII, not base64, not this long, beyond the year 9999
        raise InvalidCursor(cursor) from None
    # Base64 is lenient about what it skips: one place has one name.
    if tag != _tag(of) or encode_cursor(*place, of=of) != cursor:
        raise InvalidCursor(cursor)
    return place


def _tag(name: str) -> bytes:
    return hashlib.blake2s(name.encode(), digest_size=_TAG_BYTES).digest()
