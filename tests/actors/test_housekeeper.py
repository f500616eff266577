"""The housekeeper: one purge at a time, in its lane, and what becomes of one that fails."""

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from trendedge.actors.housekeeper import Housekeeper, Purged, PurgeFailed
from trendedge.actors.lanes import LANES, LOW
from trendedge.actors.messages import Purge
from trendedge.actors.retention import Removed
from trendedge.runtime import JournalUnavailable, Lanes
from trendedge.runtime.simulation import Actors, Started
from trendedge.storage.errors import StoreUnavailable

DUE = datetime(2026, 11, 18, 22, 15, tzinfo=UTC)
TAKES_S = 30.0


class Broom:
    """A purge that takes its time."""

    def __init__(self) -> None:
        self.lanes = Lanes(LANES)
        self.asked: list[datetime] = []
        self.error: Exception | None = None
        self.takes_s = TAKES_S

    async def purge(self, due_at: datetime) -> Removed:
        self.asked.append(due_at)
        await anyio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return Removed(events=3, marks=4)

    async def lane(self, *counts: str) -> list[Any]:
        [low] = [lane for lane in self.lanes.snapshot() if lane["name"] == LOW]
        return [low[count] for count in counts]


type Housekeeping = Started[Purge | Purged | PurgeFailed]


@pytest.fixture
def broom(actors: Actors) -> Broom:
    made = Broom()
    actors.call(made.lanes.open)
    return made


@pytest.fixture
def housekeeper(actors: Actors, broom: Broom) -> Housekeeping:
    return actors.start(lambda: Housekeeper(broom.lanes, broom.purge), name="housekeeper")


def logged(actors: Actors, event: str) -> list[dict[str, Any]]:
    return [line for line in actors.log if line["event"] == event]


def test_a_purge_runs_in_the_lane_and_what_it_removed_is_logged(
    actors: Actors, broom: Broom, housekeeper: Housekeeping
) -> None:
    housekeeper.tell(Purge(DUE))
    assert (broom.asked, housekeeper.mailbox) == ([DUE], [])
    assert actors.run(broom.lane("active", "done")) == [1, 0]
    actors.advance(TAKES_S)
    [line] = logged(actors, "purged")
    assert (line["events"], line["marks"], line["seconds"]) == (3, 4, TAKES_S)
    assert actors.run(broom.lane("active", "done")) == [0, 1]


def test_while_one_is_under_way_no_other_begins(actors: Actors, broom: Broom, housekeeper: Housekeeping) -> None:
    for _ in range(3):
        housekeeper.tell(Purge(DUE))
    assert len(broom.asked) == 1
    assert len(logged(actors, "purge is under way already")) == 2
    actors.advance(TAKES_S)
    housekeeper.tell(Purge(DUE))
    assert len(broom.asked) == 2


@pytest.mark.parametrize("error", [StoreUnavailable("PostgreSQL", "down"), JournalUnavailable("Redis", "down")])
def test_an_outage_is_told_and_left_to_the_next_schedule(
    actors: Actors, broom: Broom, housekeeper: Housekeeping, error: Exception
) -> None:
    broom.error = error
    housekeeper.tell(Purge(DUE))
    actors.advance(3 * 3600)
    [line] = logged(actors, "purge failed")
    assert (line["level"], line["alert"], line["error"]) == ("error", "purge_failed", str(error))
    assert (len(broom.asked), housekeeper.failures) == (1, 0)
    broom.error = None
    housekeeper.tell(Purge(DUE))
    actors.expect(lambda: bool(logged(actors, "purged")))


def test_one_that_takes_longer_than_the_lane_allows_is_ended_and_the_next_one_begins(
    actors: Actors, broom: Broom, housekeeper: Housekeeping
) -> None:
    broom.takes_s = 10_000
    housekeeper.tell(Purge(DUE))
    actors.expect(lambda: bool(logged(actors, "purge failed")), within_s=601)
    housekeeper.tell(Purge(DUE))
    assert len(broom.asked) == 2
    assert actors.run(broom.lane("timed_out", "active")) == [1, 1]


def test_without_lanes_it_fails_and_does_not_crash(actors: Actors) -> None:
    broom = Broom()
    housekeeper = actors.start(lambda: Housekeeper(broom.lanes, broom.purge))
    housekeeper.tell(Purge(DUE))
    assert (len(logged(actors, "purge failed")), housekeeper.failures) == (1, 0)


def test_a_defect_of_ours_crashes_it_and_the_next_incarnation_works(
    actors: Actors, broom: Broom, housekeeper: Housekeeping
) -> None:
    broom.error = ZeroDivisionError("ours")
    housekeeper.tell(Purge(DUE))
    actors.advance(TAKES_S)
    assert [line["cause"] for line in logged(actors, "restarting")] == ["ZeroDivisionError: ours"]
    broom.error = None
    actors.advance(60)
    housekeeper.tell(Purge(DUE))
    actors.expect(lambda: bool(logged(actors, "purged")))
