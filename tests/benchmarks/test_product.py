import os
from pathlib import Path

import pytest

from benchmarks.product import Product


def test_nothing_that_the_caller_has_set_reaches_the_product_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "UPSTASH_REDIS_URL", "SENTRY_DSN", "TRADOVATE_API_KEY", "telegram_bot_token"):
        monkeypatch.setenv(name, "the caller's own")
    environment = Product(tmp_path / "home").environment()
    assert "the caller's own" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["TRENDEDGE_HOME"] == str(tmp_path / "home")
    assert environment["PORT"] != Product(tmp_path / "other").environment()["PORT"]


def test_what_the_description_adds_does_reach_it(tmp_path: Path) -> None:
    product = Product(tmp_path, environment={"DATABASE_URL": "postgresql://there", "WS_MAX_CONNECTIONS_PER_USER": "5"})
    environment = product.environment()
    assert environment["DATABASE_URL"] == "postgresql://there"
    assert environment["WS_MAX_CONNECTIONS_PER_USER"] == "5"
    assert int(environment["RATE_LIMIT_WEBHOOK"]) > 10**6


async def test_servers_that_are_given_leave_one_way_of_starting(tmp_path: Path) -> None:
    product = Product(tmp_path, environment={"DATABASE_URL": "postgresql://there"})
    async with product.starts() as ways:
        assert [how for how, _ in ways] == ["servers already up"]
        assert ways[0][1] is product
