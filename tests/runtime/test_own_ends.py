"""How actors end that have asked for it themselves."""

from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    Durability,
    DurableRef,
    Inspector,
    IntensityExceeded,
    MailboxSpec,
    Request,
    Restart,
    SupervisorSpec,
    Terminated,
)


@dataclass(frozen=True)
class Say(Request[str]):
    """`stop` ends whoever handles it."""

    text: str
    key: str = "k"


class Mortal(Actor[Say]):
    """Writes down its life. Handles `wait` until it is told to go on."""

    def __init__(self, life: list[str], go_on: anyio.Event) -> None:
        self.life, self.go_on = life, go_on

    async def on_start(self) -> None:
        self.life.append("started")

    async def receive(self, message: Say) -> str:
        if message.text == "wait":
            await self.go_on.wait()
        if message.text in ("stop", "wait"):
            self.context.stop()
        self.life.append(message.text)
        return message.text.upper()

    async def on_stop(self) -> None:
        self.life.append("stopped")


class Watcher(Actor[Terminated]):
    """Writes down whose end it hears of."""

    def __init__(self, whom: ActorRef[Say], heard: list[Terminated]) -> None:
        self.whom, self.heard = whom, heard

    async def on_start(self) -> None:
        self.context.watch(self.whom)

    async def receive(self, message: Terminated) -> None:
        self.heard.append(message)


def tree(*children: ChildSpec[Any], intensity: int = 5) -> SupervisorSpec:
    return SupervisorSpec("root", children, backoff=Backoff(0.0), intensity=intensity)


def mortal(ref: ActorRef[Say], life: list[str], go_on: anyio.Event | None = None, **more: Any) -> ChildSpec[Say]:
    return ChildSpec("a", lambda: Mortal(life, go_on or anyio.Event()), ref, **more)


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_who_has_stopped_itself_has_ended_for_good_and_who_watches_hears_of_no_crash(restart: Restart) -> None:
    ref, life, heard = ActorRef[Say]("a"), list[str](), list[Terminated]()
    watcher = ChildSpec("w", lambda: Watcher(ref, heard), ActorRef[Terminated]("w"))
    async with running(tree(mortal(ref, life, restart=restart), watcher)) as root:
        assert await ref.ask(Say("stop"), timeout_s=60) == "STOP"
        await until(lambda: bool(heard))
        assert heard == [Terminated("root/a", cause=None)]
        assert Inspector(root).running() == (1, 1)
        with pytest.raises(ActorStopped):
            await ref.tell(Say("late"))
    assert life == ["started", "stop", "stopped"]


async def test_a_permanent_one_is_started_again_and_that_counts() -> None:
    ref, life, heard = ActorRef[Say]("a"), list[str](), list[Terminated]()
    watcher = ChildSpec("w", lambda: Watcher(ref, heard), ActorRef[Terminated]("w"))

    async def stop_twice() -> None:
        async with running(tree(mortal(ref, life), watcher, intensity=1)):
            await ref.tell(Say("stop"))
            await until(lambda: life.count("started") == 2)
            assert await ref.ask(Say("hello"), timeout_s=60) == "HELLO"
            assert heard == []
            await ref.tell(Say("stop"))
            await anyio.sleep_forever()

    with pytest.raises(IntensityExceeded, match="the last by root/a"):
        await stop_twice()
    assert life == ["started", "stop", "stopped", "started", "hello", "stop", "stopped"]


async def test_the_end_of_a_significant_one_is_its_supervisors() -> None:
    ref, life = ActorRef[Say]("a"), list[str]()
    async with running(tree(mortal(ref, life, restart=Restart.TRANSIENT, significant=True))) as root:
        await ref.tell(Say("stop"))
        await root.ended.wait()
    assert life == ["started", "stop", "stopped"]


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("drain", [False, True])
async def test_what_waits_for_who_has_stopped_itself_is_dropped_and_who_asks_is_told(
    restart: Restart, drain: bool
) -> None:
    ref, life, go_on, told = ActorRef[Say]("a"), list[str](), anyio.Event(), list[str]()

    async def ask(text: str) -> None:
        try:
            told.append(await ref.ask(Say(text), timeout_s=60))
        except ActorStopped as error:
            told.append(str(error))

    spec = mortal(ref, life, go_on, restart=restart, mailbox=MailboxSpec(drain=drain))
    async with running(tree(spec)):
        async with anyio.create_task_group() as tasks:
            for text in ("wait", "behind it"):
                tasks.start_soon(ask, text)
                await anyio.wait_all_tasks_blocked()
            go_on.set()
        await until(lambda: restart is not Restart.PERMANENT or life.count("started") == 2)
    assert sorted(told) == ["WAIT", "root/a: stopped"]
    assert "behind it" not in life
    assert ref.cell.stats.dropped == 1


