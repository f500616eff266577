"""The real application over a real database, with stand-ins for the actors; and the same behind a real server."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg
import pytest

from tests.http.support import (
    OPERATOR_KEY,
    SECRET,
    SUPABASE_URL,
    FixedTree,
    Journal,
    Keys,
    RecordingIntake,
    Served,
    Waiting,
    WatchedSockets,
    serve,
)
from trendedge.actors.lanes import LANES
from trendedge.actors.replay import Rehearsal
from trendedge.http.app import Front, create_app
from trendedge.http.limits import RateLimits
from trendedge.http.services import FrontSettings, Services, SocketLimits, utc_now
from trendedge.runtime import Controls, DeadLetters, Lanes, Schedules, Supervisor, SupervisorSpec
from trendedge.storage.embedded import EmbeddedServer
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore


@pytest.fixture(scope="session")
def database_url(postgres_server: EmbeddedServer, template_database: str) -> str:
    """One database for all tests of the front, which keep apart by having users of their own."""

    async def create() -> None:
        connection = await asyncpg.connect(postgres_server.url)
        try:
            await connection.execute(f"create database front template {template_database}")
        finally:
            await connection.close()

    anyio.run(create)
    return urlunsplit(urlsplit(postgres_server.url)._replace(path="/front"))


LIMITS = RateLimits(auth=10_000, webhook=10_000, read=10_000, write=10_000)
"""Out of the way, except where a test is about them."""


@dataclass
class Stage:
    """The application, and everything around it that a test looks at or changes."""

    services: Services
    keys: Keys
    intake: RecordingIntake
    sockets: WatchedSockets
    tree: FixedTree
    journal: Journal
    app: Front


type MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(database: Database, redis_store: RedisStore) -> MakeStage:
    """Builds a stage; keywords change settings."""

    def make(**changes: Any) -> Stage:
        defaults: dict[str, Any] = {
            "environment": "development",
            "version": "0.0.0-test",
            "supabase_url": SUPABASE_URL,
            "jwt_secret": SECRET,
            "operator_key": OPERATOR_KEY,
            "cors_origins": ("http://localhost:3000",),
            "rate_limits": LIMITS,
            "sockets": SocketLimits(),
        }
        keys, intake, sockets, tree, journal = Keys(), RecordingIntake(), WatchedSockets(), FixedTree(), Journal()
        nobody = Supervisor(SupervisorSpec("trendedge", []))
        services = Services(
            settings=FrontSettings(**defaults | changes),
            database=database,
            redis=redis_store,
            journal=journal,
            keyring=keys,
            intake=intake,
            pending=Waiting(),
            hub=sockets,
            tree=tree,
            controls=Controls(nobody),
            dead_letters=DeadLetters(nobody),
            lanes=Lanes(LANES),
            schedules=Schedules([]),
            rehearse=Rehearsal(database, utc_now),
        )
        return Stage(services, keys, intake, sockets, tree, journal, create_app(services))

    return make


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """A stage with the usual settings."""
    return make_stage()


@pytest.fixture
async def served(stage: Stage) -> AsyncIterator[Served]:
    """The application of `stage` behind hypercorn."""
    async with serve(stage.app) as server:
        yield server
