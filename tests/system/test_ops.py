"""What an operator sees of the running process, and who is not let in."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.system.envelope import error_of
from tests.system.person import Person
from tests.system.product import OPERATOR_KEY, Product
from tests.system.waiting import eventually

OPERATOR = {"X-API-Key": OPERATOR_KEY}
FIELDS = {
    "path", "kind", "status", "incarnation", "mailbox", "durable",
    "handled", "failed", "restarts", "latency_ms", "handling",
}  # fmt: skip


async def actors(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get("/ops/actors", headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["actors"]
    return found


async def test_the_tree_is_shown_with_every_actors_state(client: httpx.AsyncClient) -> None:
    tree = await actors(client)
    assert all(actor.keys() >= FIELDS for actor in tree)
    assert {actor["status"] for actor in tree} == {"running"}
    paths = [actor["path"] for actor in tree]
    assert len(set(paths)) == len(paths)
    for word in ("executor", "intake", "hub"):
        assert any(word in path for path in paths), f"no {word} among {paths}"
    for actor in tree:
        if actor["mailbox"] is not None:
            assert actor["mailbox"].keys() >= {"depth", "capacity", "oldest_age_s"}
            assert actor["latency_ms"].keys() >= {"p50", "p95", "p99"}
        if actor["durable"] is not None:
            assert actor["durable"].keys() >= {"pending", "dead"}
    assert [actor["path"] for actor in tree if actor["durable"] is not None]


async def test_work_shows_in_the_counts(product: Product, client: httpx.AsyncClient, person: Person) -> None:
    def executor(tree: list[dict[str, Any]]) -> dict[str, Any]:
        return next(actor for actor in tree if actor["durable"] is not None and "executor" in actor["path"])

    before = executor(await actors(client))["handled"]
    signal_id = await person.accepted(client, ticker="NQ1!", action="buy", price="18250.25")
    await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "the signal is worked off")

    async def settled() -> bool:
        now = executor(await actors(client))
        return bool(now["handled"] > before and now["durable"]["dead"] == 0)

    await eventually(settled, "the executor counts the signal")


async def test_one_actor_is_found_by_its_path(client: httpx.AsyncClient) -> None:
    path = next(actor["path"] for actor in await actors(client) if "executor" in actor["path"])
    answer = await client.get(f"/ops/actors/{path}", headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    assert answer.json()["path"] == path
    error_of(await client.get("/ops/actors/no/such/actor", headers=OPERATOR), 404)


@pytest.mark.parametrize("path", ["/ops/actors", "/health/detailed"])
async def test_nobody_and_a_wrong_key_get_401_and_a_trader_403(
    client: httpx.AsyncClient, person: Person, path: str
) -> None:
    error_of(await client.get(path), 401)
    error_of(await client.get(path, headers={"X-API-Key": "not-the-key"}), 401)
    error_of(await client.get(path, headers={"X-API-Key": person.key}), 401)
    error_of(await client.get(path, headers={"Authorization": "Bearer not.a.token"}), 401)
    error_of(await client.get(path, headers=person.bearer), 403)


async def test_a_token_with_the_role_opens_the_door(product: Product, client: httpx.AsyncClient) -> None:
    operator = await product.person_by_hand("operator", role="operator")
    answer = await client.get("/ops/actors", headers=operator.bearer)
    assert answer.status_code == 200, answer.text


async def test_the_probes_tell_what_the_process_depends_on(client: httpx.AsyncClient) -> None:
    alive = (await client.get("/health")).json()
    assert alive["status"] == "ok"
    assert alive["version"]
    assert datetime.fromisoformat(alive["timestamp"]).tzinfo is not None
    ready = (await client.get("/health/ready")).json()
    assert ready["status"] == "ok"
    for store in ("database", "redis"):
        assert ready["checks"][store]["status"] == "ok"
        assert ready["checks"][store]["latency_ms"] >= 0
    running = ready["checks"]["actors"]
    assert running["status"] == "ok"
    assert running["running"] == running["expected"] > 0


async def test_the_detailed_probe_names_the_servers_without_their_passwords(
    product: Product, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/health/detailed", headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    database, redis = httpx.URL(product.database_url), httpx.URL(product.redis_url)
    for url in (database, redis):
        assert f"{url.host}:{url.port}" in answer.text
        assert url.password
        assert url.password not in answer.text
