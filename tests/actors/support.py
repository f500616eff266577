"""The product's tree on real stores, without the door: alerts go straight to intake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import anyio
import orjson

from tests.runtime.support import running
from trendedge.actors.executor import Executor, Floor, burial
from trendedge.actors.frames import event_frame
from trendedge.actors.housekeeper import Housekeeper
from trendedge.actors.hub import Hub, Subscription
from trendedge.actors.intake import Intake
from trendedge.actors.journal_keeper import Bell, JournalKeeper
from trendedge.actors.keyring import KeyOwner, Keyring, KeyringRefresh, hash_key, new_key
from trendedge.actors.lanes import DRAIN_S, LANES
from trendedge.actors.messages import Receipt, ReceiveAlert
from trendedge.actors.replay import revival
from trendedge.actors.retention import Purging, Retention
from trendedge.actors.sockets import Sockets
from trendedge.actors.tree import EXECUTOR_MAILBOX, Addresses, Casting, build_tree
from trendedge.domain.alerts import parse_alert
from trendedge.runtime import ChildSpec, Lanes, LanesService, Service, ServiceContext, Supervisor, SupervisorSpec
from trendedge.storage.api_keys import insert_api_key
from trendedge.storage.execution_store import PostgresExecutions
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_journal import RedisJournal
from trendedge.storage.users import ensure_user

TODAY = date(2026, 3, 2)


def now() -> datetime:
    return datetime.now(UTC)


class NoDoor(Service):
    """Stands where the front stands: these tests do not come in over HTTP."""

    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()


@dataclass
class Desk:
    """A running tree, and one trader at it."""

    at: Addresses
    sockets: Sockets
    database: Database
    owner: KeyOwner
    root: Supervisor
    bell: Bell

    async def post(self, **fields: object) -> Receipt:
        """Send one alert as JSON; the answer once it is durable."""
        alert = parse_alert(orjson.dumps(fields), today=TODAY)
        request = ReceiveAlert(owner=self.owner, alert=alert, received_at=now(), request_id="r")
        return await self.at.intake.ask(request, timeout_s=10)

    async def status_of(self, signal_id: str) -> str | None:
        """The stored status, or None."""
        status: str | None = await self.database.fetchval("select status from signals where id::text = $1", signal_id)
        return status


async def settled(place: Desk) -> None:
    """Wait until nothing is pending any more."""
    log = place.at.executor.cell.log
    assert log is not None
    with anyio.fail_after(20):
        while log.pending:  # noqa: ASYNC110 - the log has no event for outsiders
            await anyio.sleep(0.005)


async def make_owner(database: Database, email: str = "trader@example.test") -> KeyOwner:
    """A user whose paper account trades at any hour, with a webhook key."""
    user = await ensure_user(database, email=email, any_hour=True)
    key = new_key()
    await insert_api_key(database, user_id=user.id, name="test", key_hash=hash_key(key), hint=key[-4:])
    owner = await Keyring(database).owner_of(key)
    assert owner is not None
    return owner


def bounded(spec: SupervisorSpec, id: str, capacity: int) -> SupervisorSpec:
    """The same tree; the actor of this id has room for so many messages."""
    children = []
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            child = bounded(child, id, capacity)
        elif isinstance(child, ChildSpec) and child.id == id:
            child = replace(child, mailbox=replace(child.mailbox, capacity=capacity))
        children.append(child)
    return replace(spec, children=children)


@asynccontextmanager
async def desk(
    database: Database, redis: RedisStore, *, node: str = "test-node", executor_capacity: int = 10_000
) -> AsyncIterator[Desk]:
    """Run the tree as the product does."""
    at, sockets = Addresses.fresh(), Sockets()
    ownership = PostgresOwnership(database, node=node)
    journals = RedisJournal(redis, ownership=ownership), PostgresJournal(database, ownership=ownership)
    journal = FailoverJournal(*journals, speaker=redis, ownership=ownership)
    bell = Bell()
    executions = PostgresExecutions(database, ownership, mailbox=EXECUTOR_MAILBOX)
    floor = Floor(store=executions, hub=at.hub, node=node, clock=now)
    lanes = Lanes(LANES)
    purging = Purging(database, journals, mailbox=EXECUTOR_MAILBOX, retention=Retention())
    cast = Casting(
        watchdog=NoDoor,
        keyring=lambda: KeyringRefresh(Keyring(database)),
        lanes=lambda: LanesService(lanes, drain_s=DRAIN_S),
        hub=lambda: Hub(sockets),
        subscription=lambda: Subscription(redis.listen, at.hub, node=node, frame=event_frame),
        journal=lambda: JournalKeeper(journal.run, at.executor, bell, subscribe=redis.listen, every_s=60),
        executor=lambda: Executor(floor),
        intake=lambda: Intake(at.executor),
        housekeeper=lambda: Housekeeper(lanes, purging.purge),
        schedules=NoDoor,
        front=NoDoor,
        on_dead_signal=burial(executions),
        on_replayed_signal=revival(executions.reopen),
    )
    owner = await make_owner(database)
    tree = bounded(build_tree(cast, at, journal=journal), "executor", executor_capacity)
    async with running(tree) as root:
        yield Desk(at, sockets, database, owner, root, bell)
