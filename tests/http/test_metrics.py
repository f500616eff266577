"""What Prometheus scrapes, read by Prometheus' own parser."""

import time
import uuid
from dataclasses import dataclass, replace

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.http.conftest import MakeStage, Stage
from tests.http.support import OPERATOR_KEY, token_for
from tests.http.test_operations import Idle
from tests.runtime.support import MemoryJournal, running, until
from trendedge.http.app import Front, create_app
from trendedge.http.request_counts import RequestCounts
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    BreakerSpec,
    ChildSpec,
    Controls,
    Cron,
    Durability,
    DurableRef,
    Every,
    Inspector,
    Lanes,
    LaneSpec,
    LanesService,
    LoopLag,
    MailboxSpec,
    Request,
    RetryPolicy,
    Schedules,
    ScheduleSpec,
    SchedulesService,
    ServiceSpec,
    SupervisorSpec,
)

type Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(app: Front, **headers: str) -> Samples:
    response = await app.test_client().get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    text = await response.get_data(as_text=True)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


class Poisonable(Actor[str]):
    async def receive(self, message: str) -> None:
        if message == "poison":
            raise ValueError(message)


async def test_what_the_actors_count_can_be_scraped(stage: Stage) -> None:
    ref: DurableRef[str] = DurableRef("executor")
    executor = ChildSpec(
        "executor",
        Poisonable,
        ref,
        retry=RetryPolicy(),
        breaker=BreakerSpec(trips_on=(OSError,)),
        durability=Durability(MemoryJournal(), "box", str.encode, bytes.decode),
    )
    lag = LoopLag()
    lag.record(0.25)
    async with running(SupervisorSpec("root", [executor, ServiceSpec("idle", Idle)])) as root:
        for message in ("a", "b", "poison", "c"):
            await ref.tell(message)
        await until(lambda: ref.cell.stats.handled == 3)
        await until(lambda: ref.cell.log is not None and ref.cell.log.pending == 0)
        ref.cell.suspend()
        await ref.tell("waits")
        stage.sockets.attach("somebody")
        stage.journal.degraded = True
        samples = await scrape(create_app(replace(stage.services, tree=Inspector(root, lag))))
    path = "root/executor"
    for name, expected in (
        ("handled_total", 3),
        ("failed_total", 1),
        ("buried_total", 1),
        ("dropped_total", 0),
        ("restarts_total", 1),
        ("up", 1),
        ("suspended", 1),
        ("mailbox_depth", 1),
        ("mailbox_capacity", 1000),
        ("handler_running_seconds", 0),
    ):
        assert of(samples, f"trendedge_actor_{name}", actor=path) == expected, name
    assert 0 < of(samples, "trendedge_actor_handling_seconds", actor=path, quantile="0.95") < 60
    assert 0 <= of(samples, "trendedge_actor_wait_seconds", actor=path, quantile="0.5") < 60
    assert of(samples, "trendedge_journal_pending", actor=path) == 1
    assert of(samples, "trendedge_journal_dead_letters", actor=path) == 1
    assert of(samples, "trendedge_journal_oldest_age_seconds", actor=path) >= 0
    assert of(samples, "trendedge_journal_degraded") == 1
    assert of(samples, "trendedge_breaker_state", breaker=path, state="closed") == 1
    assert of(samples, "trendedge_breaker_state", breaker=path, state="open") == 0
    assert of(samples, "trendedge_loop_lag_seconds", reading="worst") == 0.25
    assert of(samples, "trendedge_sockets_open") == 1
    assert of(samples, "trendedge_actor_up", actor="root/idle") == 1
    assert ("trendedge_actor_mailbox_depth", frozenset({("actor", "root/idle")})) not in samples
    assert of(samples, "process_resident_memory_bytes") > 1e6
    assert of(samples, "trendedge_info", version="0.0.0-test", environment="development") == 1


@dataclass(frozen=True)
class Question(Request[str]):
    key: str


class Asks(Actor[Question]):
    """Asks another about each question."""

    def __init__(self, other: ActorRef[Question]) -> None:
        self._other = other

    async def receive(self, message: Question) -> str:
        return await self._other.ask(message, timeout_s=60)


class Ponders(Actor[Question]):
    """Fails over "down", and answers nothing else."""

    async def receive(self, message: Question) -> str:
        if message.key == "down":
            raise OSError(message)
        await anyio.sleep_forever()
        return "never"


def by_label(samples: Samples, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(labels)): number
        for (sample, labels), number in samples.items()
        if sample == name
    }


