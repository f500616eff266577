"""Schedules: when they fire, what becomes of missed fires, what operators see, and what outlives a process."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import apscheduler.schedulers.base
import pytest
from structlog.testing import capture_logs

from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    ChildSpec,
    Controls,
    Cron,
    Every,
    MailboxFull,
    MailboxSpec,
    Misfire,
    Overflow,
    Schedules,
    ScheduleSpec,
    SchedulesService,
    ServiceSpec,
    Supervisor,
    SupervisorSpec,
    UnknownSchedule,
    schedule,
    schedules,
)
from trendedge.runtime.schedule import chosen
from trendedge.runtime.trigger import fires_between

OFTEN = Every(0.02)
NEVER_SOON = Every(86_400)
CHICAGO = "America/Chicago"
GENEROUS_S = 60.0
"""Grace of schedules whose test is not about being late: the machine may be busy."""


@dataclass(frozen=True)
class Tick:
    due: datetime


class Listener(Actor[Tick]):
    def __init__(self, heard: list[datetime]) -> None:
        self._heard = heard

    async def receive(self, message: Tick) -> None:
        self._heard.append(message.due)


@dataclass
class Notebook:
    """A memory of last fires that outlives the processes of a test."""

    fires: dict[str, datetime] = field(default_factory=dict)

    async def load(self) -> Mapping[str, datetime]:
        return dict(self.fires)

    async def save(self, id: str, due: datetime) -> None:
        self.fires[id] = due


@dataclass
class Stage:
    root: Supervisor
    schedules: Schedules
    heard: list[datetime]

    @property
    def shown(self) -> dict[str, Any]:
        [schedule] = self.schedules.snapshot()
        return schedule


@asynccontextmanager
async def one_schedule(
    when: Cron | Every,
    misfire: Misfire = Misfire.SKIP,
    *,
    grace_s: float = GENEROUS_S,
    memory: Notebook | None = None,
    load_s: float = 60.0,
    mailbox: MailboxSpec | None = None,
) -> AsyncIterator[Stage]:
    """A tree of a listener and the service that lets one schedule tick at it."""
    ref: ActorRef[Tick] = ActorRef("listener")
    heard: list[datetime] = []
    spec = ScheduleSpec(id="tick", when=when, target=ref, message=Tick, misfire=misfire, grace_s=grace_s)
    schedules = Schedules([spec], memory=memory, load_s=load_s)
    children: list[ChildSpec[Tick] | ServiceSpec] = [
        ChildSpec("listener", lambda: Listener(heard), ref, mailbox=mailbox or MailboxSpec()),
        ServiceSpec("schedules", lambda: SchedulesService(schedules)),
    ]
    async with running(SupervisorSpec("root", children)) as root:
        stage = Stage(root, schedules, heard)
        await until(lambda: stage.shown["running"])
        yield stage


def gaps_s(dues: list[datetime]) -> list[float]:
    return [(later - earlier).total_seconds() for earlier, later in pairwise(dues)]


async def test_each_fire_is_a_message_that_says_when_it_was_due() -> None:
    async with one_schedule(OFTEN, Misfire.ALL) as stage:
        await until(lambda: len(stage.heard) >= 5)
        assert gaps_s(stage.heard) == pytest.approx([0.02] * (len(stage.heard) - 1), abs=1e-4)
        assert all(due.tzinfo is UTC for due in stage.heard)


@pytest.mark.parametrize("misfire", list(Misfire))
async def test_what_a_blocked_loop_missed_is_skipped_or_made_up_for_once_or_fire_by_fire(misfire: Misfire) -> None:
    async with one_schedule(OFTEN, misfire, grace_s=0.01) as stage:
        await until(lambda: len(stage.heard) >= 2)
        before, missed = len(stage.heard), stage.shown["missed"]
        time.sleep(0.21)  # noqa: ASYNC251 - it is to block
        resumed_at = datetime.now(UTC)
        await until(lambda: bool(stage.heard) and stage.heard[-1] > resumed_at)
        assert stage.shown["missed"] - missed >= 9
        since = stage.heard[before - 1 :]
        if misfire is Misfire.ALL:
            assert max(gaps_s(since)) == pytest.approx(0.02, abs=1e-4)
        else:
            assert max(gaps_s(since)) > 0.15


@pytest.mark.parametrize("misfire", list(Misfire))
async def test_what_comes_within_its_grace_is_not_missed_however_many_come_together(misfire: Misfire) -> None:
    async with one_schedule(OFTEN, misfire, grace_s=GENEROUS_S) as stage:
        await until(lambda: len(stage.heard) >= 2)
        time.sleep(0.21)  # noqa: ASYNC251 - it is to block
        resumed_at = datetime.now(UTC)
        await until(lambda: stage.heard[-1] > resumed_at)
        assert gaps_s(stage.heard) == pytest.approx([0.02] * (len(stage.heard) - 1), abs=1e-4)
        assert (stage.shown["missed"], stage.shown["last_outcome"]) == (0, "posted")


def test_of_fires_that_are_due_together_the_policy_chooses() -> None:
    dues = [datetime(2026, 11, 2, hour, tzinfo=UTC) for hour in (1, 2, 3)]
    assert [chosen(policy, dues, missed=3) for policy in Misfire] == [[], dues[2:], dues]
    assert [chosen(policy, dues, missed=2) for policy in Misfire] == [dues[2:], dues[2:], dues]
    assert [chosen(policy, dues, missed=1) for policy in Misfire] == [dues[1:], dues[1:], dues]
    assert [chosen(policy, dues, missed=0) for policy in Misfire] == [dues, dues, dues]


@pytest.mark.parametrize(("misfire", "messages"), [(Misfire.SKIP, 0), (Misfire.ONCE, 1), (Misfire.ALL, 3)])
async def test_what_was_missed_while_the_process_was_down_is_treated_as_the_policy_says(
    misfire: Misfire, messages: int
) -> None:
    last = datetime.now(UTC) - timedelta(hours=3, minutes=30)
    memory = Notebook({"tick": last, "another release's": last})
    async with one_schedule(Every(3600), misfire, memory=memory, grace_s=1) as stage:
        await until(lambda: len(stage.heard) == messages)
        missed = [last + timedelta(hours=hours) for hours in (1, 2, 3)]
        assert stage.heard == missed[3 - messages :]
        assert (stage.shown["missed"], stage.shown["runs"]) == (3, messages)
        assert stage.shown["last_outcome"] == ("posted" if messages else "skipped: missed")
        # Its rhythm is the one that it had.
        assert datetime.fromisoformat(stage.shown["next_run_at"]) == pytest.approx(
            last + timedelta(hours=4), abs=timedelta(milliseconds=1)
        )
    assert memory.fires["tick"] == missed[-1]
    async with one_schedule(Every(3600), misfire, memory=memory, grace_s=1) as again:
        assert (again.heard, again.shown["missed"], again.shown["last_run_at"]) == ([], 0, None)
        assert datetime.fromisoformat(again.shown["last_due_at"]) == pytest.approx(
            missed[-1], abs=timedelta(milliseconds=1)
        )


@pytest.mark.parametrize(("misfire", "messages"), [(Misfire.SKIP, 0), (Misfire.ONCE, 1), (Misfire.ALL, 1001)])
async def test_an_absence_of_more_than_a_thousand_fires_is_over_when_the_service_has_started(
    misfire: Misfire, messages: int
) -> None:
    last = datetime.now(UTC) - timedelta(days=30, minutes=5)
    memory, latest = Notebook({"tick": last}), last + timedelta(days=30)
    with capture_logs() as logs:
        async with one_schedule(Every(600), misfire, memory=memory, mailbox=MailboxSpec(2000)) as stage:
            await until(lambda: len(stage.heard) == messages)
            firsts = [last + timedelta(minutes=10 * count) for count in range(1, 1001)]
            assert stage.heard == [*firsts, latest][1001 - messages :]
            assert stage.shown["missed"] == 1001
    assert [line["schedule"] for line in logs if line["event"] == "fires given up"] == ["tick"]
    assert memory.fires["tick"] == latest
    async with one_schedule(Every(600), misfire, memory=memory) as again:
        assert (again.heard, again.shown["missed"]) == ([], 0)


async def test_of_what_a_blocked_loop_missed_no_more_than_a_thousand_are_made_up_for_at_once() -> None:
    async with one_schedule(Every(0.0002), Misfire.ALL, mailbox=MailboxSpec(100_000)) as stage:
        await until(lambda: stage.shown["runs"] > 0)
        with capture_logs() as logs:
            before = stage.shown["runs"]
            time.sleep(0.5)  # noqa: ASYNC251 - it is to block
            resumed_at = datetime.now(UTC)
            while (runs := stage.shown["runs"]) == before:
                await anyio.lowlevel.checkpoint()
        assert runs - before == 1001
        assert [line["schedule"] for line in logs if line["event"] == "fires given up"] == ["tick"]
        await until(lambda: stage.heard[-1] > resumed_at)


async def test_a_fire_that_cannot_be_remembered_is_posted_once_and_remembered_later() -> None:
    @dataclass
    class Unreliable(Notebook):
        broken: bool = True

        async def save(self, id: str, due: datetime) -> None:
            if self.broken:
                raise OSError("the disk is full")
            await super().save(id, due)

    last = datetime.now(UTC) - timedelta(hours=1, minutes=30)
    memory = Unreliable({"tick": last})
    with capture_logs() as logs:
        async with one_schedule(Every(3600), Misfire.ALL, memory=memory) as stage:
            service = stage.root.children[1]
            await until(lambda: service.restarts == 1 and bool(stage.shown["running"]))
            assert stage.heard == [last + timedelta(hours=1)]
            assert (stage.shown["runs"], stage.shown["last_outcome"]) == (1, "posted")
            assert memory.fires["tick"] == last
            memory.broken = False
    [restart] = [line for line in logs if line["event"] == "restarting"]
    assert (restart["actor"], "the disk is full" in restart["cause"]) == ("root/schedules", True)
    assert memory.fires["tick"] == last + timedelta(hours=1)
    async with one_schedule(Every(3600), Misfire.ALL, memory=memory) as again:
        assert (again.heard, again.shown["missed"]) == ([], 0)


@pytest.mark.parametrize("when", [OFTEN, Cron("* * * * *", "UTC")])
async def test_a_remembered_fire_in_the_future_is_logged_and_counts_as_one_of_now(when: Cron | Every) -> None:
    began = datetime.now(UTC)
    memory = Notebook({"tick": began + timedelta(days=365)})
    with capture_logs() as logs:
        async with one_schedule(when, memory=memory) as stage:
            assert datetime.fromisoformat(stage.shown["next_run_at"]) - began < timedelta(minutes=5)
            await until(lambda: memory.fires["tick"] - began < timedelta(minutes=5))
    assert [line["schedule"] for line in logs if line["event"] == "last fire lies in the future"] == ["tick"]


class SetClock(datetime):
    """A wall clock that somebody has set."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # arithmetic gives no SetClock
        return datetime.now(tz) + cls.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[SetClock]:
    for module in (schedule, schedules, apscheduler.schedulers.base):
        monkeypatch.setattr(module, "datetime", SetClock)
    monkeypatch.setattr(SetClock, "ahead", timedelta(hours=1))
    return SetClock


