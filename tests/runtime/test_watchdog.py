"""The watchdog: who runs for too long, and who keeps the event loop from everybody else, is named in the log."""

import inspect
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ChildSpec,
    DeadLetter,
    Durability,
    DurableRef,
    Inspector,
    LoopLag,
    RetryPolicy,
    ServiceSpec,
    Supervisor,
    SupervisorSpec,
    Watchdog,
)
from trendedge.runtime.mailbox import MailboxSpec
from trendedge.runtime.simulation import Actors


class Slow(Actor[str]):
    """Takes its time: without the loop, with it, or in a child."""

    async def receive(self, message: str) -> None:
        if message == "block":
            time.sleep(0.3)  # noqa: ASYNC251 - that is the offence
        elif message == "spawn":
            await self.context.spawn(ChildSpec("child", Slow, child))
        else:
            await anyio.sleep(10)


child = ActorRef[str]("child")


async def watched(
    told: Callable[[ActorRef[str]], Any], expected: str, **about: str
) -> tuple[list[dict[str, Any]], LoopLag]:
    """Run a slow actor beside a watchdog until the log has an event of this name and content; all events that have.

    On a busy machine anything may be slow, and is then named too, rightly.
    """

    def is_it(entry: Mapping[str, Any]) -> bool:
        return entry["event"] == expected and about.items() <= entry.items()

    ref, lag = ActorRef[str]("slow"), LoopLag()
    root = Supervisor(
        SupervisorSpec(
            "root",
            [
                ServiceSpec("watchdog", lambda: Watchdog(lambda: root, lag, slow_s=0.05, blocked_s=0.05, every_s=0.01)),
                ChildSpec("slow", Slow, ref, mailbox=MailboxSpec(key=lambda message: message), shutdown_s=0.01),
            ],
        )
    )
    ready = anyio.Event()
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, ready.set)
            await ready.wait()
            await told(ref)
            await until(lambda: any(map(is_it, logs)))
            await anyio.sleep(0.05)  # time enough to say it again
            root.request_stop()
    return [dict(entry) for entry in logs if is_it(entry)], lag


async def test_a_handler_that_runs_for_too_long_is_named_once_with_the_place_where_it_waits() -> None:
    named, _ = await watched(lambda ref: ref.tell("wait"), "handler runs long")
    said = [(one["alert"], one["actor"], one["key"], one["handling"]) for one in named]
    assert said == [("handler_slow", "root/slow", "wait", "str")]
    assert named[0]["elapsed_s"] >= 0.0
    assert "in sleep" in named[0]["at"]


async def test_a_spawned_child_is_watched_too() -> None:
    async def told(ref: ActorRef[str]) -> None:
        await ref.tell("spawn")
        await anyio.wait_all_tasks_blocked()
        await child.tell("wait")

    named, _ = await watched(told, "handler runs long", actor="root/slow[spawn]/child")
    assert [one["handling"] for one in named] == ["str"]


async def test_whoever_blocks_the_loop_is_named_while_it_does_and_the_lag_is_measured() -> None:
    named, lag = await watched(lambda ref: ref.tell("block"), "event loop blocked", task="root/slow[block]")
    assert [one["alert"] for one in named] == ["loop_blocked"]
    assert any(line.endswith("in receive") for line in named[0]["stack"])
    assert lag.worst_s >= 0.2


async def test_it_looks_at_no_handlers_until_its_tree_is_known() -> None:
    """With `running` the name of the tree is bound when all have started."""
    ref, lag = ActorRef[str]("loads"), LoopLag()

    class Loads(Slow):
        async def on_start(self) -> None:
            await until(lambda: lag.snapshot()["p50_ms"] is not None)

    watchdog = ServiceSpec("watchdog", lambda: Watchdog(lambda: root, lag, every_s=0.001))
    async with running(SupervisorSpec("root", [watchdog, ChildSpec("loads", Loads, ref)])) as root:
        shown = Inspector(root, lag).find("root/watchdog")
    assert shown is not None
    assert (shown["restarts"], shown["last_error"]) == (0, None)


