"""The composition root: settings, stores, tree, front, and the way down again. The only file that knows everything."""

import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import anyio
import structlog

from trendedge.actors.executor import Executor, Floor, burial
from trendedge.actors.frames import event_frame
from trendedge.actors.housekeeper import Housekeeper
from trendedge.actors.hub import Hub, Subscription
from trendedge.actors.intake import Intake
from trendedge.actors.journal_keeper import Bell, JournalKeeper
from trendedge.actors.keyring import Keyring, KeyringRefresh
from trendedge.actors.lanes import DRAIN_S, LANES
from trendedge.actors.pending import PendingSignals
from trendedge.actors.replay import Rehearsal, revival
from trendedge.actors.retention import Purging, Retention
from trendedge.actors.schedules import schedules
from trendedge.actors.sockets import Sockets
from trendedge.actors.tree import EXECUTOR_MAILBOX, Addresses, Casting, build_tree
from trendedge.http.app import create_app
from trendedge.http.limits import RateLimits
from trendedge.http.server import Bind, Front
from trendedge.http.services import FrontSettings, Services, utc_now
from trendedge.runtime import (
    Controls,
    DeadLetters,
    Inspector,
    Journal,
    Lanes,
    LanesService,
    LoopLag,
    RuntimeFault,
    Schedules,
    SchedulesService,
    Supervisor,
    Watchdog,
)
from trendedge.runtime.logs import configure_logs
from trendedge.settings import Settings
from trendedge.storage.execution_store import PostgresExecutions
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.node import LeaseTimes, open_node
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import Database, open_database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore, open_redis
from trendedge.storage.redis_journal import RedisJournal
from trendedge.storage.schedule_fires import PostgresLastFires

log = structlog.get_logger("trendedge.app")

type Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What the process keeps its state in."""

    database: Database
    redis: RedisStore
    journal: FailoverJournal
    journals: tuple[Journal, Journal]
    """The two that it is made of."""
    bell: Bell
    ownership: PostgresOwnership


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open both stores and the journal over them; closed in reverse when the block ends."""
    async with AsyncExitStack() as stack:
        bell = Bell()
        node = stack.enter_context(open_node(settings.home))
        times = LeaseTimes(settings.mailbox_lease_s)
        database = await stack.enter_async_context(
            open_database(settings.database_url, pool_size=settings.database_connections)
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url))
        ownership = PostgresOwnership(database, node=node, times=times)
        journals = RedisJournal(redis, ownership=ownership), PostgresJournal(database, ownership=ownership)
        journal = FailoverJournal(
            *journals,
            speaker=redis,
            ownership=ownership,
            on_change=partial(_degraded_changed, bell),
        )
        yield Stores(database=database, redis=redis, journal=journal, journals=journals, bell=bell, ownership=ownership)


def _degraded_changed(bell: Bell, degraded: bool) -> None:
    if degraded:
        log.error("journal degraded", alert="journal_degraded", reason="Redis is down, PostgreSQL takes the mail")
    else:
        log.warning("journal recovered", alert="journal_recovered")
        bell.ring()


async def serve(settings: Settings, *, report: Report) -> int:
    """Run the product until SIGINT or SIGTERM; the process's exit code.

    :raises StartFailed: something that the process cannot do without is not there
    :raises IntensityExceeded: too many crashes; the process manager has to start afresh
    """
    configure_logs(settings.log_level)
    async with open_stores(settings) as stores:
        root = assemble(settings, stores)
        failure: RuntimeFault | None = None
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_on_signal, signals, root, report)
                try:
                    await root.run(lambda: _ready(settings, report))
                except RuntimeFault as fault:
                    failure = fault  # by itself, not in the group that the task group would make of it
                tasks.cancel_scope.cancel()
        await stores.journal.release()
    if failure is not None:
        raise failure
    report("stopped")
    return 0


def _ready(settings: Settings, report: Report) -> None:
    # What is loaded by now stays: the collector need not walk through it again and again while alerts wait.
    gc.collect()
    gc.freeze()
    report(f"listening on {settings.public_url}")


async def _stop_on_signal(signals: AsyncIterator[signal.Signals], root: Supervisor, report: Report) -> None:
    async for number in signals:
        report(f"{number.name}: stopping")
        root.request_stop()


def assemble(settings: Settings, stores: Stores) -> Supervisor:
    """The tree, ready to run, on stores that are open."""
    at = Addresses.fresh()
    keyring = Keyring(stores.database)
    lag = LoopLag()
    lanes = Lanes(LANES)
    sockets = Sockets(per_user=settings.ws_max_connections_per_user)
    executions = PostgresExecutions(stores.database, stores.ownership, mailbox=EXECUTOR_MAILBOX)
    planned = Schedules(schedules(at), memory=PostgresLastFires(stores.database))
    purging = Purging(stores.database, stores.journals, mailbox=EXECUTOR_MAILBOX, retention=_retention(settings))
    floor = Floor(store=executions, hub=at.hub, node=stores.ownership.node, clock=utc_now)

    def front() -> Front:
        sockets.reopen()
        services = Services(
            settings=_front_settings(settings),
            database=stores.database,
            redis=stores.redis,
            journal=stores.journal,
            keyring=keyring,
            intake=at.intake,
            pending=PendingSignals(at.executor),
            hub=sockets,
            tree=Inspector(root, lag),
            controls=Controls(root),
            dead_letters=DeadLetters(root),
            lanes=lanes,
            schedules=planned,
            rehearse=Rehearsal(stores.database, utc_now),
        )
        return Front(create_app(services), Bind(settings.host, settings.port), close_sockets=sockets.close_all)

    cast = Casting(
        watchdog=lambda: Watchdog(lambda: root, lag),
        keyring=lambda: KeyringRefresh(keyring),
        lanes=lambda: LanesService(lanes, drain_s=DRAIN_S),
        hub=lambda: Hub(sockets),
        subscription=lambda: Subscription(stores.redis.listen, at.hub, node=stores.ownership.node, frame=event_frame),
        journal=lambda: JournalKeeper(
            stores.journal.run,
            at.executor,
            stores.bell,
            subscribe=stores.redis.listen,
            every_s=stores.ownership.times.look_every_s,
        ),
        executor=lambda: Executor(floor),
        intake=lambda: Intake(at.executor),
        housekeeper=lambda: Housekeeper(lanes, purging.purge),
        schedules=lambda: SchedulesService(planned),
        front=front,
        on_dead_signal=burial(executions),
        on_replayed_signal=revival(executions.reopen),
    )
    root = Supervisor(build_tree(cast, at, journal=stores.journal))
    return root


def _retention(settings: Settings) -> Retention:
    return Retention(
        events=timedelta(days=settings.event_retention_days), marks=timedelta(days=settings.mark_retention_days)
    )


def _front_settings(settings: Settings) -> FrontSettings:
    return FrontSettings(
        environment=settings.app_env,
        version=settings.app_version,
        supabase_url=settings.supabase_url,
        jwt_secret=settings.supabase_jwt_secret,
        operator_key=settings.operator_api_key,
        cors_origins=settings.cors_origins,
        address_header=settings.client_address_header or None,
        rate_limits=RateLimits(
            auth=settings.rate_limit_auth,
            webhook=settings.rate_limit_webhook,
            read=settings.rate_limit_read,
            write=settings.rate_limit_write,
            analytics=settings.rate_limit_analytics,
        ),
    )