@pytest.mark.parametrize(
    ("when", "told"), [(OFTEN, "wall clock set back"), (Cron("* * * * *", "UTC"), "last fire lies in the future")]
)
async def test_a_clock_that_is_set_back_keeps_no_schedule_from_firing(
    when: Cron | Every, told: str, clock: type[SetClock]
) -> None:
    memory = Notebook()
    with capture_logs() as logs:
        async with one_schedule(when, memory=memory) as stage:
            await until(lambda: len(stage.heard) >= 2 or when is not OFTEN)
            clock.ahead = timedelta()
            set_back_at = datetime.now(UTC)
            stage.schedules.look_at_the_clock()
            assert datetime.fromisoformat(stage.shown["next_run_at"]) - set_back_at < timedelta(minutes=5)
            await until(lambda: when is not OFTEN or stage.heard[-1] - set_back_at < timedelta(minutes=5))
            stage.schedules.look_at_the_clock()
        assert memory.fires["tick"] - set_back_at < timedelta(minutes=5)
    clocks = ("wall clock set back", "last fire lies in the future")
    assert [line["event"] for line in logs if line["event"] in clocks] == list(dict.fromkeys((clocks[0], told)))


async def test_equal_distances_go_on_when_the_clock_is_set_back_by_a_little_and_nobody_has_looked_at_it(
    clock: type[SetClock],
) -> None:
    async with one_schedule(OFTEN, Misfire.ALL) as stage:
        await until(lambda: len(stage.heard) >= 2)
        with capture_logs() as logs:
            clock.ahead -= timedelta(seconds=25)
            before = len(stage.heard)
            await until(lambda: len(stage.heard) >= before + 5)
        assert [round(line["by_s"]) for line in logs] == [25]
        shown = stage.shown
    back = [gap for gap in gaps_s(stage.heard) if gap < 0]
    assert back == pytest.approx([0.02 - 25], abs=0.1)
    assert shown["missed"] == 0