def test_a_tree_that_is_never_found_is_said_once(actors: Actors) -> None:
    def find() -> Supervisor:
        return nowhere  # type: ignore[name-defined,no-any-return]  # noqa: F821

    watchdog = Watchdog(find, LoopLag(), slow_s=10.0)
    for _ in range(5):
        actors.call(watchdog._name_the_slow)
        actors.advance(6.0)
    said = [line["error"] for line in actors.log if line["event"] == "watchdog finds no tree"]
    assert said == ["name 'nowhere' is not defined"]


def test_unless_it_is_told_otherwise_it_names_a_handler_after_ten_seconds(actors: Actors) -> None:
    class Sleeps(Actor[str]):
        async def receive(self, message: str) -> None:
            await anyio.sleep_forever()

    sleeps = actors.start(Sleeps, name="sleeps")
    watchdog = Watchdog(lambda: sleeps.ref.cell.supervisor, LoopLag())

    def named() -> list[tuple[str, float]]:
        actors.call(watchdog._name_the_slow)  # as it does twice a second; its thread is none of this clock's
        return [(line["actor"], line["elapsed_s"]) for line in actors.log if line["event"] == "handler runs long"]

    actors.advance(1.0)
    sleeps.tell("wait")
    actors.advance(9.5)
    assert named() == []
    actors.advance(0.5)
    assert named() == named() == [("test/sleeps", 10.0)]


def test_unless_it_is_told_otherwise_it_names_what_blocks_the_loop_after_a_quarter_of_a_second() -> None:
    assert inspect.signature(Watchdog).parameters["blocked_s"].default == 0.25


@dataclass(frozen=True)
class Poison:
    pass


class Eats(Actor[str | Poison]):
    async def receive(self, message: str | Poison) -> None:
        if isinstance(message, Poison):
            raise ValueError("cannot be handled")


@pytest.mark.parametrize("behind", [0, 1], ids=["alone", "before another"])
async def test_a_message_that_is_being_buried_is_named_and_keeps_its_place_until_then(behind: int) -> None:
    gate, ref = anyio.Event(), DurableRef[str | Poison]("eats")

    async def on_bury(message: str | Poison, letter: DeadLetter) -> None:
        await gate.wait()

    durability = Durability(MemoryJournal(), "eats", pickle.dumps, pickle.loads, on_bury)
    root = Supervisor(
        SupervisorSpec(
            "root",
            [
                ServiceSpec("watchdog", lambda: Watchdog(lambda: root, LoopLag(), slow_s=0.0, every_s=0.001)),
                ChildSpec("eats", Eats, ref, retry=RetryPolicy(delays_s=()), durability=durability),
            ],
        )
    )
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(root.run, lambda: None)
            await until(lambda: root.status == "running")
            ref.cell.suspend()
            await ref.tell(Poison())
            for _ in range(behind):
                await ref.tell("behind it")
            ref.cell.resume()
            await until(lambda: any(line["event"] == "handler runs long" for line in logs))
            assert len(ref.cell.entities[None].mail) == behind + 1
            found = Inspector(root).find("root/eats")
            gate.set()
            root.request_stop()
    [named] = [line for line in logs if line["event"] == "handler runs long"]
    assert (named["actor"], named["handling"]) == ("root/eats", "Poison")
    assert found is not None
    assert found["handling"]["message"] == "Poison"
    assert root.children[0].restarts == 0


def test_the_lag_is_shown_in_milliseconds() -> None:
    lag = LoopLag()
    assert lag.snapshot() == {"last_ms": 0.0, "p50_ms": None, "p99_ms": None, "worst_ms": 0.0}
    for late_s in (0.002, 0.5, 0.001):
        lag.record(late_s)
    assert lag.snapshot() == {"last_ms": 1.0, "p50_ms": 2.0, "p99_ms": 500.0, "worst_ms": 500.0}
