"""`trendedge doctor`: what is well, what is wrong, and how to mend it."""

from pathlib import Path

import pytest

from tests.commands.support import TrendEdge

CHECKS = ["settings", "SUPABASE_JWT_SECRET", "OPERATOR_API_KEY", "disk", "Redis", "PostgreSQL", "schema", "clock"]


def test_all_is_well(trendedge: TrendEdge) -> None:
    done = trendedge("doctor")
    assert done.status == 0, done.out
    *table, verdict = done.out.splitlines()
    assert [line.split()[:2] for line in table] == [["ok", check] for check in CHECKS]
    assert verdict == "all is well"


def test_a_fresh_home_has_servers_but_no_schema(bare: TrendEdge, home: Path) -> None:
    done = bare("doctor")
    assert done.status == 1
    assert "-> Run `trendedge migrate up`." in done.out
    assert "1 of 8 checks failed" in done.out
    assert (home / "postgres/data").is_dir()
    assert bare("migrate", "up").status == 0
    assert bare("doctor").status == 0


def test_a_secret_that_is_too_short_is_told_and_not_shown(trendedge: TrendEdge) -> None:
    done = trendedge("doctor", SUPABASE_JWT_SECRET="hunter2")
    assert done.status == 1
    assert "WRONG  SUPABASE_JWT_SECRET  present, but only 7 characters long" in done.out
    assert "hunter2" not in done.out + done.err


@pytest.mark.parametrize("both", [True, False])
def test_each_server_that_cannot_be_used_is_told(bare: TrendEdge, redis_url: str, both: bool) -> None:
    redis = "redis://u:hunter2@nowhere.invalid" if both else redis_url
    done = bare("doctor", DATABASE_URL="postgresql://u:hunter2@nowhere.invalid/x", UPSTASH_REDIS_URL=redis)
    assert done.status == 1
    assert "WRONG  DATABASE_URL" in done.out
    assert "-> There is no such host: correct DATABASE_URL." in done.out
    assert ("WRONG  UPSTASH_REDIS_URL" in done.out) is both
    assert "hunter2" not in done.out + done.err


def test_every_bad_setting_is_told(bare: TrendEdge) -> None:
    done = bare("doctor", PORT="x", LOG_LEVEL="loud")
    assert done.status == 1
    assert "PORT must be a whole number." in done.out
    assert "LOG_LEVEL must be one of" in done.out
    assert done.out.endswith("2 of 2 checks failed\n")


def test_a_home_that_cannot_be_used_is_told(bare: TrendEdge, home: Path) -> None:
    home.write_text("")
    done = bare("doctor")
    assert done.status == 1
    assert "TRENDEDGE_HOME cannot be used" in done.out