async def test_restart_budgets_waits_and_failing_breakers_can_be_scraped(stage: Stage) -> None:
    asks, ponders = ActorRef[Question]("asks"), ActorRef[Question]("ponders")
    mailbox, breaker = MailboxSpec(key=lambda question: question.key), BreakerSpec(trips_on=(OSError,), failures=4)
    keyed = ChildSpec("ponders", Ponders, ponders, mailbox=mailbox, breaker=breaker, shutdown_s=0.0)
    asking = ChildSpec("asks", lambda: Asks(ponders), asks, mailbox=mailbox, shutdown_s=0.0)
    inner = SupervisorSpec("inner", [keyed, ServiceSpec("idle", Idle)], intensity=3, period_s=3600.0)
    async with running(SupervisorSpec("root", [inner, asking], intensity=7, period_s=3600.0)) as root:
        app = create_app(replace(stage.services, tree=Inspector(root)))
        for _ in range(2):
            await ponders.tell(Question("down"))
        await until(lambda: ponders.cell.stats.restarts == 2)
        await Controls(root).restart("root/inner/idle")  # which counts as none
        for key in ("a", "b", "c"):
            await asks.tell(Question(key))
        await until(lambda: {"a", "b", "c"} <= ponders.cell.entities.keys())
        samples = await scrape(app)
    assert by_label(samples, "trendedge_actor_restarts_recent") == {
        ("root",): 0,
        ("root/inner",): 0,
        ("root/inner/ponders",): 2,
        ("root/inner/idle",): 0,
        ("root/asks",): 0,
    }
    assert by_label(samples, "trendedge_actor_restarts_allowed") == {
        ("root",): 7,
        ("root/inner",): 3,
        ("root/inner/ponders",): 3,
        ("root/inner/idle",): 3,
        ("root/asks",): 7,
    }
    assert by_label(samples, "trendedge_actor_waiting") == {("root/asks", "root/inner/ponders"): 3}
    assert by_label(samples, "trendedge_breaker_failures") == {("root/inner/ponders[down]",): 2}


async def test_lanes_and_schedules_can_be_scraped(stage: Stage) -> None:
    lanes, ref = Lanes([LaneSpec("low", 2, 5, 60.0)]), ActorRef[str]("poisonable")
    often = ScheduleSpec(id="often", when=Every(3600), target=ref, message=str)
    never = ScheduleSpec(id="never", when=Cron("0 4 * * *", "UTC"), target=ActorRef[str]("nobody"), message=str)
    schedules = Schedules([often, never])
    children: list[ServiceSpec | ChildSpec[str]] = [
        ServiceSpec("lanes", lambda: LanesService(lanes, drain_s=0)),
        ChildSpec("poisonable", Poisonable, ref),
        ServiceSpec("schedules", lambda: SchedulesService(schedules)),
    ]
    async with running(SupervisorSpec("root", children)) as root:
        await until(lambda: all(one["running"] for one in schedules.snapshot()))
        began = int(time.time() * 1000) / 1000  # cut like what is scraped
        await lanes.run("low", anyio.sleep, 0)
        await lanes.submit("low", anyio.sleep, 60)
        await until(lambda: lanes.snapshot()[0]["active"] == 1)
        await schedules.run_now("often")
        with pytest.raises(ActorStopped):
            await schedules.run_now("never")
        services = replace(stage.services, tree=Inspector(root), lanes=lanes, schedules=schedules)
        samples = await scrape(create_app(services))
    for name, expected in (("active", 1), ("concurrency", 2), ("pending", 0), ("pending_limit", 5)):
        assert of(samples, f"trendedge_lane_{name}", lane="low") == expected, name
    assert of(samples, "trendedge_lane_jobs_total", lane="low", outcome="done") == 1
    assert of(samples, "trendedge_lane_jobs_total", lane="low", outcome="cancelled") == 0
    assert 0 <= of(samples, "trendedge_lane_run_seconds", lane="low", quantile="0.5") < 60
    assert of(samples, "trendedge_schedule_posts_total", schedule="often") == 1
    assert of(samples, "trendedge_schedule_refused_total", schedule="never") == 1
    assert of(samples, "trendedge_schedule_missed_total", schedule="never") == 0
    assert 0 <= of(samples, "trendedge_schedule_last_run_timestamp_seconds", schedule="often") - began < 60
    assert 3500 < of(samples, "trendedge_schedule_next_run_timestamp_seconds", schedule="often") - began < 3700


async def test_requests_are_counted_by_method_and_status(stage: Stage) -> None:
    async with running(SupervisorSpec("root", [])) as root:
        app = create_app(replace(stage.services, tree=Inspector(root)))
        for path in ("/health", "/health", "/nowhere"):
            await app.test_client().get(path)
        samples = await scrape(app)
    name = "trendedge_http_request_duration_seconds"
    assert of(samples, f"{name}_count", method="GET", status="200") == 2
    assert of(samples, f"{name}_count", method="GET", status="404") == 1
    assert 0 < of(samples, f"{name}_sum", method="GET", status="200") < 60


def test_methods_that_clients_make_up_are_one() -> None:
    counts = RequestCounts()
    for number in range(100):
        counts.count(f"METHOD{number}", 405, 0.1)
    [((method, status), answered)] = counts.by_kind.items()
    assert (method, status, answered.requests) == ("other", "405", 100)


@pytest.mark.parametrize("environment", ["staging", "production"])
async def test_outside_of_development_the_metrics_are_for_operators(make_stage: MakeStage, environment: str) -> None:
    async with running(SupervisorSpec("root", [])) as root:
        app = create_app(replace(make_stage(environment=environment).services, tree=Inspector(root)))
        client = app.test_client()
        user = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers={"X-API-Key": "wrong"})).status_code == 401
        assert (await client.get("/metrics", headers=user)).status_code == 403
        assert await scrape(app, **{"X-API-Key": OPERATOR_KEY})
