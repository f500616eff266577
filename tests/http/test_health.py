"""The probes say what is up, what is not, and to whom they say which server it is."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.http.conftest import Stage
from tests.http.support import OPERATOR_KEY
from trendedge.http.app import create_app
from trendedge.storage.postgres import Database, open_database

OPERATOR = {"X-API-Key": OPERATOR_KEY}


@pytest.fixture
async def no_database() -> AsyncIterator[Database]:
    async with open_database("postgresql://user:hunter2@127.0.0.1:1/nowhere") as database:
        yield database


async def test_alive(stage: Stage) -> None:
    response = await stage.app.test_client().get("/health")
    body = await response.get_json()
    assert (response.status_code, body["status"], body["version"]) == (200, "ok", "0.0.0-test")
    assert body["timestamp"].endswith("Z")


async def test_ready(stage: Stage) -> None:
    response = await stage.app.test_client().get("/health/ready")
    body = await response.get_json()
    assert (response.status_code, body["status"]) == (200, "ok")
    checks = body["checks"]
    assert checks["actors"] == {"status": "ok", "running": 2, "expected": 2}
    for name in ("database", "redis"):
        assert checks[name]["status"] == "ok"
        assert checks[name]["latency_ms"] >= 0


async def test_without_a_database_it_is_degraded_and_says_so_without_an_address(
    stage: Stage, no_database: Database
) -> None:
    app = create_app(replace(stage.services, database=no_database))
    response = await app.test_client().get("/health/ready")
    body = await response.get_json()
    assert (response.status_code, body["status"]) == (503, "degraded")
    assert body["checks"]["database"] == {"status": "error", "message": "Connection refused"}
    assert body["checks"]["redis"]["status"] == "ok"
    assert "127.0.0.1" not in await response.get_data(as_text=True)


async def test_a_missing_actor_or_a_degraded_journal_is_degraded(stage: Stage) -> None:
    client = stage.app.test_client()
    stage.tree.alive = 1
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert (await response.get_json())["checks"]["actors"] == {"status": "error", "running": 1, "expected": 2}
    stage.tree.alive = 2
    stage.journal.degraded = True
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert (await response.get_json())["checks"]["journal"] == {"status": "degraded"}


async def test_operators_see_which_servers_these_are(stage: Stage) -> None:
    response = await stage.app.test_client().get("/health/detailed", headers=OPERATOR)
    body = await response.get_json()
    assert response.status_code == 200
    for name, store in (("database", stage.services.database), ("redis", stage.services.redis)):
        component = body["components"][name]
        assert component["address"] == store.address
        assert component["version"]
        assert component["latency_ms"] >= 0


async def test_no_password_shows(stage: Stage, no_database: Database) -> None:
    app = create_app(replace(stage.services, database=no_database))
    response = await app.test_client().get("/health/detailed", headers=OPERATOR)
    assert response.status_code == 503
    text = await response.get_data(as_text=True)
    assert "hunter2" not in text
    assert "127.0.0.1:1/nowhere" in text


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}])
async def test_nobody_else_sees_the_details(stage: Stage, headers: dict[str, str]) -> None:
    assert (await stage.app.test_client().get("/health/detailed", headers=headers)).status_code == 401
