"""Schedules: messages that are posted by the clock. What comes of a message is the business of the actor that gets it.

APScheduler knows when; what it runs is no function but a post into a mailbox, at once and in the event loop. So nothing
that a schedule causes can overrun, pile up or fail here: that is what mailboxes, retry policies and lanes are for.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Protocol, assert_never

import anyio
import anyio.lowlevel
from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from trendedge.runtime.bounds import at_least
from trendedge.runtime.errors import UnknownSchedule, said, text_of
from trendedge.runtime.ref import ActorRef
from trendedge.runtime.service import Service, ServiceContext
from trendedge.runtime.trigger import MOST_CAUGHT_UP, TICK, Cron, Every, fires_between, last_fire
from trendedge.runtime.voice import log
from trendedge.runtime.wall_clock import WallClock

CLOCK_CHECK_S = 30.0
"""Seconds after which the wall clock is looked at again: a timer does not notice that it was set, nor that the machine
slept."""
LOAD_S = 10.0
"""Seconds for the memory to tell the last fires."""
SAVE_S = 1.0
"""Seconds for the last fires to be remembered at a stop."""

_QUIET = logging.getLogger("trendedge.runtime.schedule.apscheduler")
_QUIET.setLevel(logging.WARNING)  # it tells of each fire twice


class Misfire(Enum):
    """What is done with fires that were missed: the loop was busy, the machine slept, the process was down."""

    SKIP = "skip"
    """Nothing: the next one comes at its time."""
    ONCE = "once"
    """One message for all of them: the next one that is on time, when it comes together with them."""
    ALL = "all"
    """One message for each, in order; of more than a thousand at once for the first thousand and the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec[M]:
    """A schedule as data.

    :raises ValueError: `grace_s` is less than 0
    """

    id: str
    when: Cron | Every
    target: ActorRef[M]
    message: Callable[[datetime], M]
    """Makes the message, from the moment (UTC) for which it was due."""
    misfire: Misfire = Misfire.SKIP
    grace_s: float = 1.0
    """A fire that comes later than this many seconds counts as missed. Those that come within it are all posted."""

    def __post_init__(self) -> None:
        at_least(0, grace_s=self.grace_s)


class LastFires(Protocol):
    """Remembers beyond the death of the process when each schedule was due last, or began. Neither method raises.

    A process that dies between a post and `save` posts once more.
    """

    async def load(self) -> Mapping[str, datetime]:
        """By the schedules' ids; empty when it cannot be told: then nothing is caught up with.

        It is cancelled when it takes longer than `load_s` of `Schedules`, which is as if it were empty.
        """
        ...

    async def save(self, id: str, due: datetime) -> None:
        """Remember it, unless a later one is remembered already that does not lie in the future."""
        ...


def chosen(misfire: Misfire, dues: Sequence[datetime], *, missed: int) -> Sequence[datetime]:
    """Of the fires that are due together, the oldest first, those to post; the first `missed` of them are late."""
    match misfire:
        case Misfire.SKIP:
            return dues[missed:]
        case Misfire.ONCE:
            return dues[min(missed, len(dues) - 1) :]
        case Misfire.ALL:
            return dues
        case _:
            assert_never(misfire)


class _Schedule:
    """One schedule, and what has become of it."""

    def __init__(self, spec: ScheduleSpec[Any]) -> None:
        self.spec = spec
        self.last_due: datetime | None = None
        self.last_run_at: datetime | None = None
        self.last_outcome: str | None = None
        self.runs = self.missed = self.refused = 0

    def due(self, now: datetime) -> list[datetime]:
        """The fires since the last one: the first thousand, and the latest; what lies in between is given up."""
        when, since = self.spec.when, self.last_due or now
        dues = fires_between(when, since, now)
        if len(dues) == MOST_CAUGHT_UP and (latest := last_fire(when, dues[-1], now)) > dues[-1]:
            if next(when.fires(dues[-1] + TICK, anchor=since)) < latest:
                log.warning("fires given up", schedule=self.spec.id, after=_text(dues[-1]), before=_text(latest))
            dues.append(latest)
        return dues

    def fire(self, dues: Sequence[datetime]) -> None:
        """Do what the policy says with fires that are due now."""
        on_time_since = datetime.now(UTC) - timedelta(seconds=self.spec.grace_s)
        missed = sum(due < on_time_since for due in dues)
        self.missed += missed
        self.last_due = dues[-1]
        if missed:
            log.warning("schedule missed", schedule=self.spec.id, missed=missed, misfire=self.spec.misfire.value)
        posts = chosen(self.spec.misfire, dues, missed=missed)
        if not posts:
            self.last_outcome = "skipped: missed"
        for due in posts:
            try:
                self.post(due)
            except Exception as error:  # of a full mailbox, of an actor that has ended, of whoever makes the message
                log.error("schedule refused", alert="schedule_refused", schedule=self.spec.id, error=text_of(error))

    def post(self, due: datetime) -> None:
        """Post its message, and note how that went."""
        self.last_run_at = datetime.now(UTC)
        try:
            self.spec.target.tell_nowait(self.spec.message(due.astimezone(UTC)))
        except Exception as error:
            self.refused += 1
            self.last_outcome = f"refused: {said(error)}"
            raise
        self.runs += 1
        self.last_outcome = "posted"

    def snapshot(self, *, running: bool, next_run_at: datetime | None) -> dict[str, Any]:
        """For JSON."""
        when = self.spec.when
        return {
            "id": self.spec.id,
            "trigger": str(when),
            "timezone": when.timezone if isinstance(when, Cron) else None,
            "misfire": self.spec.misfire.value,
            "target": self.spec.target.name,
            "running": running,
            "next_run_at": _text(next_run_at),
            "last_due_at": _text(self.last_due),
            "last_run_at": _text(self.last_run_at),
            "last_outcome": self.last_outcome,
            "runs": self.runs,
            "missed": self.missed,
            "refused": self.refused,
        }


