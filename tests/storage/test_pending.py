"""When a process says that it is alive."""

import asyncio

from trendedge.runtime.errors import JournalUnavailable
from trendedge.runtime.simulation import SimulatedLoop, simulate
from trendedge.storage.node import LeaseTimes
from trendedge.storage.pending import Pending

BOX = "executor"
TIMES = LeaseTimes(30)


class Heart:
    """Renews leases, or cannot, and says when it was asked to: in seconds of the simulated loop."""

    def __init__(self, *failures: bool) -> None:
        self.beats: list[float] = []
        self._failures = list(failures)

    async def renew(self, _: str) -> None:
        self.beats.append(asyncio.get_running_loop().time())
        if self._failures and self._failures.pop(0):
            raise JournalUnavailable("PostgreSQL", "away")


def test_it_says_so_for_mail_that_may_be_there_until_it_was_looked_for() -> None:
    heart = Heart()

    async def main(_: SimulatedLoop) -> None:
        pending = Pending(doubt_s=0, times=TIMES)
        beating = asyncio.create_task(pending.beat(heart.renew))
        await asyncio.sleep(5)
        pending.doubt(BOX)
        await asyncio.sleep(22)
        pending.settle_doubt(BOX)
        await asyncio.sleep(60)
        beating.cancel()

    simulate(main)
    assert heart.beats == [15, 25]


def test_who_could_not_say_so_tries_again_before_the_others_have_lost_patience() -> None:
    heart = Heart(True, True)

    async def main(_: SimulatedLoop) -> None:
        pending = Pending(times=TIMES)
        pending.remember(BOX, "1")
        beating = asyncio.create_task(pending.beat(heart.renew, again_s=1))
        await asyncio.sleep(30)
        beating.cancel()

    simulate(main)
    assert heart.beats == [10, 11, 12, 22]
