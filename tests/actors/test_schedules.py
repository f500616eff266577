"""The product's schedules: when each is due, to whom it posts, and what stands before it in the tree."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.runtime.support import MemoryJournal
from tests.simulation.node import Idle
from trendedge.actors.messages import Purge
from trendedge.actors.schedules import schedules
from trendedge.actors.tree import Addresses, Casting, build_tree
from trendedge.domain.sessions import CHICAGO
from trendedge.runtime import ChildSpec, Misfire, ScheduleSpec, ServiceSpec, SupervisorSpec
from trendedge.runtime.trigger import fires_between

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def leaves(spec: SupervisorSpec) -> Iterator[ChildSpec[Any] | ServiceSpec]:
    """All that is no supervisor, in the order of the start."""
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            yield from leaves(child)
        else:
            yield child


def the(id: str) -> ScheduleSpec[Any]:
    [found] = [one for one in schedules(Addresses.fresh()) if one.id == id]
    return found


def test_each_has_a_name_of_its_own() -> None:
    ids = [one.id for one in schedules(Addresses.fresh())]
    assert len(set(ids)) == len(ids) > 0


def test_the_purge_is_once_a_day_in_the_exchanges_break_by_its_own_clock() -> None:
    purge = the("purge")
    dues = fires_between(purge.when, NEW_YEAR, NEW_YEAR + YEAR)
    assert {(due.astimezone(CHICAGO).hour, due.astimezone(CHICAGO).minute) for due in dues} == {(16, 15)}
    assert {later.date() - earlier.date() for earlier, later in pairwise(dues)} == {timedelta(days=1)}
    assert len(dues) == 365
    assert (purge.misfire, purge.message(dues[0])) == (Misfire.ONCE, Purge(dues[0]))


def test_whoever_is_posted_to_starts_before_the_clock_does_and_the_door_opens_last() -> None:
    at, anybody = Addresses.fresh(), {role.name: Idle for role in fields(Casting)}
    cast: Any = Casting(**anybody)  # type: ignore[arg-type]  # nobody is started
    started = list(leaves(build_tree(cast, at, journal=MemoryJournal())))
    clock = next(place for place, spec in enumerate(started) if spec.id == "schedules")
    known = [spec.ref for spec in started[:clock] if isinstance(spec, ChildSpec)]
    assert all(any(one.target is ref for ref in known) for one in schedules(at))
    assert [spec.id for spec in started[clock:]] == ["schedules", "front"]