class Schedules:
    """All schedules of a process. Made before the tree, valid through restarts, firing while a `SchedulesService` runs.

    Each process has its own clock: two that run at the same time both post.
    """

    def __init__(
        self, specs: Sequence[ScheduleSpec[Any]], *, memory: LastFires | None = None, load_s: float = LOAD_S
    ) -> None:
        """:param memory: without one, what was missed while the process was down is not known, and skipped
        :param load_s: seconds for it to tell the last fires
        :raises ValueError: two schedules have one id, or `load_s` is less than 0
        """
        at_least(0, load_s=load_s)
        self._schedules = {spec.id: _Schedule(spec) for spec in specs}
        if len(self._schedules) < len(specs):
            raise ValueError("two schedules have the same id")
        self._memory, self._load_s = memory, load_s
        self._scheduler: AsyncIOScheduler | None = None
        self._clock = WallClock(_now)
        self._unsaved: dict[str, datetime] = {}
        self._fired = anyio.Event()

    def snapshot(self) -> list[dict[str, Any]]:
        """All of them as an operator sees them, in the order of their declaration; times are RFC 3339 in UTC.

        Of each `id`, `trigger`, `timezone` (None of `Every`), `misfire`, name of the `target`, whether it is `running`,
        and `next_run_at`. `runs` counts messages posted, `missed` fires that were late, whatever was done about them
        (of one absence the first thousand and the latest), `refused` posts that failed; `last_outcome` is `posted`,
        `refused: ...`, `skipped: ...`, or None before the first. All of them and `last_run_at` are of this process;
        `last_due_at` is remembered: the last fire, or, before the first, since when the schedule is known.
        """
        shown = []
        for id, schedule in self._schedules.items():
            job = None if self._scheduler is None else self._scheduler.get_job(id)
            next_run_at = None if job is None else job.next_run_time
            shown.append(schedule.snapshot(running=job is not None, next_run_at=next_run_at))
        return shown

    async def run_now(self, id: str) -> None:
        """Post the schedule's message now, also while no service runs; its next time stays as it is.

        :raises UnknownSchedule: there is none of this id
        :raises MailboxFull: the actor takes no more
        :raises ActorStopped: the actor has ended for good
        """
        schedule = self._schedules.get(id)
        if schedule is None:
            raise UnknownSchedule(id, self._schedules)
        schedule.post(datetime.now(UTC))

    async def open(self) -> None:
        """Catch up with what was missed, as each schedule's policy says, and fire from now on."""
        for id, due in (await self._load()).items():
            schedule = self._schedules.get(id)
            if schedule is not None and (schedule.last_due is None or schedule.last_due < due):
                schedule.last_due = due
        self._clock = WallClock(_now)
        self._clock.set_back()
        scheduler = _Scheduler(self._follow_the_clock, _Poster(self._fire))
        for id, schedule in self._schedules.items():
            now = datetime.now(UTC)
            if schedule.last_due is not None and schedule.last_due > now:  # until then nothing would be due
                log.warning("last fire lies in the future", schedule=id, due=_text(schedule.last_due))
                schedule.last_due = None
            if schedule.last_due is None:
                self._note(id, schedule, now)
            self._fire(id)
            trigger = _Trigger(schedule)
            options = {"coalesce": False, "misfire_grace_time": None}  # what is late is our business
            next_run_at = trigger.get_next_fire_time(None, now)
            scheduler.add_job(_posted_instead, trigger, id=id, name=id, next_run_time=next_run_at, **options)
        scheduler.start()
        self._scheduler = scheduler

    async def close(self) -> None:
        """Fire no more."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.shutdown(wait=False)
            await anyio.lowlevel.checkpoint()  # it stops its timer in the loop's next turn

    def look_at_the_clock(self) -> None:
        """Fire what is due by the wall clock, whatever the timers believe."""
        if self._scheduler is None:
            return
        self._follow_the_clock()
        now = datetime.now(UTC)
        for id, schedule in self._schedules.items():
            if schedule.last_due is not None and schedule.last_due - now > timedelta(seconds=CLOCK_CHECK_S):  # set back
                log.warning("last fire lies in the future", schedule=id, due=_text(schedule.last_due))
                self._note(id, schedule, now)
                self._scheduler.reschedule_job(id, trigger=_Trigger(schedule))
        self._scheduler.wakeup()

    def _follow_the_clock(self) -> None:
        """Equal distances are equal by the loop's clock: when the wall's is set back, their moments are with it."""
        back = self._clock.set_back()
        if self._scheduler is None or not back:
            return
        log.warning("wall clock set back", by_s=round(back.total_seconds(), 3))
        for id, schedule in self._schedules.items():
            if isinstance(schedule.spec.when, Every) and schedule.last_due is not None:
                self._note(id, schedule, schedule.last_due - back)
                self._fire(id)
                self._scheduler.reschedule_job(id, trigger=_Trigger(schedule))

    async def save(self) -> None:
        """Remember what has fired since the last time."""
        for id, due in list(self._unsaved.items()):
            if self._memory is not None:
                await self._memory.save(id, due)
            if self._unsaved.get(id) == due:  # not fired again meanwhile; and an interrupted save is made again
                del self._unsaved[id]

    async def keep_saving(self) -> None:
        """As `save`, after each fire, for ever."""
        while True:
            await self._fired.wait()
            self._fired = anyio.Event()
            await self.save()

    async def _load(self) -> Mapping[str, datetime]:
        """What the memory tells in time: a schedule is to fire, whatever is known of its past."""
        with anyio.move_on_after(self._load_s):
            return await self._memory.load() if self._memory else {}
        log.warning("last fires unknown", error=f"no answer within {self._load_s:g} s")
        return {}

    def _fire(self, id: str) -> None:
        schedule = self._schedules[id]
        if dues := schedule.due(datetime.now(UTC)):
            schedule.fire(dues)
            self._note(id, schedule, dues[-1])

    def _note(self, id: str, schedule: _Schedule, due: datetime) -> None:
        schedule.last_due = self._unsaved[id] = due
        self._fired.set()


class SchedulesService(Service):
    """Lets the schedules fire while it runs. Its place in the tree is behind the actors that they address."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`. The memory may be as far away as a database that is down: a start and a stop do not wait
        for it, and the schedules no longer than their `load_s`.
        """
        context.started()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._fire)
                await self._until_stopping(context)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(SAVE_S, shield=True):
                await self._schedules.close()
                await self._schedules.save()

    async def _fire(self) -> None:
        await self._schedules.open()
        await self._schedules.keep_saving()

    async def _until_stopping(self, context: ServiceContext) -> None:
        while not context.stopping.is_set():
            with anyio.move_on_after(CLOCK_CHECK_S):
                await context.stopping.wait()
            self._schedules.look_at_the_clock()


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # the library has no types
    """Has a look at the clock before it looks for what is due by it. Its timers go by the loop's."""

    def __init__(self, look: Callable[[], None], poster: BaseExecutor) -> None:
        self._look = look
        super().__init__(timezone=UTC, executors={"default": poster}, logger=_QUIET)

    def _process_jobs(self) -> float | None:
        self._look()
        wait_s: float | None = super()._process_jobs()
        return wait_s


class _Poster(BaseExecutor):  # type: ignore[misc]  # the library has no types
    """What APScheduler hands due jobs to. Its own run a function in a task or a thread; this one posts, right here."""

    def __init__(self, fire: Callable[[str], None]) -> None:
        super().__init__()
        self._fire = fire

    def submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        """As `BaseExecutor.submit_job`, but no instance is counted: when this returns, it is over."""
        self._do_submit_job(job, run_times)

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        self._fire(job.id)


class _Trigger(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """When a schedule fires next, in APScheduler's terms.

    Never a time that has passed: APScheduler would make a list of all that were missed, however many, while the loop
    waits. Which those are the schedule finds out by itself.
    """

    def __init__(self, schedule: _Schedule) -> None:
        self._schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """As `BaseTrigger.get_next_fire_time`: the first one that is later than `now` and has not been posted yet."""
        last_due = self._schedule.last_due or now
        return next(self._schedule.spec.when.fires(max(now, last_due) + TICK, anchor=last_due), None)


def _posted_instead() -> None:
    """APScheduler wants a function with each job; ours is never called."""


def _now() -> datetime:
    return datetime.now(UTC)


def _text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
