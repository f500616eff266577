"""PostgreSQL or Redis goes away under load, or both: nothing acknowledged is lost, and it recovers by itself."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.system import servers
from tests.system.conftest import stopping
from tests.system.envelope import error_of
from tests.system.load import Load, loading
from tests.system.person import Person
from tests.system.product import Product
from tests.system.servers import Server
from tests.system.trading import trades
from tests.system.waiting import eventually

SOME = 30
"""Alerts to be acknowledged in each state before the next thing happens."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A running product whose servers can be stopped."""

    product: Product
    person: Person
    postgres: Server
    redis: Server

    async def degraded(self, *components: str) -> None:
        """Wait for the readiness probe to name these components, and no other of the two stores."""

        async def says_so() -> bool:
            answer = await self.product.get_or_none("/health/ready")
            if answer is None or answer.status_code != 503 or answer.json()["status"] != "degraded":
                return False
            checks = answer.json()["checks"]
            return {name for name in ("database", "redis") if checks[name]["status"] == "error"} == set(components)

        await eventually(says_so, f"/health/ready is degraded by {components}")
        alive = await self.product.get_or_none("/health")
        assert alive is not None
        assert alive.status_code == 200

    async def alerted(self, alert: str) -> None:
        """Wait for a line of the log that wants a person, of this kind."""

        async def logged() -> dict[str, Any] | None:
            return next((one for one in self.product.records() if one.get("alert") == alert), None)

        found = await eventually(logged, f"the log has the alert {alert!r}")
        assert found["message"] == alert.replace("_", " ")

    async def memory(self, limit: int) -> None:
        """Let Redis have so many bytes; 0 is all there are. Over the limit it answers, and writes nothing."""
        async with Redis.from_url(self.redis.url) as operator:
            await operator.config_set("maxmemory", limit)

    async def journal_is(self, status: str) -> None:
        """Wait for the readiness probe to say so of the journal."""

        async def says_so() -> bool:
            answer = await self.product.get_or_none("/health/ready")
            return (
                answer is not None
                and answer.json()["checks"]["journal"]["status"] == status
                and (answer.status_code == 200) == (status == "ok")
            )

        await eventually(says_so, f"the journal is {status}")

    async def trades(self, client: httpx.AsyncClient) -> None:
        """An alert is accepted and filled."""
        await trades(self.product, client, self.person)

    async def proved(self, load: Load) -> None:
        """What was acknowledged is there exactly once and in order, and the process is the one that was started."""
        await load.settled()
        assert await self.product.ledger.faults(self.person.id) == []
        assert await load.disorder() == []
        assert self.product.running


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    postgres, redis = servers.postgres(tmp_path), servers.redis(tmp_path)
    async with servers.running(postgres, redis):
        product = Product(tmp_path / "product", DATABASE_URL=postgres.url, UPSTASH_REDIS_URL=redis.url)
        async with stopping(product):
            await product.start()
            yield Scene(product, await product.person("trader"), postgres, redis)


async def test_without_redis_alerts_go_through_postgresql(scene: Scene) -> None:
    async with loading(scene.product, scene.person) as load:
        await load.acknowledges(SOME)
        await scene.redis.stop()
        await scene.degraded("redis")
        await load.acknowledges(SOME)
        await scene.alerted("journal_degraded")
        await scene.redis.start()
        await scene.product.until_ready()
        await scene.alerted("journal_recovered")
        await load.acknowledges(SOME)
    await scene.proved(load)


async def test_without_postgresql_alerts_wait_in_redis(scene: Scene) -> None:
    async with loading(scene.product, scene.person) as load:
        await load.acknowledges(SOME)
        await scene.postgres.stop()
        await scene.degraded("database")
        await load.acknowledges(SOME)
        async with scene.product.client() as client:
            for path in ("trades", "positions", "signals"):
                answer = await client.get(f"/api/v1/{path}", headers=scene.person.bearer)
                error_of(answer, 503)
                assert int(answer.headers["Retry-After"]) > 0
        await scene.postgres.start()
        await scene.product.until_ready()
        await load.acknowledges(SOME)
    await scene.proved(load)


async def test_without_both_alerts_are_refused_until_they_are_back(scene: Scene) -> None:
    async with loading(scene.product, scene.person) as load:
        await load.acknowledges(SOME)
        await scene.redis.stop()
        await scene.postgres.stop()
        await scene.degraded("database", "redis")
        refused = await load.refuses(503)
        error_of(refused, 503)
        assert int(refused.headers["Retry-After"]) > 0
        await scene.postgres.start()
        await scene.redis.start()
        await scene.product.until_ready()
        await load.acknowledges(SOME)
    assert set(load.refused) == {503}
    await scene.proved(load)


async def test_killed_while_redis_is_down_it_goes_on_from_postgresql(scene: Scene) -> None:
    async with loading(scene.product, scene.person) as load:
        await scene.redis.stop()
        await scene.degraded("redis")
        await load.acknowledges(SOME)
        scene.product.kill()
        await scene.product.ended()
        await scene.redis.start()
        await scene.product.start()
        await load.post_again()
        await load.acknowledges(SOME)
    await scene.proved(load)


async def test_killed_while_postgresql_is_down_it_goes_on_from_redis(scene: Scene) -> None:
    async with loading(scene.product, scene.person) as load:
        await load.acknowledges(SOME)
        await scene.postgres.stop()
        await scene.degraded("database")
        await load.acknowledges(SOME)
        scene.product.kill()
        await scene.product.ended()
        await scene.postgres.start()
        await scene.product.start()
        await load.post_again()
    await scene.proved(load)


async def test_one_outage_after_the_other_trades_nothing_twice(scene: Scene) -> None:
    """The way back from Redis to PostgreSQL and on is where a message could be worked off by both."""
    async with loading(scene.product, scene.person) as load:
        for server in (scene.redis, scene.postgres, scene.redis):
            await load.acknowledges(5)
            await server.stop()
            await load.acknowledges(5)
            await server.start()
        await scene.product.until_ready()
        await load.acknowledges(5)
    await scene.proved(load)


async def test_while_redis_answers_and_has_no_memory_alerts_trade_through_postgresql(scene: Scene) -> None:
    async with scene.product.client() as client:
        await scene.trades(client)
        await scene.memory(1)
        for _ in range(3):
            await scene.trades(client)
        await scene.journal_is("degraded")
        await scene.alerted("journal_degraded")
        await scene.memory(0)
        await scene.journal_is("ok")
        await scene.alerted("journal_recovered")
        await scene.trades(client)
    assert scene.product.running


async def test_it_starts_on_a_redis_that_has_no_memory(scene: Scene) -> None:
    async with scene.product.client() as client:
        await scene.trades(client)
        scene.product.kill()
        await scene.product.ended()
        await scene.memory(1)
        scene.product.spawn()
        await scene.journal_is("degraded")
        await scene.trades(client)
        await scene.memory(0)
        await scene.journal_is("ok")
        await scene.trades(client)