class Silent(Notebook):
    """A memory that never answers."""

    async def load(self) -> Mapping[str, datetime]:
        await anyio.sleep_forever()
        return {}


async def test_while_the_memory_does_not_answer_the_schedules_fire_all_the_same() -> None:
    with capture_logs() as logs:
        async with one_schedule(OFTEN, memory=Silent(), load_s=0.01) as stage:
            await until(lambda: bool(stage.heard))
    assert [line["error"] for line in logs if line["event"] == "last fires unknown"] == ["no answer within 0.01 s"]


async def test_a_stop_does_not_wait_for_a_memory_that_does_not_answer() -> None:
    spec = ScheduleSpec(id="tick", when=OFTEN, target=ActorRef[Tick]("listener"), message=Tick)
    service = ServiceSpec(
        "schedules", lambda: SchedulesService(Schedules([spec], memory=Silent(), load_s=60)), shutdown_s=60
    )
    with anyio.fail_after(20):
        async with running(SupervisorSpec("root", [service])):
            await anyio.wait_all_tasks_blocked()


async def test_a_schedule_that_is_new_has_missed_nothing_and_its_beginning_is_remembered() -> None:
    memory = Notebook()
    async with one_schedule(Every(3600), Misfire.ALL, memory=memory) as stage:
        await until(lambda: "tick" in memory.fires)
        assert (stage.heard, stage.shown["missed"], stage.shown["last_run_at"]) == ([], 0, None)


