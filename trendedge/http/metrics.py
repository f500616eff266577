"""The process in Prometheus' terms, read at each scrape from what is counted anyway: nothing is counted twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from trendedge.http.request_counts import RequestCounts
from trendedge.http.services import Services

type Actor = dict[str, Any]
type Reading = Callable[[Actor], float | None]

_QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
_BREAKER_STATES = ("closed", "open", "half_open")


class ProcessMetrics(Collector):
    """Everything of this process: its actors, mailboxes, journals, breakers, lanes, schedules, loop, sockets, requests.

    Has a registry of its own: the library's global one would make two applications of one process collide.
    """

    def __init__(self, services: Services, requests: RequestCounts) -> None:
        self._services = services
        self._requests = requests
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=self._registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """As the library asks: one reading of all."""
        actors = self._services.tree.actors()
        yield from _of_actors(actors)
        yield from _of_journals([actor for actor in actors if actor["durable"] is not None])
        yield from _of_breakers(self._services.tree.breakers())
        yield from _of_lanes(self._services.lanes.snapshot())
        yield from _of_schedules(self._services.schedules.snapshot())
        yield from self._process()
        yield self._answered()

    def describe(self) -> list[Metric]:
        """Nothing: the library would otherwise collect at the registration, before there is a tree."""
        return []

    def _process(self) -> Iterator[Metric]:
        settings = self._services.settings
        info = GaugeMetricFamily("trendedge_info", "Version and environment.", labels=("version", "environment"))
        info.add_metric((settings.version, settings.environment), 1)
        yield info
        degraded = float(self._services.journal.degraded)
        yield GaugeMetricFamily("trendedge_journal_degraded", "1 while a store of the journal is down.", degraded)
        yield GaugeMetricFamily("trendedge_sockets_open", "WebSockets of this process.", self._services.hub.count())
        lag = self._services.tree.loop_lag_ms()
        family = GaugeMetricFamily(
            "trendedge_loop_lag_seconds", "How late the event loop's timers are.", labels=("reading",)
        )
        for name, milliseconds in lag.items():
            if milliseconds is not None:
                family.add_metric((name.removesuffix("_ms"),), milliseconds / 1000)
        yield family

    def _answered(self) -> Metric:
        family = SummaryMetricFamily(
            "trendedge_http_request_duration_seconds", "Answered requests.", labels=("method", "status")
        )
        for labels, answered in sorted(self._requests.by_kind.items()):
            family.add_metric(labels, count_value=answered.requests, sum_value=answered.seconds)
        return family


_COUNTERS: tuple[tuple[str, str, Reading], ...] = (
    ("handled", "Messages that were handled.", lambda actor: actor["handled"]),
    ("failed", "Handlers that ended in an exception which is no answer.", lambda actor: actor["failed"]),
    ("dropped", "Messages that an overflow policy dropped.", lambda actor: actor["mailbox"]["dropped"]),
    ("expired", "Messages whose turn came after their deadline.", lambda actor: actor["expired"]),
    ("buried", "Messages that were given up.", lambda actor: actor["buried"]),
    ("restarts", "Restarts, those of keyed instances included.", lambda actor: actor["restarts"]),
)
_GAUGES: tuple[tuple[str, str, Reading], ...] = (
    ("up", "1 while it runs or is suspended.", lambda actor: float(actor["status"] in ("running", "suspended"))),
    ("suspended", "1 while it takes no message.", lambda actor: float(actor["status"] == "suspended")),
    (
        "restarts_recent",
        "Restarts that its supervisor has counted within the period; of a supervisor or a keyed actor, its own.",
        lambda actor: actor["intensity"]["restarts"],
    ),
    (
        "restarts_allowed",
        "Restarts that are tolerated within the period; one more goes upwards.",
        lambda actor: actor["intensity"]["allowed"],
    ),
    ("mailbox_depth", "Messages that wait, the one being handled included.", lambda actor: actor["mailbox"]["depth"]),
    ("mailbox_capacity", "Messages that may wait.", lambda actor: actor["mailbox"]["capacity"]),
    (
        "mailbox_oldest_age_seconds",
        "How long the first message has waited.",
        lambda actor: actor["mailbox"]["oldest_age_s"],
    ),
    (
        "handler_running_seconds",
        "How long the longest handler has run; 0 while none does.",
        lambda actor: 0.0 if actor["handling"] is None else actor["handling"]["elapsed_s"],
    ),
)
_OF_ALL = {"up", "restarts", "restarts_recent", "restarts_allowed"}
_WITH_MAILBOX_ALONE = frozenset(name for name, *_ in (*_COUNTERS, *_GAUGES)) - _OF_ALL
_JOURNAL: tuple[tuple[str, str, Reading], ...] = (
    ("pending", "Messages that are remembered and not settled.", lambda actor: actor["durable"]["pending"]),
    (
        "dead_letters",
        "Messages that were given up and lie there, as this process has counted them last.",
        lambda actor: actor["durable"]["dead"],
    ),
    (
        "oldest_age_seconds",
        "Age of the oldest unsettled message; 0 without one.",
        lambda actor: actor["durable"]["oldest_age_s"],
    ),
)


def _of_actors(actors: list[Actor]) -> Iterator[Metric]:
    for name, help, reading in _COUNTERS:
        yield _filled(CounterMetricFamily(f"trendedge_actor_{name}", help, labels=("actor",)), name, actors, reading)
    for name, help, reading in _GAUGES:
        yield _filled(GaugeMetricFamily(f"trendedge_actor_{name}", help, labels=("actor",)), name, actors, reading)
    for name, field, help in (
        ("handling_seconds", "latency_ms", "Time in the handler, over the last 512 messages."),
        ("wait_seconds", "wait_ms", "Time between arrival and handler, over the last 512 messages."),
    ):
        family = GaugeMetricFamily(f"trendedge_actor_{name}", help, labels=("actor", "quantile"))
        for actor in actors:
            _add_quantiles(family, actor["path"], actor[field])
        yield family
    yield _waiting(actors)


def _waiting(actors: list[Actor]) -> Metric:
    family = GaugeMetricFamily(
        "trendedge_actor_waiting",
        "Handlers that wait for another actor to answer or to start; absent while none does.",
        labels=("actor", "on"),
    )
    for actor in actors:
        # Without the key: there are as many pairs as actors know each other, and as many keys as there are accounts.
        for on, handlers in Counter(wait["on"].partition("[")[0] for wait in actor["waiting_on"]).items():
            family.add_metric((actor["path"], on), handlers)
    return family


def _of_breakers(breakers: list[dict[str, Any]]) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "trendedge_breaker_state", "1 for the state that a circuit breaker is in.", labels=("breaker", "state")
    )
    failures = GaugeMetricFamily(
        "trendedge_breaker_failures", "Failures in a row that a circuit breaker has counted.", labels=("breaker",)
    )
    for breaker in breakers:
        failures.add_metric((breaker["name"],), breaker["failures"])
        for state in _BREAKER_STATES:
            states.add_metric((breaker["name"], state), float(breaker["state"] == state))
    yield states
    yield failures


_LANE = (
    ("active", "active", "Jobs that run."),
    ("concurrency", "concurrency", "Jobs that may run at once."),
    ("pending", "pending", "Jobs that wait."),
    ("pending_limit", "pending_limit", "Jobs that may wait; one more is refused."),
    ("oldest_age_seconds", "oldest_age_s", "How long the first waiting job has waited; 0 without one."),
)
_OUTCOMES = ("done", "failed", "timed_out", "cancelled")
_SCHEDULE = (
    ("posts", "runs", "Messages that it has posted."),
    ("missed", "missed", "Fires that were late, whatever was done about them."),
    ("refused", "refused", "Posts that its actor did not take."),
)


def _of_lanes(lanes: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, field, help in _LANE:
        family = GaugeMetricFamily(f"trendedge_lane_{name}", help, labels=("lane",))
        for lane in lanes:
            family.add_metric((lane["name"],), lane[field])
        yield family
    ended = CounterMetricFamily("trendedge_lane_jobs", "Jobs that have ended.", labels=("lane", "outcome"))
    took = GaugeMetricFamily(
        "trendedge_lane_run_seconds", "Time that a job ran, over the last 512.", labels=("lane", "quantile")
    )
    for lane in lanes:
        for outcome in _OUTCOMES:
            ended.add_metric((lane["name"], outcome), lane[outcome])
        _add_quantiles(took, lane["name"], lane["run_ms"])
    yield ended
    yield took


def _of_schedules(schedules: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, field, help in _SCHEDULE:
        counter = CounterMetricFamily(f"trendedge_schedule_{name}", help, labels=("schedule",))
        for schedule in schedules:
            counter.add_metric((schedule["id"],), schedule[field])
        yield counter
    for name in ("last_run", "next_run"):
        family = GaugeMetricFamily(
            f"trendedge_schedule_{name}_timestamp_seconds", "Unix time; absent without one.", labels=("schedule",)
        )
        for schedule in schedules:
            if (at := schedule[f"{name}_at"]) is not None:
                family.add_metric((schedule["id"],), datetime.fromisoformat(at).timestamp())
        yield family


def _of_journals(actors: list[Actor]) -> Iterator[Metric]:
    for name, help, reading in _JOURNAL:
        family = GaugeMetricFamily(f"trendedge_journal_{name}", help, labels=("actor",))
        yield _filled(family, name, actors, reading)


def _add_quantiles(family: GaugeMetricFamily, label: str, milliseconds: dict[str, float | None]) -> None:
    for percentile, quantile in _QUANTILES.items():
        value = milliseconds[percentile]
        if value is not None:
            family.add_metric((label, quantile), value / 1000)


def _filled[F: (CounterMetricFamily, GaugeMetricFamily)](
    family: F, name: str, actors: list[Actor], reading: Reading
) -> F:
    for actor in actors:
        value = reading(actor)
        if value is not None and not (name in _WITH_MAILBOX_ALONE and actor["kind"] != "actor"):
            family.add_metric((actor["path"],), value)
    return family
