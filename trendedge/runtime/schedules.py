"""Schedules: messages that are posted by the clock. What comes of a message is the business of the actor that gets it.

APScheduler knows when; what it runs is no function but a post into a mailbox, at once and in the event loop. So nothing
that a schedule causes can overrun, pile up or fail here: that is what mailboxes, retry policies and lanes are for.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from trendedge.runtime.bounds import at_least
from trendedge.runtime.errors import UnknownSchedule
from trendedge.runtime.posting import Poster, Scheduler, Trigger, posted_instead
from trendedge.runtime.schedule import Schedule, ScheduleSpec, rfc3339
from trendedge.runtime.service import Service, ServiceContext
from trendedge.runtime.trigger import Every
from trendedge.runtime.voice import log
from trendedge.runtime.wall_clock import WallClock

CLOCK_CHECK_S = 30.0
"""Seconds after which the wall clock is looked at again: a timer does not notice that it was set, nor that the machine
slept."""
LOAD_S = 10.0
"""Seconds for the memory to tell the last fires."""
SAVE_S = 1.0
"""Seconds for the last fires to be remembered at a stop."""


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
        self._schedules = {spec.id: Schedule(spec) for spec in specs}
        if len(self._schedules) < len(specs):
            raise ValueError("two schedules have the same id")
        self._memory, self._load_s = memory, load_s
        self._scheduler: Scheduler | None = None
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
        scheduler = Scheduler(self._follow_the_clock, Poster(self._fire))
        for id, schedule in self._schedules.items():
            now = datetime.now(UTC)
            if schedule.last_due is not None and schedule.last_due > now:  # until then nothing would be due
                log.warning("last fire lies in the future", schedule=id, due=rfc3339(schedule.last_due))
                schedule.last_due = None
            if schedule.last_due is None:
                self._note(id, schedule, now)
            self._fire(id)
            trigger = Trigger(schedule)
            options = {"coalesce": False, "misfire_grace_time": None}  # what is late is our business
            next_run_at = trigger.get_next_fire_time(None, now)
            scheduler.add_job(posted_instead, trigger, id=id, name=id, next_run_time=next_run_at, **options)
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
                log.warning("last fire lies in the future", schedule=id, due=rfc3339(schedule.last_due))
                self._note(id, schedule, now)
                self._scheduler.reschedule_job(id, trigger=Trigger(schedule))
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
                self._scheduler.reschedule_job(id, trigger=Trigger(schedule))

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

    def _note(self, id: str, schedule: Schedule, due: datetime) -> None:
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


def _now() -> datetime:
    return datetime.now(UTC)