async def test_a_schedule_goes_on_through_a_restart_of_its_service() -> None:
    async with one_schedule(OFTEN, Misfire.ALL) as stage:
        await until(lambda: len(stage.heard) >= 2)
        await Controls(stage.root).restart("root/schedules")
        since = len(stage.heard)
        await until(lambda: len(stage.heard) >= since + 3)
        assert gaps_s(stage.heard) == pytest.approx([0.02] * (len(stage.heard) - 1), abs=1e-4)


async def test_after_its_service_has_stopped_nothing_fires() -> None:
    async with one_schedule(OFTEN) as stage:
        await until(lambda: bool(stage.heard))
    assert (stage.shown["running"], stage.shown["next_run_at"]) == (False, None)


async def test_run_now_posts_and_leaves_the_next_time_as_it_is() -> None:
    async with one_schedule(NEVER_SOON) as stage:
        planned = stage.shown["next_run_at"]
        await stage.schedules.run_now("tick")
        await until(lambda: len(stage.heard) == 1)
        assert stage.shown["next_run_at"] == planned
        assert (stage.shown["runs"], stage.shown["last_outcome"]) == (1, "posted")
        with pytest.raises(UnknownSchedule, match="no schedule 'tock', only tick"):
            await stage.schedules.run_now("tock")


async def test_what_is_run_by_hand_keeps_no_later_fire_from_its_time() -> None:
    planned = datetime.now(UTC) + timedelta(seconds=0.5)
    memory = Notebook({"tick": planned - timedelta(hours=1)})
    async with one_schedule(Every(3600), memory=memory) as stage:
        await stage.schedules.run_now("tick")
        await until(lambda: len(stage.heard) == 2)
    assert planned in stage.heard


