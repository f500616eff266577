"""The instances of a keyed actor: each key that has mail is served, whatever its instance has ended of."""

import asyncio
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.runtime.support import running, until
from tests.runtime.test_first_steps import cancel_tasks
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    MailboxSpec,
    Request,
    RetryPolicy,
    StrayCancellation,
    SupervisorSpec,
)
from trendedge.runtime.simulation import SimulatedLoop, simulate

AT_ONCE = Backoff(first_s=0.0, jitter=0.0)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What the log says, which takes long to be written out."""
    with structlog.testing.capture_logs() as found:
        yield found


@dataclass(frozen=True)
class Say(Request[str]):
    text: str
    key: str = "k"


KEYED = MailboxSpec(key=lambda message: message.key, idle_s=0.01)


def specs(*children: Any, **options: Any) -> SupervisorSpec:
    return SupervisorSpec("root", children, backoff=AT_ONCE, **options)


class Echo(Actor[Say]):
    """Cancels itself at "cancelled", and at "cancelled late" without waiting afterwards."""

    async def receive(self, message: Say) -> str:
        if message.text.startswith("cancelled"):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if message.text == "cancelled":
                await anyio.sleep(60)
        return message.text


class StopsItsWork(Echo):
    """Awaits at its end what it has cancelled, and nobody has cancelled it."""

    async def on_start(self) -> None:
        self._work = asyncio.create_task(anyio.sleep(60))

    async def on_stop(self) -> None:
        self._work.cancel()
        await self._work


class FailsToStop(Echo):
    async def on_stop(self) -> None:
        raise ValueError("the defect")


class DownAtTheStop(Echo):
    async def on_stop(self) -> None:
        raise ConnectionError("down")


@pytest.mark.parametrize(
    ("start", "cause"),
    [(StopsItsWork, "StrayCancellation"), (FailsToStop, "ValueError"), (DownAtTheStop, "ConnectionError")],
)
async def test_a_crash_at_passivation_is_told_once_and_the_key_is_served_again(
    start: Any, cause: str, logs: list[MutableMapping[str, Any]]
) -> None:
    ref, retry = ActorRef[Say]("a"), RetryPolicy(outage=(ConnectionError,))
    with anyio.fail_after(20):
        async with running(specs(ChildSpec("a", start, ref, mailbox=KEYED, retry=retry))):
            assert await ref.ask(Say("1"), timeout_s=10) == "1"
            await until(lambda: not ref.cell.entities)
            assert ref.cell.stats.restarts == 1
            assert await ref.ask(Say("2"), timeout_s=10) == "2"
            assert ref.cell.depth == 0
            await until(lambda: not ref.cell.entities)
    crashed = [type(entry["exc_info"]).__name__ for entry in logs if entry["event"] == "crashed"]
    assert crashed == [cause, cause]
    assert [one.message for one in ref.cell.stats.history or ()] == [None, None]


async def test_mail_that_comes_while_its_instance_fails_to_stop_is_handled() -> None:
    stopping, gate = anyio.Event(), anyio.Event()

    class Slow(Echo):
        async def on_stop(self) -> None:
            stopping.set()
            await gate.wait()
            raise ValueError("the defect")

    ref = ActorRef[Say]("a")
    with anyio.fail_after(20):
        async with running(specs(ChildSpec("a", Slow, ref, mailbox=KEYED))):
            await ref.tell(Say("1"))
            await stopping.wait()
            await ref.tell(Say("2"))
            gate.set()
            await until(lambda: ref.cell.stats.handled == 2)


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_handler_that_cancels_its_own_task_crashes_over_its_message(keyed: bool) -> None:
    ref, retry = ActorRef[Say]("a"), RetryPolicy(delays_s=(0.0,) * 8)
    child = ChildSpec("a", Echo, ref, mailbox=KEYED if keyed else MailboxSpec(), retry=retry)
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            with pytest.raises(ActorStopped):
                await ref.ask(Say("cancelled"), timeout_s=10)
            assert (ref.cell.stats.failed, ref.cell.stats.buried) == (9, 1)
            assert StrayCancellation.__name__ in str(ref.cell.stats.last_failure)
            assert await ref.ask(Say("well"), timeout_s=10) == "well"
            assert root.status == "running"


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_cancellation_that_a_handler_leaves_behind_is_a_crash_of_its_instance(keyed: bool) -> None:
    ref = ActorRef[Say]("a")
    child = ChildSpec("a", Echo, ref, mailbox=KEYED if keyed else MailboxSpec())
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            assert await ref.ask(Say("cancelled late"), timeout_s=10) == "cancelled late"
            await until(lambda: root.children[0].restarts + ref.cell.stats.restarts == 1)
            assert await ref.ask(Say("well"), timeout_s=10) == "well"
            assert root.status == "running"


async def test_an_instance_whose_task_is_cancelled_from_elsewhere_serves_its_key_again() -> None:
    ref = ActorRef[Say]("a")
    with anyio.fail_after(20):
        async with running(specs(ChildSpec("a", Echo, ref, mailbox=MailboxSpec(key=lambda message: message.key)))):
            await ref.ask(Say("1"), timeout_s=10)
            task = ref.cell.entities["k"].task
            assert task is not None
            task.cancel()
            assert await ref.ask(Say("2"), timeout_s=10) == "2"
            assert ref.cell.stats.restarts == 1


async def test_a_keyed_actor_that_is_cancelled_again_and_again_ends_after_its_instances() -> None:
    """A shield of anyio's holds off no second `Task.cancel`; a handler beside the next one would do things twice."""
    begun, ended, gate = list[str](), list[str](), anyio.Event()

    class Shields(Actor[Say]):
        async def receive(self, message: Say) -> None:
            begun.append(message.text)
            with anyio.CancelScope(shield=True):
                await gate.wait()
            ended.append(message.text)

    ref = ActorRef[Say]("a")
    child = ChildSpec("a", Shields, ref, mailbox=MailboxSpec(key=lambda message: message.key))
    with anyio.fail_after(20):
        async with running(specs(child)) as root:
            await ref.tell(Say("once"))
            await until(lambda: begun == ["once"])
            for _ in range(3):
                cancel_tasks("root/a")
                await anyio.wait_all_tasks_blocked()
            meanwhile = list(begun)
            gate.set()
            await until(lambda: root.children[0].generation == 2)
    assert (meanwhile, ended) == (["once"], ["once"])


