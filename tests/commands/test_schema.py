"""`trendedge migrate`, and commands that meet an older schema."""

import pytest

from tests.commands.support import TrendEdge
from tests.commands.test_keys import PRODUCTION
from trendedge.storage.migrate import revisions

HEAD, FIRST = revisions()[-1].id, revisions()[0].id


@pytest.fixture
def empty(bare: TrendEdge, postgres_url: str) -> TrendEdge:
    """`trendedge` on an empty database."""

    def run(*arguments: str, **variables: str) -> object:
        return bare(*arguments, **{"DATABASE_URL": postgres_url} | variables)

    return run  # type: ignore[return-value]  # a partial with changeable keywords


def states(trendedge: TrendEdge) -> list[str]:
    done = trendedge("migrate", "status")
    assert done.status == 0, done.err
    return [line.split()[0] for line in done.out.splitlines()]


def test_up_and_down_and_up_again(empty: TrendEdge) -> None:
    count = len(revisions())
    assert states(empty) == ["pending"] * count
    done = empty("migrate", "up")
    assert done.status == 0, done.err
    assert f"migrated up to {HEAD}" in done.err
    assert states(empty) == ["applied"] * count
    assert empty("migrate", "down").status == 0
    assert states(empty) == ["applied"] * (count - 1) + ["pending"]
    assert empty("migrate", "down", "base").status == 0
    assert states(empty) == ["pending"] * count
    assert empty("migrate", "up", FIRST).status == 0
    assert states(empty) == ["applied"] + ["pending"] * (count - 1)


def test_an_unknown_revision_is_told(empty: TrendEdge) -> None:
    done = empty("migrate", "up", "9999")
    assert done.status == 1
    assert done.err.startswith("trendedge: there is no revision 9999; there are base, head and 0001")


def test_migrations_take_the_direct_way(empty: TrendEdge, database_url: str) -> None:
    done = empty("migrate", "status", DATABASE_DIRECT_URL=database_url)
    assert {line.split()[0] for line in done.out.splitlines()} == {"applied"}


def test_a_direct_way_that_is_none_is_told_by_its_own_name(empty: TrendEdge) -> None:
    done = empty("migrate", "up", DATABASE_DIRECT_URL="postgresql://u:hunter2@nowhere.invalid/x")
    assert done.status == 1
    assert "DATABASE_DIRECT_URL: PostgreSQL at nowhere.invalid:5432/x cannot be used" in done.err
    assert "hunter2" not in done.err


def test_in_development_a_command_migrates_by_itself(empty: TrendEdge) -> None:
    done = empty("token", "--email", "a@example.com")
    assert done.status == 0, done.err
    assert f"schema migrated to {HEAD}" in done.err


def test_elsewhere_a_command_insists_on_the_schema(empty: TrendEdge, redis_url: str) -> None:
    settings = PRODUCTION | {"APP_ENV": "staging", "UPSTASH_REDIS_URL": redis_url}
    for command in (["token", "--email", "a@example.com"], ["serve", "--no-migrate"]):
        done = empty(*command, **settings)
        assert done.status == 1
        sentence = f"the database's schema is at nothing and this program needs {HEAD}: run `trendedge migrate up`"
        assert done.err.endswith(f"trendedge: {sentence}\n")
