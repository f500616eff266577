"""What an incarnation can do with its surroundings: children, death notices, timers, piped work, the stash."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import anyio
import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    ActorStopped,
    AskCycle,
    Backoff,
    ChildSpec,
    Controls,
    DuplicateChild,
    Durability,
    DurableRef,
    Inspector,
    MailboxSpec,
    NoMessageInHand,
    Request,
    Restart,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    StartFailed,
    Supervisor,
    SupervisorSpec,
    Terminated,
    Timer,
    UnknownChild,
)
from trendedge.runtime.simulation import Actors

AT_ONCE = Backoff(first_s=0.0, jitter=0.0)


@dataclass(frozen=True)
class Do(Request[Any]):
    """To a `Puppet`: call this with its context, answer what it answers."""

    what: Callable[["Puppet"], Any]


class Puppet(Actor[Do | Terminated | str]):
    """Does what it is told, and writes down what else it gets."""

    def __init__(self, life: list[str]) -> None:
        self.life = life

    async def receive(self, message: Do | Terminated | str) -> Any:
        if isinstance(message, Do):
            answer = message.what(self)
            return await answer if asyncio.iscoroutine(answer) else answer
        self.life.append(str(message))
        return None

    async def on_stop(self) -> None:
        self.life.append("stopped")


class Forgiving(Puppet):
    """Its circles are answers."""

    declared = (AskCycle,)


class Named(Actor[str]):
    """A child that writes down its life."""

    def __init__(self, name: str, life: list[str]) -> None:
        self.name, self.life = name, life

    async def on_start(self) -> None:
        self.life.append(f"{self.name} started")

    async def receive(self, message: str) -> None:
        if message == "crash":
            raise ValueError("told to")
        self.life.append(f"{self.name} got {message}")

    async def on_stop(self) -> None:
        self.life.append(f"{self.name} stopped")


def puppet(ref: ActorRef[Any], life: list[str], mailbox: MailboxSpec | None = None) -> ChildSpec[Any]:
    return ChildSpec("puppet", lambda: Puppet(life), ref, mailbox=mailbox or MailboxSpec())


def tree(*children: ChildSpec[Any] | SupervisorSpec, intensity: int = 20) -> SupervisorSpec:
    return SupervisorSpec("root", children, backoff=AT_ONCE, intensity=intensity)


async def tell_to(ref: ActorRef[Any], what: Callable[[Puppet], Any]) -> Any:
    return await ref.ask(Do(what), timeout_s=5)


# -- spawn ------------------------------------------------------------------------------------------------------


async def test_spawned_children_answer_and_stop_in_reverse_before_their_parent() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()
    refs = {name: ActorRef[str](name) for name in "ab"}
    async with running(tree(puppet(ref, life))):
        for name in "ab":
            spec = ChildSpec(name, lambda name=name: Named(name, life), refs[name])  # type: ignore[misc]
            await tell_to(ref, lambda self, spec=spec: self.context.spawn(spec))  # type: ignore[misc]
        await refs["a"].tell("hello")
        await anyio.wait_all_tasks_blocked()
        assert refs["a"].cell.path == "root/puppet/a"
    assert life == ["a started", "b started", "a got hello", "b stopped", "a stopped", "stopped"]


async def test_a_crash_of_the_parent_stops_its_children_and_the_next_incarnation_has_none() -> None:
    ref, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()

    def crash(_: Puppet) -> None:
        raise ValueError("parent")

    async with running(tree(puppet(ref, life))):
        await tell_to(ref, lambda self: self.context.spawn(ChildSpec("a", lambda: Named("a", life), child)))
        with pytest.raises(ActorStopped):
            await tell_to(ref, crash)
        await anyio.wait_all_tasks_blocked()
        assert life == ["a started", "a stopped"]
        with pytest.raises(ActorStopped):
            await child.tell("anybody?")
        with pytest.raises(ActorStopped):  # the id is free: the child of the old incarnation is gone
            await tell_to(ref, lambda self: self.context.stop_child("a"))


async def test_a_child_that_crashes_is_restarted_and_one_that_crashes_too_often_crashes_its_parent() -> None:
    ref, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    async with running(tree(puppet(ref, life))) as root:
        await tell_to(ref, lambda self: self.context.spawn(ChildSpec("a", lambda: Named("a", life), child)))
        await child.tell("crash")
        await until(lambda: life.count("a started") == 2)
        assert root.children[0].restarts == 0
        for crashes in range(2, 7):
            await until(lambda crashes=crashes: life.count("a started") == crashes)  # type: ignore[misc]
            await child.tell("crash")
        await until(lambda: root.children[0].restarts == 1)
        assert (
            root.children[0].last_error
            == "IntensityExceeded: root/puppet: 6 restarts within 60 s, the last by root/puppet/a"
        )
        assert await tell_to(ref, lambda _: "still here") == "still here"


@pytest.mark.parametrize("nested", [False, True])
async def test_a_child_that_asks_at_its_start_who_spawns_it_fails_at_once(nested: bool) -> None:
    ref, other, life = ActorRef[Any]("puppet"), ActorRef[Any]("other"), list[str]()

    class Asks(Actor[str]):
        async def on_start(self) -> None:
            await tell_to(other, lambda _: tell_to(ref, lambda _: None))

    child = ChildSpec("a", Asks, ActorRef[str]("a"))
    spec = SupervisorSpec("team", [child]) if nested else child
    path = "root/puppet/team/a" if nested else "root/puppet/a"

    async def spawn(self: Puppet) -> str:
        with pytest.raises(StartFailed) as failed:
            await self.context.spawn(spec)
        return str(failed.value)

    async with running(tree(puppet(ref, life), ChildSpec("other", lambda: Forgiving(life), other))):
        with anyio.fail_after(2):
            said = await tell_to(ref, spawn)
        assert f"ask in a cycle: root/other -> root/puppet -> {path} -> root/other" in said
        assert await tell_to(ref, lambda _: "well") == "well"


async def test_a_significant_child_that_ends_crashes_its_parent() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()
    gate = anyio.Event()

    class Brief(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()
            await gate.wait()

    async def spawn(self: Puppet) -> None:
        await self.context.spawn(ChildSpec("a", lambda: Named("a", life), ActorRef[str]("a")))
        await self.context.spawn(ServiceSpec("brief", Brief, restart=Restart.TEMPORARY, significant=True))

    with anyio.fail_after(20):
        async with running(tree(puppet(ref, life))) as root:
            await tell_to(ref, spawn)
            gate.set()
            await until(lambda: root.children[0].restarts == 1 and root.children[0].status == "running")
            history = root.children[0].history or ()
            assert [one.cause for one in history] == [
                "SignificantChildEnded: root/puppet/brief: has ended, and was significant"
            ]
            gate = anyio.Event()
            await tell_to(ref, spawn)
    assert life == ["a started", "a stopped", "a started", "a stopped", "stopped"]


async def test_a_child_that_does_not_start_and_a_second_of_the_same_id_are_errors_of_the_spawn() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()

    class Unwilling(Actor[str]):
        async def on_start(self) -> None:
            raise OSError("no")

    async def spawn(self: Puppet) -> list[str]:
        said = []
        for start in (Unwilling, lambda: Named("a", life), lambda: Named("a", life)):
            try:
                await self.context.spawn(ChildSpec("a", start, ActorRef[str]("a")))
            except (StartFailed, DuplicateChild) as error:
                said.append(str(error))
        try:
            await self.context.stop_child("b")
        except UnknownChild as error:
            said.append(str(error))
        await self.context.stop_child("a")
        return said

    async with running(tree(puppet(ref, life))):
        assert await tell_to(ref, spawn) == [
            "root/puppet/a: did not start: OSError: no",
            "root/puppet/a: is there already",
            "root/puppet/b: there is no such child",
        ]
    assert life == ["a started", "a stopped", "stopped"]


async def test_a_supervisor_takes_and_gives_up_children_while_it_runs() -> None:
    life: list[str] = []
    async with running(tree()) as root:
        for name in ("a", "b"):
            await root.start_child(ChildSpec(name, lambda name=name: Named(name, life), ActorRef[str](name)))  # type: ignore[misc]
        await root.stop_child("a")
        assert [child.spec.id for child in root.children] == ["b"]
        temporary = ActorRef[str]("c")
        await root.start_child(ChildSpec("c", lambda: Named("c", life), temporary, restart=Restart.TEMPORARY))
        await temporary.tell("crash")
        await until(lambda: len(root.children) == 1)
        with pytest.raises(ActorStopped):
            await temporary.tell("anybody?")
    assert life == ["a started", "b started", "a stopped", "c started", "b stopped"]


# -- watch ------------------------------------------------------------------------------------------------------


async def test_the_watcher_hears_of_an_end_for_good_and_not_of_a_restart() -> None:
    ref, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    spec = ChildSpec("a", lambda: Named("a", []), child)
    async with running(tree(puppet(ref, life), spec)) as root:
        await tell_to(ref, lambda self: self.context.watch(child))
        await child.tell("crash")
        await until(lambda: root.children[1].restarts == 1)
        assert life == []
        await root.stop_child("a")
        await until(lambda: bool(life))
        assert life == ["Terminated(path='root/a', cause=None)"]
        await tell_to(ref, lambda self: self.context.watch(child))  # it is dead already
        await until(lambda: len(life) == 2)


async def test_the_restart_of_the_supervisor_of_who_is_watched_is_no_death_either() -> None:
    """Neither by order nor after too many crashes, and the watch goes on. Who is in no spec does not come back."""
    ref, life = ActorRef[Any]("puppet"), list[str]()
    refs = {name: ActorRef[str](name) for name in ("a", "added")}
    specs = {name: ChildSpec(name, lambda: Named("", []), ref) for name, ref in refs.items()}
    inner = SupervisorSpec("inner", [SupervisorSpec("inmost", [specs["a"]], intensity=0)], backoff=AT_ONCE)
    async with running(tree(puppet(ref, life), inner)) as root:

        def inmost() -> Supervisor:
            nested: Any = root.children[1].process
            return cast("Supervisor", nested.children[0].process)

        await inmost().start_child(specs["added"])
        for watched in refs.values():
            await tell_to(ref, lambda self, watched=watched: self.context.watch(watched))  # type: ignore[misc]
        await Controls(root).restart("root/inner")
        await until(lambda: bool(life))
        assert life == ["Terminated(path='root/inner/inmost/added', cause=None)"]
        before = inmost()
        await refs["a"].tell("crash")
        await until(lambda: inmost() is not before and inmost().status == "running")
        assert len(life) == 1
        await root.stop_child("inner")
        await until(lambda: len(life) == 2)
    assert life[1] == "Terminated(path='root/inner/inmost/a', cause=None)"


async def test_who_has_ended_for_good_and_is_started_again_is_watched_as_any_other() -> None:
    ref, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    spec = ChildSpec("a", lambda: Named("", []), child, restart=Restart.TEMPORARY)
    inner = SupervisorSpec("inner", [spec])
    async with running(tree(puppet(ref, life), inner)) as root:
        for path in ("root/inner/a", "root/inner"):
            await child.tell("crash")
            await until(lambda: child.cell.closed)
            await Controls(root).restart(path)
            await tell_to(ref, lambda self: self.context.watch(child))
            await anyio.wait_all_tasks_blocked()
            assert life == []
            await tell_to(ref, lambda self: self.context.unwatch(child))


async def test_the_death_notice_names_the_cause_and_comes_to_no_one_who_has_unwatched() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()
    refs = {name: ActorRef[str](name) for name in "ab"}
    specs = [ChildSpec(n, lambda: Named("", []), refs[n], restart=Restart.TEMPORARY) for n in "ab"]
    async with running(tree(puppet(ref, life), *specs)):
        for name in "ab":
            await tell_to(ref, lambda self, name=name: self.context.watch(refs[name]))  # type: ignore[misc]
        await tell_to(ref, lambda self: self.context.unwatch(refs["a"]))
        await refs["a"].tell("crash")
        await refs["b"].tell("crash")
        await until(lambda: bool(life))
    assert life == ["Terminated(path='root/b', cause='ValueError: told to')", "stopped"]


async def test_an_instance_that_watches_is_not_passivated_before_it_hears_of_the_end() -> None:
    ref, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    mailbox = MailboxSpec(key=lambda _: "k", idle_s=0.005)
    spec = ChildSpec("a", lambda: Named("a", []), child)
    async with running(tree(puppet(ref, life, mailbox), SupervisorSpec("inner", [spec]))) as root:
        await tell_to(ref, lambda self: self.context.watch(child))
        await Controls(root).restart("root/inner")
        await anyio.sleep(0.03)
        assert life == []
        await root.stop_child("inner")
        await until(lambda: len(life) == 2)  # and idle it goes
        await tell_to(ref, lambda self: self.context.watch(child))
        await until(lambda: len(life) == 4)
    assert life == 2 * ["Terminated(path='root/inner/a', cause=None)", "stopped"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_instance_that_watches_no_more_is_idle(restarted: bool) -> None:
    ref, child, life = ActorRef[Any]("puppet"), ActorRef[str]("a"), list[str]()
    mailbox = MailboxSpec(key=lambda _: "k", idle_s=0.005)
    spec = ChildSpec("a", lambda: Named("a", []), child)
    async with running(tree(puppet(ref, life, mailbox), SupervisorSpec("inner", [spec]))) as root:
        await tell_to(ref, lambda self: self.context.watch(child))
        if restarted:
            await Controls(root).restart("root/inner")
        await tell_to(ref, lambda self: self.context.unwatch(child))
        await until(lambda: life == ["stopped"])


# -- timers -----------------------------------------------------------------------------------------------------


async def test_a_timer_fires_once_a_cancelled_one_never_and_a_crash_ends_them_all() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()

    def arm(self: Puppet) -> Timer:
        self.context.tell_self_after(0.01, "never").cancel()
        return self.context.tell_self_after(0.01, "once")

    def arm_and_crash(self: Puppet) -> None:
        self.context.tell_self_after(0.0, "of the dead")
        raise ValueError

    async with running(tree(puppet(ref, life))):
        timer = await tell_to(ref, arm)
        assert timer.pending
        await until(lambda: bool(life))
        assert not timer.pending
        with pytest.raises(ActorStopped):
            await tell_to(ref, arm_and_crash)
        await anyio.sleep(0.03)
    assert life == ["once", "stopped"]


async def test_a_tick_that_the_dead_incarnation_left_in_the_mailbox_is_not_handled_by_the_next() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()

    async def leave_a_tick_and_crash(self: Puppet) -> None:
        self.context.tell_self_after(0.0, "of the dead")
        await anyio.sleep(0.01)  # it fires while this handler runs
        raise ValueError

    async with running(tree(puppet(ref, life))):
        with pytest.raises(ActorStopped):
            await tell_to(ref, leave_a_tick_and_crash)
        assert await tell_to(ref, lambda _: "served") == "served"
        assert ref.cell.stats.dropped == 1
    assert life == ["stopped"]


async def test_ticks_do_not_pile_up_behind_a_slow_handler() -> None:
    ref, life, timers = ActorRef[Any]("puppet"), list[str](), list[Timer]()

    async def slow(self: Puppet) -> None:
        timers.append(self.context.tell_self_every(0.001, "tick"))
        await anyio.sleep(0.02)
        assert ref.cell.depth == 2  # this message and one tick

    async with running(tree(puppet(ref, life))):
        await tell_to(ref, slow)
        await until(lambda: len(life) >= 3)
        assert timers[0].pending
        timers[0].cancel()
        assert [timer.pending for timer in timers] == [False]
        await anyio.sleep(0.005)
        count = len(life)
        await anyio.sleep(0.01)
        assert len(life) == count


async def test_an_instance_with_a_timer_under_way_is_not_passivated() -> None:
    life: list[str] = []
    ref = ActorRef[Any]("puppet")
    mailbox = MailboxSpec(key=lambda _: "k", idle_s=0.005)
    async with running(tree(puppet(ref, life, mailbox))):
        await tell_to(ref, lambda self: self.context.tell_self_after(0.05, "late"))
        await until(lambda: "late" in life)
        await until(lambda: life[-1] == "stopped")  # and idle it goes
    assert life == ["late", "stopped"]


# -- pipe_to_self -----------------------------------------------------------------------------------------------


async def test_piped_work_runs_beside_the_mailbox_and_comes_back_as_a_message() -> None:
    ref, life, gate = ActorRef[Any]("puppet"), list[str](), anyio.Event()

    async def work() -> int:
        await gate.wait()
        return 42

    async def fails() -> int:
        raise OSError("disk")

    async with running(tree(puppet(ref, life))):
        await tell_to(ref, lambda self: self.context.pipe_to_self(work(), lambda found: f"found {found}"))
        assert await tell_to(ref, lambda _: "meanwhile") == "meanwhile"
        gate.set()
        await until(lambda: life == ["found 42"])
        await tell_to(ref, lambda self: self.context.pipe_to_self(fails(), str, on_error=lambda error: f"no {error}"))
        await until(lambda: life == ["found 42", "no disk"])


async def test_an_error_of_piped_work_that_nobody_expects_crashes_the_incarnation() -> None:
    ref = ActorRef[Any]("puppet")

    async def fails() -> int:
        raise OSError("disk")

    async with running(tree(puppet(ref, []))) as root:
        await tell_to(ref, lambda self: self.context.pipe_to_self(fails(), str))
        await until(lambda: root.children[0].restarts == 1)
        assert root.children[0].last_error == "OSError: disk"


async def test_piped_work_is_cancelled_with_its_incarnation() -> None:
    ref, life = ActorRef[Any]("puppet"), list[str]()

    async def work() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            life.append("cancelled")
        return ""

    def crash(_: Puppet) -> None:
        raise ValueError

    async with running(tree(puppet(ref, life))):
        await tell_to(ref, lambda self: self.context.pipe_to_self(work(), str))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorStopped):
            await tell_to(ref, crash)
        await until(lambda: life == ["cancelled"])


@pytest.mark.parametrize("fails", [True, False], ids=["with an error", "with a result"])
async def test_piped_work_that_ends_late_says_nothing_to_the_next_incarnation(fails: bool) -> None:
    ref, life, ended = ActorRef[Any]("puppet"), list[str](), anyio.Event()

    async def work() -> str:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await until(lambda: root.children[0].generation == 2 and root.children[0].status == "running")
            ended.set()
            if fails:
                raise OSError("it did not close") from None
        return "late"

    def crash(_: Puppet) -> None:
        raise ValueError

    async with running(tree(puppet(ref, life))) as root:
        await tell_to(ref, lambda self: self.context.pipe_to_self(work(), str))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorStopped):
            await tell_to(ref, crash)
        await ended.wait()
        await anyio.wait_all_tasks_blocked()
        assert await tell_to(ref, lambda _: "well") == "well"
        assert (root.children[0].restarts, life, ref.cell.depth) == (1, [], 0)


async def test_a_late_result_of_piped_work_finds_its_instance_passivated_and_takes_no_room() -> None:
    ref, life, gate = ActorRef[Any]("puppet"), list[str](), anyio.Event()

    async def work() -> str:
        with anyio.CancelScope(shield=True):
            await gate.wait()
        life.append("late")
        return "late"

    def crash(_: Puppet) -> None:
        raise ValueError

    mailbox = MailboxSpec(key=lambda _: "k", idle_s=0.005)
    async with running(tree(puppet(ref, life, mailbox))):
        await tell_to(ref, lambda self: self.context.pipe_to_self(work(), str))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorStopped):
            await tell_to(ref, crash)
        await until(lambda: life == ["stopped"])
        gate.set()
        await until(lambda: life == ["stopped", "late"])
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.depth == 0


# -- stash ------------------------------------------------------------------------------------------------------


class Door(Actor[str]):
    """Stashes all until it is opened."""

    def __init__(self, handled: list[str]) -> None:
        self.open, self.handled = False, handled

    async def receive(self, message: str) -> None:
        if message == "crash":
            raise ValueError
        if message == "open":
            self.open = True
            self.context.unstash_all()
        elif not self.open:
            self.context.stash()
        else:
            self.handled.append(message)


async def test_stashed_messages_come_before_all_that_wait_in_their_order() -> None:
    ref, handled = ActorRef[str]("door"), list[str]()
    async with running(tree(ChildSpec("door", lambda: Door(handled), ref))):
        for message in ("1", "2", "open", "3"):
            await ref.tell(message)
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.depth == 0
    assert handled == ["1", "2", "3"]


async def test_a_crash_loses_no_stashed_message() -> None:
    ref, handled = ActorRef[str]("door"), list[str]()
    async with running(tree(ChildSpec("door", lambda: Door(handled), ref))):
        for message in ("1", "2", "crash", "open"):
            await ref.tell(message)
        await until(lambda: handled == ["1", "2"])


async def test_a_stashed_message_stays_in_the_journal_until_it_is_handled() -> None:
    journal, handled, ref = MemoryJournal(), list[str](), DurableRef[str]("door")
    durability = Durability(journal, "door", str.encode, bytes.decode)
    async with running(tree(ChildSpec("door", lambda: Door(handled), ref, durability=durability))):
        await ref.tell("1")
        await anyio.wait_all_tasks_blocked()
        assert list(journal.entries.values()) == [b"1"]
        await ref.tell("open")
        await until(lambda: not journal.entries)
    assert handled == ["1"]


def test_only_the_handler_of_a_message_puts_it_aside(actors: Actors) -> None:
    """From work beside it, the next message would be put aside when it is handled already."""

    class Careless(Actor[str]):
        async def on_start(self) -> None:
            with pytest.raises(NoMessageInHand, match=f"{self.context.path}: a message is put aside"):
                self.context.stash()

        async def receive(self, message: str) -> None:
            handled.append(message)
            if message == "begin":
                self.context.pipe_to_self(self.beside(), lambda _: "done", on_error=str)
            elif message == "slow":
                await anyio.sleep(10)

        async def beside(self) -> None:
            await anyio.sleep(1)
            self.context.stash()

    handled = list[str]()
    careless = actors.start(Careless)
    careless.tell("begin")
    actors.advance(2)
    refused = "test/careless-1: a message is put aside by the handler that has it in hand, and by nobody else"
    assert handled == ["begin", refused]
    for message in ("begin", "slow"):
        careless.tell(message)
    actors.advance(20)
    assert (handled[2:], careless.stashed) == (["begin", "slow", refused], [])


def test_what_is_stashed_is_as_old_as_it_is_and_accepted_and_not_settled(actors: Actors) -> None:
    door = actors.start_durable(lambda: Door([]))
    for message in ("1", "2"):
        door.tell(message)
    actors.advance(60)
    door.suspend()
    door.tell("3")
    actors.advance(30)
    assert (door.stashed, sorted(door.ref.waiting())) == (["1", "2"], ["1", "2", "3"])

    async def oldest_age_s() -> list[float]:
        return [one["mailbox"]["oldest_age_s"] for one in Inspector(door.ref.cell.supervisor).actors()]

    assert actors.run(oldest_age_s()) == [0.0, 90.0]


async def test_stashed_asks_settle_when_the_actor_ends() -> None:
    ref = ActorRef[Any]("puppet")

    async def ask_and_write_down(said: list[str]) -> None:
        try:
            await tell_to(ref, lambda self: self.context.stash())
        except ActorStopped as error:
            said.append(str(error))

    said: list[str] = []
    async with anyio.create_task_group() as tasks, running(tree(puppet(ref, []))):
        tasks.start_soon(ask_and_write_down, said)
        await anyio.wait_all_tasks_blocked()
        assert said == []
    assert said == ["root/puppet: stopped"]


async def test_a_retry_waits_its_delay_though_stashed_messages_come_before_it() -> None:
    ref, handled, crashes = ActorRef[str]("door"), list[str](), list[float]()

    class Fails(Door):
        async def receive(self, message: str) -> None:
            if message == "fails":
                crashes.append(asyncio.get_running_loop().time())
                if len(crashes) == 1:
                    raise ValueError
            await super().receive(message)

    spec = ChildSpec("door", lambda: Fails(handled), ref, retry=RetryPolicy(delays_s=(0.03,)))
    async with running(tree(spec)):
        await ref.tell("1")
        await ref.tell("fails")
        await until(lambda: len(crashes) == 2)
    assert crashes[1] - crashes[0] >= 0.029


async def test_the_operator_sees_spawned_children() -> None:
    ref, child = ActorRef[Any]("puppet"), ActorRef[str]("a")
    async with running(tree(puppet(ref, []))) as root:
        await tell_to(ref, lambda self: self.context.spawn(ChildSpec("a", lambda: Named("a", []), child)))
        assert [actor["path"] for actor in Inspector(root).actors()] == ["root", "root/puppet", "root/puppet/a"]
