"""Parameters of lists: each is validated, and the refusal names it."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from trendedge.http.errors import ApiError, Code
from trendedge.http.exchange import Exchange
from trendedge.http.queries import Query


async def nothing() -> dict[str, object]:
    return {"type": "http.disconnect"}


def query(raw: str) -> Query:
    scope = {"headers": [], "path": "/", "query_string": raw.encode("latin-1")}
    return Query(Exchange(scope, nothing, body_limit=1, body_timeout_s=1, address_header=None))


@pytest.mark.parametrize(("raw", "limit"), [("", 50), ("limit=1", 1), ("limit=200", 200), ("limit=7&limit=9", 9)])
def test_the_limit(raw: str, limit: int) -> None:
    assert query(raw).limit() == limit


@pytest.mark.parametrize(
    "raw", ["0", "201", "-1", "", "1.5", "abc", "1e2", " 5", "9" * 5000, quote("٣"), quote("²"), "%00", "%ff"]
)
def test_a_limit_out_of_range_is_refused_by_name(raw: str) -> None:
    with pytest.raises(ApiError) as caught:
        query(f"limit={raw}").limit()
    assert caught.value.code is Code.VALIDATION_ERROR
    assert [detail.field for detail in caught.value.details] == ["limit"]


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        ("2026-02-11T15:00:00Z", datetime(2026, 2, 11, 15, tzinfo=UTC)),
        ("2026-02-11T15:00:00+01:00", datetime(2026, 2, 11, 14, tzinfo=UTC)),
        ("2026-02-11T15:00:00%2B01:00", datetime(2026, 2, 11, 14, tzinfo=UTC)),
        ("2026-02-11", datetime(2026, 2, 11, tzinfo=UTC)),
    ],
)
def test_moments_are_read_as_utc(raw: str, moment: datetime) -> None:
    assert query(f"since={raw}").moment("since") == moment


@pytest.mark.parametrize("raw", ["yesterday", "0001-01-01T00:00:00%2B23:00", "2026-13-01", "%00", "1"])
def test_what_is_no_moment_is_refused(raw: str) -> None:
    with pytest.raises(ApiError):
        query(f"until={raw}").moment("until")


def test_roots_and_words() -> None:
    assert query("root=mnq").root() == "MNQ"
    assert query("root=").root() is None
    for raw in ("root=%00", "root=MNQ!1", "root=%F0%9F%92%A9"):
        with pytest.raises(ApiError):
            query(raw).root()
    for raw in ("cursor=%00", "cursor=a%20b", "cursor=%ff", f"cursor={'x' * 300}"):
        with pytest.raises(ApiError):
            query(raw).cursor()


def test_a_status_must_be_one_that_exists() -> None:
    assert query("status=open").status({"open", "closed"}) == "open"
    with pytest.raises(ApiError):
        query("status=ajar").status({"open", "closed"})


def test_unknown_parameters_are_ignored_but_not_without_end() -> None:
    assert query("x=1&limit=3&y").limit() == 3
    with pytest.raises(ApiError):
        query("&".join(f"p{n}=1" for n in range(1000)))