async def test_who_stops_itself_while_it_waits_ends_at_once() -> None:
    ref, life = ActorRef[Say]("a"), list[str]()

    class Tired(Mortal):
        async def on_start(self) -> None:
            async def tire() -> None:
                await anyio.lowlevel.checkpoint()
                self.context.stop()

            self.context.pipe_to_self(tire(), lambda _: Say("never told"))

    spec = ChildSpec("a", lambda: Tired(life, anyio.Event()), ref, restart=Restart.TRANSIENT)
    async with running(tree(spec)) as root:
        await until(lambda: Inspector(root).running() == (0, 0))
    assert life == ["stopped"]


async def test_a_crash_over_the_message_in_hand_is_a_crash_and_no_end() -> None:
    ref, life = ActorRef[Say]("a"), list[str]()

    class Torn(Mortal):
        async def receive(self, message: Say) -> str:
            await super().receive(message)
            if message.text == "stop":
                raise ValueError(message.text)
            return "here"

    spec = ChildSpec("a", lambda: Torn(life, anyio.Event()), ref, restart=Restart.TRANSIENT)
    async with running(tree(spec)):
        await ref.tell(Say("stop"))
        assert await ref.ask(Say("hello"), timeout_s=60) == "here"
    assert life == ["started", "stop", "started", "hello", "stopped"]


async def test_a_keyed_instance_that_stops_itself_is_passivated_and_the_next_message_starts_another() -> None:
    ref, life = ActorRef[Say]("a"), list[str]()
    spec = mortal(ref, life, mailbox=MailboxSpec(key=lambda message: message.key), restart=Restart.TEMPORARY)
    async with running(tree(spec, intensity=0)):
        assert await ref.ask(Say("stop"), timeout_s=60) == "STOP"
        await until(lambda: not ref.cell.entities)
        for text in ("stop", "behind it"):
            await ref.tell(Say(text))
        await until(lambda: "behind it" in life)
        assert ref.cell.stats.restarts == 0
    assert life == ["started", "stop", "stopped", "started", "stop", "stopped", "started", "behind it", "stopped"]


@pytest.mark.parametrize("restart", list(Restart))
async def test_what_is_journalled_outlives_who_stops_itself(restart: Restart) -> None:
    ref, journal, life, go_on = DurableRef[Say]("a"), MemoryJournal(), list[str](), anyio.Event()
    on = Durability(journal, "a", lambda say: say.text.encode(), lambda payload: Say(payload.decode()))
    spec = ChildSpec("a", lambda: Mortal(life, go_on), ref, restart, durability=on)
    async with running(tree(spec)) as root:
        await ref.tell(Say("wait"))
        await ref.tell(Say("behind it"))
        go_on.set()
        if restart is Restart.PERMANENT:
            await until(lambda: "behind it" in life)
        else:
            await until(lambda: Inspector(root).running() == (0, 0))
    assert len(journal.settled) == life.count("wait") + life.count("behind it")
    left = [] if restart is Restart.PERMANENT else [b"behind it"]
    marked = [] if left else [1]  # what the next incarnation has found there
    assert (list(journal.entries.values()), list(journal.attempts.values())) == (left, marked)


async def test_a_stop_by_the_supervisor_drains_also_when_the_actor_has_asked_for_its_own() -> None:
    ref, life, go_on = ActorRef[Say]("a"), list[str](), anyio.Event()
    async with running(tree(mortal(ref, life, go_on, mailbox=MailboxSpec(drain=True)))) as root:
        await ref.tell(Say("wait"))
        await ref.tell(Say("behind it"))
        await anyio.wait_all_tasks_blocked()
        root.request_stop()
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert life == ["started", "wait", "behind it", "stopped"]