class Listens(Actor[Say]):
    """Finds an outage over a message to itself, and from then on in its work beside the mailbox."""

    def __init__(self, runs: list[int], seen: list[Say]) -> None:
        self._runs, self._seen = runs, seen

    async def on_start(self) -> None:
        if self._seen:
            self.context.pipe_to_self(self._listen(), str)

    async def _listen(self) -> None:
        self._runs.append(1)
        await anyio.lowlevel.checkpoint()
        raise ConnectionError("down")

    async def receive(self, message: Say) -> str:
        if message.text == "down":
            self._seen.append(message)
            raise ConnectionError("down")
        self.context.tell_self_after(0.0, Say("down"))
        return message.text


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_an_outage_in_piped_work_is_a_crash_like_any_other(
    keyed: bool, logs: list[MutableMapping[str, Any]]
) -> None:
    ref, runs, seen = ActorRef[Say]("a"), list[int](), list[Say]()
    retry = RetryPolicy(outage=(ConnectionError,), outage_delays_s=(0.0,))
    child = ChildSpec("a", lambda: Listens(runs, seen), ref, mailbox=KEYED if keyed else MailboxSpec(), retry=retry)
    with anyio.fail_after(20):
        async with running(specs(child, intensity=10**6)) as root:
            await ref.tell(Say("1"))
            await until(lambda: len(runs) > 4)
    restarts = root.children[0].restarts + ref.cell.stats.restarts
    crashes = [entry for entry in logs if entry["event"] == "crashed"]
    assert all(isinstance(entry["exc_info"], ConnectionError) for entry in crashes)
    assert len(runs) - len(crashes) in (0, 1), "the last one may have been cancelled"
    assert restarts in (len(crashes), len(crashes) - 1)


async def test_a_restarted_keyed_actor_counts_its_crashes_anew() -> None:
    ref = ActorRef[Say]("a")

    class Crashes(Actor[Say]):
        async def receive(self, message: Say) -> str:
            raise ValueError(message.text)

    with anyio.fail_after(20):
        async with running(specs(ChildSpec("a", Crashes, ref, mailbox=KEYED), intensity=2)) as root:
            child = root.children[0]
            for key in "abc":  # one too many
                await ref.tell(Say("bad", key))
            await until(lambda: (child.restarts, child.status) == (1, "running"))
            for key in "de":
                await ref.tell(Say("bad", key))
            await until(lambda: ref.cell.stats.restarts == 5 and not ref.cell.entities)
            assert (child.restarts, ref.cell.intensity.recent(anyio.current_time())) == (1, 2)


@pytest.mark.parametrize("end", ["a message", "a stop"])
def test_what_comes_at_the_moment_at_which_an_instance_would_be_idle_wakes_it(end: str) -> None:
    """It has a timer under way, so it is not passivated; nobody may be left to wait until it looks again."""

    async def main(_: SimulatedLoop) -> float:
        ref = ActorRef[str]("a")

        class HasTimer(Actor[str]):
            async def on_start(self) -> None:
                self.context.tell_self_after(1e6, "late")

            async def receive(self, message: str) -> None:
                pass

        child = ChildSpec("a", HasTimer, ref, mailbox=MailboxSpec(key=lambda _: "k", idle_s=300.0))
        loop = asyncio.get_running_loop()
        async with running(SupervisorSpec("root", [child])) as root:
            await ref.tell("begin")
            await asyncio.sleep(300.0)
            began = loop.time()
            if end == "a message":
                await ref.tell("more")
                await until(lambda: ref.cell.stats.handled == 2, within_s=1000)
            else:
                root.request_stop()
                await root.ended.wait()
            return loop.time() - began

    assert max(simulate(main, seed=seed).result for seed in range(20)) < 1
