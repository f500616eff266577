"""APScheduler knows when. What it runs is no function, but a post."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from trendedge.runtime.schedule import Schedule
from trendedge.runtime.trigger import TICK

_QUIET = logging.getLogger("trendedge.runtime.schedule.apscheduler")
_QUIET.setLevel(logging.WARNING)  # it tells of each fire twice


class Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # the library has no types
    """Has a look at the clock before it looks for what is due by it. Its timers go by the loop's."""

    def __init__(self, look: Callable[[], None], poster: BaseExecutor) -> None:
        self._look = look
        super().__init__(timezone=UTC, executors={"default": poster}, logger=_QUIET)

    def _process_jobs(self) -> float | None:
        self._look()
        wait_s: float | None = super()._process_jobs()
        return wait_s


class Poster(BaseExecutor):  # type: ignore[misc]  # the library has no types
    """What APScheduler hands due jobs to. Its own run a function in a task or a thread; this one posts, right here."""

    def __init__(self, fire: Callable[[str], None]) -> None:
        super().__init__()
        self._fire = fire

    def submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        """As `BaseExecutor.submit_job`, but no instance is counted: when this returns, it is over."""
        self._do_submit_job(job, run_times)

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        self._fire(job.id)


class Trigger(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """When a schedule fires next, in APScheduler's terms.

    Never a time that has passed: APScheduler would make a list of all that were missed, however many, while the loop
    waits. Which those are the schedule finds out by itself.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """As `BaseTrigger.get_next_fire_time`: the first one that is later than `now` and has not been posted yet."""
        last_due = self._schedule.last_due or now
        return next(self._schedule.spec.when.fires(max(now, last_due) + TICK, anchor=last_due), None)


def posted_instead() -> None:
    """APScheduler wants a function with each job; ours is never called."""