async def test_what_the_actor_does_not_take_is_refused_and_said_so() -> None:
    async with one_schedule(OFTEN, mailbox=MailboxSpec(1, Overflow.FAIL)) as stage:
        Controls(stage.root).suspend("root/listener")
        with capture_logs() as logs:
            await until(lambda: stage.shown["refused"] >= 2)
        assert stage.shown["last_outcome"].startswith("refused: MailboxFull: ")
        assert {one["alert"] for one in logs if one["event"] == "schedule refused"} == {"schedule_refused"}
        with pytest.raises(MailboxFull):
            await stage.schedules.run_now("tick")
        Controls(stage.root).resume("root/listener")
        await until(lambda: stage.shown["last_outcome"] == "posted")


async def test_an_actor_that_nobody_hosts_refuses() -> None:
    ref: ActorRef[Tick] = ActorRef("nobody")
    schedules = Schedules([ScheduleSpec(id="tick", when=NEVER_SOON, target=ref, message=Tick)])
    with pytest.raises(ActorStopped):
        await schedules.run_now("tick")
    assert schedules.snapshot()[0]["last_outcome"] == "refused: ActorStopped: nobody: stopped"


async def test_what_operators_see() -> None:
    began = datetime.now(UTC)
    async with one_schedule(Cron("10 4 * * mon-fri", CHICAGO), Misfire.ONCE) as stage:
        shown = dict(stage.shown)
        since = datetime.fromisoformat(shown.pop("last_due_at"))
        assert timedelta(milliseconds=-1) <= since - began < timedelta(minutes=5)
        next_run_at = datetime.fromisoformat(shown.pop("next_run_at"))
        assert shown == {
            "id": "tick",
            "trigger": "cron 10 4 * * mon-fri",
            "timezone": CHICAGO,
            "misfire": "once",
            "target": "listener",
            "running": True,
            "last_run_at": None,
            "last_outcome": None,
            "runs": 0,
            "missed": 0,
            "refused": 0,
        }
        now = datetime.now(UTC)
        assert [next_run_at] == fires_between(Cron("10 4 * * mon-fri", CHICAGO), now, now + timedelta(days=7), most=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "after", "until", "fires"),
    [
        ("10 4 * * *", "2026-03-07T00:00", "2026-03-10T00:00", ["07T10:10", "08T09:10", "09T09:10"]),
        ("30 2 * * *", "2026-03-07T00:00", "2026-03-10T00:00", ["07T08:30", "08T08:30", "09T07:30"]),
        ("30 1 * * *", "2026-11-01T00:00", "2026-11-02T08:00", ["01T06:30", "01T07:30", "02T07:30"]),
        ("10 4 * * *", "2026-11-04T10:10", "2026-11-05T10:10", ["05T10:10"]),
    ],
    ids=["summer time begins", "an hour left out", "an hour twice", "the end is in and the beginning is not"],
)
def test_a_cron_fires_by_its_own_zones_clock(expression: str, after: str, until: str, fires: list[str]) -> None:
    found = fires_between(Cron(expression, CHICAGO), utc(after), utc(until))
    assert [f"{due.astimezone(UTC):%dT%H:%M}" for due in found] == fires


def test_of_a_long_absence_the_first_fires_are_looked_at_and_the_rhythm_stays() -> None:
    began = utc("2020-01-01T00:00")
    fires = fires_between(Every(1), began, utc("2026-01-01T00:00"), most=3)
    assert fires == [began + timedelta(seconds=seconds) for seconds in (1, 2, 3)]


@pytest.mark.parametrize(
    ("expression", "zone", "why"),
    [
        ("10 4 * *", CHICAGO, "fields"),
        ("10 25 * * *", CHICAGO, "maximum"),
        ("10 4 * * 0", CHICAGO, "not numbers"),
        ("10 4 * * *", "Mars/Base", "Mars/Base"),
        ("0 0 30 feb *", CHICAGO, "no such day"),
        ("0 0 31 4,6 *", CHICAGO, "no such day"),
    ],
)
def test_a_cron_that_means_nothing_is_refused_where_it_is_declared(expression: str, zone: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Cron(expression, zone)


def test_no_distance_and_the_same_id_twice_are_refused_too() -> None:
    for seconds in (0, 1e-9):
        with pytest.raises(ValueError, match="more than 0"):
            Every(seconds)
    ref: ActorRef[Tick] = ActorRef("listener")
    with pytest.raises(ValueError, match="same id"):
        Schedules([ScheduleSpec(id="tick", when=OFTEN, target=ref, message=Tick)] * 2)
