"""What operators see: numbers that are read where they are kept, while the actors go on."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from tests.runtime.support import MemoryJournal, running, until
from tests.runtime.test_control import Idle
from tests.runtime.test_supervisor import AT_ONCE
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    BreakerSpec,
    ChildSpec,
    Controls,
    Durability,
    DurableRef,
    Inspector,
    MailboxSpec,
    Restart,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    Strategy,
    Supervisor,
    SupervisorSpec,
    UnknownBreaker,
)
from trendedge.runtime.simulation import Actors
from trendedge.runtime.stats import MARK_EVERY_S, Stats


class VenueDown(Exception):
    """What the actor depends on fails."""


class Worker(Actor[str]):
    """Does what its message says."""

    def __init__(self, on: Callable[[str], Awaitable[None]]) -> None:
        self._on = on

    async def receive(self, message: str) -> None:
        await self._on(message)


async def obey(message: str) -> None:
    if message.startswith("crash"):
        raise ValueError(message)
    if message.startswith("venue"):
        raise VenueDown(message)


def found(root: Supervisor, path: str) -> dict[str, Any]:
    actor = Inspector(root).find(path)
    assert actor is not None
    return actor


async def test_all_actors_have_the_same_fields() -> None:
    durability = Durability(MemoryJournal(), "box", str.encode, bytes.decode)
    durable = ChildSpec("a", lambda: Worker(obey), DurableRef[str]("a"), durability=durability)
    keyed = ChildSpec("b", lambda: Worker(obey), ActorRef[str]("b"), mailbox=MailboxSpec(key=lambda text: text))
    idle = ServiceSpec("c", Idle)
    async with running(SupervisorSpec("root", [SupervisorSpec("inner", [durable]), keyed, idle])) as root:
        actors = Inspector(root).actors()
    assert [actor["path"] for actor in actors] == ["root", "root/inner", "root/inner/a", "root/b", "root/c"]
    absent = {"durable", "handling"}  # may be null as a whole
    assert len({fields(actor, without=absent) for actor in actors}) == 1


def fields(value: Any, *, without: set[str]) -> Any:
    """The names in an object and in all objects in it."""
    if not isinstance(value, dict):
        return None
    return frozenset((name, None if name in without else fields(one, without=without)) for name, one in value.items())


async def _waits(message: str) -> None:
    await anyio.sleep(100)


def test_the_handler_that_has_run_longest_is_shown_also_when_it_began_at_the_loops_beginning(actors: Actors) -> None:
    ref = ActorRef[str]("a")
    spec = ChildSpec("a", lambda: Worker(_waits), ref, mailbox=MailboxSpec(key=lambda text: text))

    async def look() -> dict[str, Any]:
        async with running(SupervisorSpec("root", [spec])) as root:
            for key in ("first", "second"):
                ref.tell_nowait(key)
                await anyio.sleep(3)
            return found(root, "root/a")

    handling = actors.run(look())["handling"]
    assert (handling["key"], handling["elapsed_s"]) == ("first", 6.0)


async def test_restarts_are_remembered_with_their_cause_and_the_message_that_did_it() -> None:
    refs = {name: ActorRef[str](name) for name in "ab"}
    children = [ChildSpec(name, lambda: Worker(obey), ref) for name, ref in refs.items()]
    spec = SupervisorSpec("root", children, Strategy.ONE_FOR_ALL, intensity=20, backoff=AT_ONCE)
    async with running(spec) as root:
        refs["a"].tell_nowait("crash 1")
        await until(lambda: root.children[1].generation == 2)
        await until(lambda: root.children[0].status == root.children[1].status == "running")
        await Controls(root).restart("root/b")
        first, second = (found(root, f"root/{name}") for name in "ab")
    assert [(one["cause"], one["message"], one["key"]) for one in first["restart_history"]] == [
        ("with root/b", None, None),
        ("ValueError: crash 1", "str", None),
    ]
    assert [one["cause"] for one in second["restart_history"]] == ["ordered", "with root/a"]
    at = datetime.fromisoformat(first["restart_history"][1]["at"])
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=1)


def test_the_newest_of_two_restarts_within_one_tick_of_the_clock_comes_first(actors: Actors) -> None:
    refs = {name: ActorRef[str](name) for name in "ab"}
    children = [ChildSpec(name, lambda: Worker(obey), ref) for name, ref in refs.items()]

    async def look() -> dict[str, Any]:
        async with running(SupervisorSpec("root", children, Strategy.ONE_FOR_ALL)) as root:
            for name in "ba":
                await Controls(root).restart(f"root/{name}")
            return found(root, "root/b")

    history = actors.run(look())["restart_history"]
    assert [one["cause"] for one in history] == ["with root/a", "ordered"]
    assert history[0]["at"] == history[1]["at"]


async def test_restarts_of_instances_are_remembered_with_their_key_and_the_last_ten_alone() -> None:
    ref = ActorRef[str]("keyed")
    child = ChildSpec(
        "keyed",
        lambda: Worker(obey),
        ref,
        mailbox=MailboxSpec(key=lambda text: text[-1]),
        retry=RetryPolicy(),
    )
    backoff = Backoff(first_s=0.001, longest_s=0.002)
    async with running(SupervisorSpec("root", [child], intensity=50, backoff=backoff)) as root:
        for number in range(12):
            ref.tell_nowait(f"crash {number % 10}")
        await until(lambda: ref.cell.stats.restarts == 12)
        actor = found(root, "root/keyed")
    assert (actor["restarts"], len(actor["restart_history"])) == (12, 10)
    newest = actor["restart_history"][0]
    assert (newest["cause"], newest["message"]) == (f"ValueError: crash {newest['key']}", "str")
    budget = {"restarts": 12, "allowed": 50, "period_s": 60.0, "next_backoff_s": 0.002}
    assert actor["intensity"] == budget | {"text": "12 of 50 in 60 s, next backoff 0.002 s"}


async def test_the_budget_of_restarts_is_shown_with_the_next_pause() -> None:
    ref = ActorRef[str]("a")
    child = ChildSpec("a", lambda: Worker(obey), ref)
    backoff = Backoff(first_s=0.001, longest_s=0.004, jitter=0.5)
    async with running(SupervisorSpec("root", [child], intensity=7, period_s=300, backoff=backoff)) as root:
        shown = []
        for number in range(4):
            shown.append(found(root, "root/a")["intensity"])
            ref.tell_nowait("crash")
            await until(lambda: root.children[0].generation == number + 2 and root.children[0].status == "running")  # noqa: B023 - awaited here
        assert found(root, "root")["intensity"]["restarts"] == 4
    budget = {"restarts": 0, "allowed": 7, "period_s": 300, "next_backoff_s": 0.001}
    assert shown[0] == budget | {"text": "0 of 7 in 300 s, next backoff 0.001 s"}
    assert [one["restarts"] for one in shown] == [0, 1, 2, 3]
    assert [one["next_backoff_s"] for one in shown] == [0.001, 0.002, 0.004, 0.004]


async def test_the_budget_of_restarts_is_also_a_sentence() -> None:
    spec = SupervisorSpec(
        "root", [ChildSpec("a", lambda: Worker(obey), ActorRef[str]("a"))], backoff=Backoff(first_s=1)
    )
    async with running(spec) as root:
        for _ in range(3):
            root.intensity.record("root", "a", anyio.current_time())
        for path in ("root", "root/a"):
            assert found(root, path)["intensity"]["text"] == "3 of 5 in 60 s, next backoff 8 s"


async def test_waits_and_handling_times_are_told_apart() -> None:
    ref = ActorRef[str]("a")
    go_on = anyio.Event()

    async def wait(message: str) -> None:
        await go_on.wait()

    async with running(SupervisorSpec("root", [ChildSpec("a", lambda: Worker(wait), ref)])) as root:
        for _ in range(3):
            ref.tell_nowait("x")
        await anyio.wait_all_tasks_blocked()
        busy = found(root, "root/a")
        assert (busy["handling"]["message"], busy["handling"]["key"], busy["mailbox"]["depth"]) == ("str", None, 3)
        await anyio.sleep(0.1)
        go_on.set()
        await until(lambda: ref.cell.stats.handled == 3)
        actor = found(root, "root/a")
    assert actor["latency_ms"]["p99"] >= 50 > actor["latency_ms"]["p50"]
    assert actor["wait_ms"]["p50"] >= 50
    assert actor["handling"] is None


async def test_a_wait_of_less_than_a_millisecond_is_measured_too() -> None:
    ref = ActorRef[str]("a")
    async with running(SupervisorSpec("root", [ChildSpec("a", lambda: Worker(obey), ref)])):
        for number in range(20):
            ref.tell_nowait("x")
            await until(lambda: ref.cell.stats.handled == number + 1)  # noqa: B023 - awaited here
        waits_s = ref.cell.stats.waits_s
    assert waits_s is not None
    assert min(waits_s) > 0  # by uvloop's own clock, which ticks in milliseconds, nearly all would be 0


def test_a_rate_is_that_of_the_last_minute() -> None:
    stats = Stats()
    stats.mark(1000.0)
    assert stats.rate_per_s(1000.0) == 0.0
    for step in range(40):  # 100 messages in each 5 s, for 200 s
        stats.handled += 100
        stats.mark(1005.0 + step * MARK_EVERY_S)
    now = 1005.0 + 39 * MARK_EVERY_S
    assert stats.rate_per_s(now) == 20.0
    for step in range(1, 14):
        stats.mark(now + step * MARK_EVERY_S)
    assert stats.rate_per_s(now + 13 * MARK_EVERY_S) == 0.0


def test_the_first_messages_have_a_rate_too() -> None:
    stats = Stats(handled=10)
    stats.mark(100.0)
    assert stats.rate_per_s(100.0) == 2.0


class Piper(Actor[str]):
    """Does what its message says, beside it or in it; `starts` says how its incarnations fare."""

    def __init__(self, starts: list[str]) -> None:
        self._starts = starts

    async def on_start(self) -> None:
        if self._starts:
            raise LookupError(self._starts.pop())

    async def receive(self, message: str) -> None:
        if message.startswith("beside"):
            self.context.pipe_to_self(self.beside(message), lambda _: "")
        await obey(message)

    async def beside(self, message: str) -> None:
        raise OSError(message)


@pytest.mark.parametrize("key", [None, lambda message: message[-1]], ids=["one instance", "keyed"])
async def test_the_last_error_is_the_newest_be_it_over_a_message_or_not(
    key: Callable[[str], str] | None,
) -> None:
    ref, starts = ActorRef[str]("a"), list[str]()
    child = ChildSpec("a", lambda: Piper(starts), ref, mailbox=MailboxSpec(key=key))
    async with running(SupervisorSpec("root", [child], intensity=20, backoff=AT_ONCE)) as root:
        assert found(root, "root/a")["last_error"] is None
        for message, error in (
            ("crash 1", "str: ValueError: crash 1"),
            ("beside 1", "OSError: beside 1"),
            ("crash 2", "str: ValueError: crash 2"),
            ("beside 3", "OSError: beside 3"),
        ):
            restarts = found(root, "root/a")["restarts"]
            await ref.tell(message)
            await until(lambda: found(root, "root/a")["restarts"] == restarts + 1)  # noqa: B023 - awaited here
            assert found(root, "root/a")["last_error"] == error
        await anyio.wait_all_tasks_blocked()  # the last one has begun again
        starts.append("state")
        await ref.tell("crash 4")
        await until(lambda: found(root, "root/a")["last_error"].endswith("LookupError: state"))


async def test_what_ended_a_keyed_actor_as_a_whole_is_its_last_error() -> None:
    ref = ActorRef[str]("a")
    child = ChildSpec("a", lambda: Worker(obey), ref, mailbox=MailboxSpec(key=lambda text: text[-1]))
    async with running(SupervisorSpec("root", [child], intensity=1, backoff=AT_ONCE)) as root:
        for number in range(2):
            await ref.tell(f"crash {number}")
        await until(lambda: root.children[0].restarts == 1)
        assert found(root, "root/a")["last_error"].startswith("IntensityExceeded: root/a: 2 restarts within 60 s")


class Once(Service):
    """Does its work, and has ended then."""

    def __init__(self, done: anyio.Event) -> None:
        self._done = done

    async def run(self, context: ServiceContext) -> None:
        context.started()
        await self._done.wait()


async def test_who_has_done_its_work_is_not_expected_to_run_until_it_is_started_again() -> None:
    done = [anyio.Event(), anyio.Event()]
    once = ServiceSpec("once", lambda: Once(done[0]), Restart.TRANSIENT)
    last = ServiceSpec("last", lambda: Once(done[0]), Restart.TRANSIENT, significant=True)
    inner = SupervisorSpec("inner", [ServiceSpec("idle", Idle), last], restart=Restart.TRANSIENT)
    ref = ActorRef[str]("crashed")
    crashed = ChildSpec("crashed", lambda: Worker(obey), ref, Restart.TEMPORARY)
    spec = SupervisorSpec("root", [once, inner, crashed, ServiceSpec("idle", Idle)], intensity=20, backoff=AT_ONCE)
    async with running(spec) as root:
        inspector = Inspector(root)
        assert inspector.running() == (5, 5)
        done[0].set()
        await until(lambda: inspector.running() == (2, 2))
        ref.tell_nowait("crash")
        await until(lambda: inspector.running() == (1, 2))  # nobody has said that it might end
        assert found(root, "root/once")["status"] == "stopped"
        done[0] = done[1]
        await Controls(root).restart("root/once")
        assert inspector.running() == (2, 3)
        done[1].set()
        await until(lambda: inspector.running() == (1, 2))


async def test_breakers_are_shown_and_reset() -> None:
    ref = ActorRef[str]("keyed")
    child = ChildSpec(
        "keyed",
        lambda: Worker(obey),
        ref,
        mailbox=MailboxSpec(key=lambda text: text[-1]),
        retry=RetryPolicy(delays_s=(0.0,) * 9),
        breaker=BreakerSpec(trips_on=(VenueDown,), failures=2, open_s=600),
    )
    quiet = ChildSpec("quiet", lambda: Worker(obey), ActorRef[str]("quiet"))
    async with running(SupervisorSpec("root", [child, quiet], intensity=50)) as root:
        inspector, controls = Inspector(root), Controls(root)
        closed = {"name": "root/keyed", "state": "closed", "failures": 0, "opened_at": None, "retry_in_s": None}
        assert inspector.breakers() == [{"actor": "root/keyed", **closed}]
        ref.tell_nowait("venue a")
        await until(lambda: inspector.breakers()[0]["state"] == "open")
        [opened] = inspector.breakers()
        assert (opened["actor"], opened["name"], opened["failures"]) == ("root/keyed", "root/keyed[a]", 2)
        assert 590 < opened["retry_in_s"] <= 600
        assert datetime.fromisoformat(opened["opened_at"]) <= datetime.now(UTC)
        assert found(root, "root/keyed")["breakers"][0]["name"] == "root/keyed[a]"
        for name in ("root/nobody", "root/keyed[b]", "root/quiet"):
            with pytest.raises(UnknownBreaker):
                controls.reset_breaker(name)
        before = ref.cell.stats.failed
        controls.reset_breaker("root/keyed[a]")
        await until(lambda: ref.cell.stats.failed == before + 2)  # it was tried again, and opened again
        controls.reset_breaker("root/keyed")  # all of this actor
        await until(lambda: ref.cell.stats.failed == before + 4)
