"""A whole entry of /ops/actors, number for number, on a virtual clock: what is 0 or None for ever would be no news."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    BreakerSpec,
    ChildSpec,
    Durability,
    DurableRef,
    Inspector,
    LoopLag,
    MailboxSpec,
    Overflow,
    Request,
    ServiceSpec,
    Supervisor,
    SupervisorSpec,
    Watchdog,
)
from trendedge.runtime.simulation import Actors


@dataclass(frozen=True)
class Order:
    account: str
    takes_s: float


@dataclass(frozen=True)
class Price(Request[float]):
    pass


class Desk(Actor[Order]):
    """Takes its time over an order, asks its venue about one that takes none, and fails over one of less."""

    def __init__(self, venue: ActorRef[Price]) -> None:
        self._venue = venue

    async def receive(self, message: Order) -> None:
        if message.takes_s < 0:
            raise OSError("venue is down")
        if message.takes_s == 0:
            await self._venue.ask(Price(), timeout_s=600)
        await anyio.sleep(message.takes_s)


class Venue(Actor[Price]):
    async def receive(self, message: Price) -> float:
        await anyio.sleep(600)
        return 1.0


def shown(root: Supervisor, path: str) -> tuple[dict[str, Any], list[datetime]]:
    """An entry, and apart from it the moments of its restarts, which are the wall's."""
    entry = Inspector(root).find(path)
    assert entry is not None
    return entry, [datetime.fromisoformat(restart.pop("at")) for restart in entry["restart_history"]]


def test_an_entry_shows_what_the_actor_does_and_has_done(actors: Actors) -> None:
    """Two keys are at work at 20 s: "a" for 10 s already, "b" for 8 s, and behind each of them an order waits."""
    venue, ref = ActorRef[Price]("venue"), ActorRef[Order]("desk")
    mailbox = MailboxSpec(capacity=4, overflow=Overflow.DROP_OLDEST, key=lambda order: order.account)
    breaker = BreakerSpec(trips_on=(OSError,), failures=3)
    desk = ChildSpec("desk", lambda: Desk(venue), ref, mailbox=mailbox, breaker=breaker, shutdown_s=0.0)
    spec = SupervisorSpec(
        "root",
        [ChildSpec("venue", Venue, venue, shutdown_s=0.0), desk],
        intensity=7,
        period_s=300.0,
        backoff=Backoff(first_s=0.5, longest_s=8.0, jitter=0.0),
    )

    async def main() -> None:
        async with running(spec) as root:
            watchdog = Watchdog(lambda: root, LoopLag())
            for takes_s in (1, 2, 3):
                await ref.tell(Order("a", takes_s))
            await ref.tell(Order("a", 1), deadline_s=5.0)  # its turn comes after 6 s
            await anyio.sleep(8.0)
            await ref.tell(Order("b", -1))
            await anyio.sleep(2.0)
            watchdog._mark()  # as it does every 5 s; its thread is none of this clock's
            await ref.tell(Order("a", 100))
            await anyio.sleep(2.0)
            await ref.tell(Order("b", 0))
            await anyio.sleep(3.0)
            for account in ("a", "b", "a"):  # the last one takes the place of the first
                await ref.tell(Order(account, 1))
            await anyio.sleep(5.0)
            before = datetime.now(UTC) - timedelta(milliseconds=1)
            entry, [restarted_at] = shown(root, "root/desk")
            assert before <= restarted_at + timedelta(seconds=12) <= datetime.now(UTC)
            assert entry == {
                "path": "root/desk",
                "kind": "actor",
                "status": "running",
                "incarnation": 1,
                "restarts": 1,
                "restart_history": [{"cause": "OSError: venue is down", "message": "Order", "key": "b"}],
                "last_error": "Order: OSError: venue is down",
                "intensity": {
                    "restarts": 1,
                    "allowed": 7,
                    "period_s": 300.0,
                    "next_backoff_s": 1.0,
                    "text": "1 of 7 in 300 s, next backoff 1 s",
                },
                "mailbox": {
                    "depth": 4,
                    "capacity": 4,
                    "overflow": "drop_oldest",
                    "dropped": 1,
                    "oldest_age_s": 10.0,
                    "keys": 2,
                },
                "durable": None,
                "handled": 3,
                "failed": 1,
                "expired": 1,
                "buried": 1,
                "rate_per_s": 0.2,  # 3 within the 15 s since the mark before the first
                "latency_ms": {"p50": 2000.0, "p95": 3000.0, "p99": 3000.0},
                "wait_ms": {"p50": 0.0, "p95": 3000.0, "p99": 3000.0},
                "breakers": [
                    {"name": "root/desk[b]", "state": "closed", "failures": 1, "opened_at": None, "retry_in_s": None}
                ],
                "waiting_on": [{"key": "b", "on": "root/venue"}],
                "handling": {"message": "Order", "key": "a", "elapsed_s": 10.0},
            }

    actors.run(main())


def test_an_entry_shows_what_is_journalled(actors: Actors) -> None:
    """At 10 s two orders of two keys are in hand, of 2 s and of 4 s, behind the first waits one of 4 s; one is dead."""

    async def main() -> None:
        ref = DurableRef[Order]("desk")
        journal = MemoryJournal()
        durability = Durability(journal, "desk", lambda order: repr(order).encode(), lambda _: Order("", 0))
        child = ChildSpec(
            "desk",
            lambda: Desk(ActorRef("nobody")),
            ref,
            mailbox=MailboxSpec(capacity=9, key=lambda order: order.account),
            durability=durability,
            shutdown_s=0.0,
        )
        async with running(SupervisorSpec("root", [child])) as root:
            await ref.tell(Order("a", -1))
            await anyio.sleep(2.0)
            await ref.tell(Order("a", 100))
            await anyio.sleep(2.0)
            await ref.tell(Order("b", 100))
            await ref.tell(Order("a", 1))
            await anyio.sleep(6.0)
            entry, _ = shown(root, "root/desk")
        assert entry["durable"] == {"pending": 3, "dead": 1, "oldest_age_s": 8.0}
        assert entry["mailbox"] == {
            "depth": 3,
            "capacity": 9,
            "overflow": "block",
            "dropped": 0,
            "oldest_age_s": 8.0,
            "keys": 2,
        }
        assert entry["handling"] == {"message": "Order", "key": "a", "elapsed_s": 8.0}

    actors.run(main())


async def test_a_running_watchdog_marks_what_a_rate_is_counted_from() -> None:
    ref = ActorRef[Order]("desk")
    async with running(SupervisorSpec("root", [ChildSpec("desk", lambda: Desk(ActorRef("nobody")), ref)])) as root:
        for _ in range(5):
            await ref.tell(Order("a", 1e-9))
        await until(lambda: ref.cell.stats.handled == 5)
        assert shown(root, "root/desk")[0]["rate_per_s"] == 0.0
        await root.start_child(ServiceSpec("watchdog", lambda: Watchdog(lambda: root, LoopLag(), every_s=0.001)))
        await until(lambda: shown(root, "root/desk")[0]["rate_per_s"] > 0)
