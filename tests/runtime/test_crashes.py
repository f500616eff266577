"""Whoever mends a crash finds it in the log: each is told once with its traceback, wherever it happened."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    BreakerSpec,
    BreakerState,
    ChildSpec,
    Controls,
    Durability,
    DurableRef,
    ForeignError,
    IntensityExceeded,
    MailboxSpec,
    Restart,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    StartFailed,
    Strategy,
    Supervisor,
    SupervisorSpec,
)


class Fragile(Actor[str]):
    """Crashes where the message says."""

    def __init__(self, ill: list[str]) -> None:
        self._ill = ill

    async def on_start(self) -> None:
        if self._ill:
            raise OSError(self._ill.pop())

    async def receive(self, message: str) -> None:
        if message == "pipe":
            self.context.pipe_to_self(self._fail(), str)
        elif message == "start":
            self._ill.append("while it started")
            await self._fail()
        elif message == "handler":
            await self._fail()

    @staticmethod
    async def _fail() -> str:
        raise ValueError("the defect")


async def crashes(
    spec: SupervisorSpec, act: Callable[[], Awaitable[Any]], recovered: Callable[[], bool]
) -> list[MutableMapping[str, Any]]:
    """What the log says with a traceback."""
    with structlog.testing.capture_logs() as logs:
        with anyio.fail_after(20):
            async with running(spec):
                await act()
                await until(recovered)
    return [entry for entry in logs if entry.get("exc_info") is not None]


async def crashes_over(
    message: str,
    worker: Callable[[list[str]], Actor[str]],
    key: Callable[[str], str] | None,
    restart: Restart = Restart.PERMANENT,
    *,
    delays_s: tuple[float, ...] = (0.0,),
) -> list[MutableMapping[str, Any]]:
    """What the log says with a traceback of an actor that is told one message and, when that is over, that all is well.

    :param worker: is given what its incarnations remember
    """
    ill, ref = list[str](), ActorRef[str]("a")
    mailbox, retry = MailboxSpec(key=key), RetryPolicy(delays_s)
    child = ChildSpec("a", lambda: worker(ill), ref, restart, mailbox=mailbox, retry=retry)
    spec = SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))

    async def act() -> None:
        await ref.tell(message)
        await until(lambda: ref.cell.stats.buried + ref.cell.stats.handled == 1)
        await ref.tell("well")

    return await crashes(spec, act, lambda: ref.cell.stats.handled >= 1 and not ref.cell.depth)


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
@pytest.mark.parametrize(
    ("where", "told"), [("handler", ["ValueError"]), ("pipe", ["ValueError"]), ("start", ["ValueError", "OSError"])]
)
async def test_a_crash_of_an_actor_is_told_once_with_its_traceback(where: str, told: list[str], key: Any) -> None:
    found = await crashes_over(where, Fragile, key)
    assert [type(entry["exc_info"]).__name__ for entry in found][: len(told)] == told
    assert all(entry["exc_info"].__traceback__ is not None for entry in found)
    assert len({id(entry["exc_info"]) for entry in found}) == len(found)


class Unspeakable(Exception):
    """Of a library whose error formats what it was not given."""

    def __str__(self) -> str:
        raise AttributeError("code")

    __repr__ = __str__


class Speechless(Fragile):
    async def on_start(self) -> None:
        if self._ill:
            self._ill.pop()
            raise Unspeakable

    @staticmethod
    async def _fail() -> str:
        raise Unspeakable


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
@pytest.mark.parametrize("where", ["handler", "pipe", "start"])
async def test_a_crash_whose_error_has_no_text_is_one_like_any_other(where: str, key: Any) -> None:
    found = await crashes_over(where, Speechless, key)
    assert {type(entry["exc_info"]) for entry in found} == {Unspeakable}
    causes = {cause for entry in found if (cause := entry.get("cause")) is not None}
    assert causes <= {"Unspeakable: its text cannot be made: AttributeError"}


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
async def test_an_error_without_a_text_opens_a_breaker_and_gives_up_a_message(key: Any) -> None:
    ref, journal, mailbox = DurableRef[str]("a"), MemoryJournal(), MailboxSpec(key=key)
    durability = Durability(journal, "a", str.encode, bytes.decode)
    breaker = BreakerSpec((Unspeakable,), failures=2)
    child = ChildSpec(
        "a", lambda: Speechless([]), ref, mailbox=mailbox, breaker=breaker, retry=RetryPolicy(()), durability=durability
    )
    async with running(SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))):
        for _ in range(2):
            await ref.tell("handler")
        await until(lambda: ref.cell.stats.failed == 2)
        assert [letter.cause for _, letter in journal.dead] == ["Unspeakable: its text cannot be made: AttributeError"]
        assert [one.state for one in ref.cell.breakers.by_key.values()] == [BreakerState.OPEN]


async def test_a_child_whose_start_fails_of_an_error_without_a_text_is_named() -> None:
    child = ChildSpec("a", lambda: Speechless(["ill"]), ActorRef[str]("a"))
    with pytest.raises(StartFailed, match=r"^root/a: did not start: Unspeakable: its text cannot be made"):
        await Supervisor(SupervisorSpec("root", [child])).run(lambda: None)


class Several(Actor[str]):
    """Crashes beside its mailbox twice while it handles a message, and over it, or at its stop."""

    async def receive(self, message: str) -> None:
        if message == "well":
            return
        for number in (1, 2):
            self.context.pipe_to_self(self._fail(number), str)
        while self.context.expects_mail:
            await anyio.lowlevel.checkpoint()
        if message == "handler":
            raise ValueError("handler")

    async def on_stop(self) -> None:
        self.context.pipe_to_self(self._fail(3), str)
        while self.context.expects_mail:
            await anyio.lowlevel.checkpoint()

    @staticmethod
    async def _fail(number: int) -> str:
        raise ValueError(f"pipe {number}")


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
@pytest.mark.parametrize(
    ("text", "told"), [("pipes", ["pipe 1", "pipe 2"]), ("handler", ["handler", "pipe 1", "pipe 2"]), ("well", [])]
)
async def test_of_several_crashes_of_one_incarnation_each_is_told(text: str, told: list[str], key: Any) -> None:
    found = await crashes_over(text, lambda ill: Several(), key, delays_s=())
    assert sorted(str(entry["exc_info"]) for entry in found) == [*told, "pipe 3"]


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
async def test_the_crash_that_opens_a_breaker_is_told_with_its_traceback(key: Any) -> None:
    ref, mailbox = ActorRef[str]("a"), MailboxSpec(key=key)
    child = ChildSpec("a", lambda: Fragile([]), ref, mailbox=mailbox, breaker=BreakerSpec((ValueError,), failures=1))
    spec = SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))
    found = await crashes(spec, lambda: ref.tell("handler"), lambda: ref.cell.stats.failed == 1)
    assert told(found) == [("handler failed", "root/a", "ValueError")]


class Panic(BaseException):
    """As an extension raises it that is written in Rust."""


class Panics(Fragile):
    async def on_start(self) -> None:
        if self._ill:
            raise Panic(self._ill.pop())

    async def on_stop(self) -> None:
        raise Panic("at the stop")

    @staticmethod
    async def _fail() -> str:
        raise Panic("the defect")


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
@pytest.mark.parametrize("where", ["handler", "pipe", "start"])
async def test_what_is_no_exception_is_a_crash_like_any_other(where: str, key: Any) -> None:
    found = await crashes_over(where, Panics, key, Restart.TRANSIENT)
    assert {type(entry["exc_info"]) for entry in found} == {ForeignError}
    assert len({id(entry["exc_info"]) for entry in found}) == len(found)
    causes = [str(entry["exc_info"].__cause__) for entry in found]
    assert (causes[0], causes.index("at the stop")) == ("the defect", len(causes) - 1)


async def test_a_crash_of_a_service_is_told_with_its_traceback() -> None:
    runs: list[int] = []

    class Once(Service):
        async def run(self, context: ServiceContext) -> None:
            runs.append(1)
            context.started()
            if len(runs) == 1:
                raise ValueError("the defect")
            await context.stopping.wait()

    spec = SupervisorSpec("root", [ServiceSpec("s", Once)], backoff=Backoff(0.0, jitter=0.0))

    (entry,) = await crashes(spec, nothing, lambda: len(runs) == 2)
    assert (entry["event"], entry["actor"], type(entry["exc_info"])) == ("crashed", "root/s", ValueError)


class AtStop(Actor[str]):
    """Fails in `on_stop`, and at the message "bad"."""

    async def receive(self, message: str) -> None:
        if message == "bad":
            raise OSError(message)

    async def on_stop(self) -> None:
        raise ValueError("the defect")


class ServiceAtStop(Service):
    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()
        raise ValueError("the defect")


class ServiceAtOnce(Service):
    async def run(self, context: ServiceContext) -> None:
        context.started()
        raise ValueError("the defect")


async def nothing() -> None:
    pass


def told(found: list[MutableMapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [(entry["event"], entry["actor"], type(entry["exc_info"]).__name__) for entry in found]


@pytest.mark.parametrize("key", [None, lambda message: message], ids=["one instance", "keyed"])
async def test_a_crash_at_the_stop_is_told_with_its_traceback_and_keeps_nobody_from_stopping(key: Any) -> None:
    ref, instances = ActorRef[str]("a"), 1 if key is None else 3
    child = ChildSpec("a", AtStop, ref, mailbox=MailboxSpec(key=key))
    spec = SupervisorSpec("root", [child, ServiceSpec("s", ServiceAtStop)], intensity=1)

    async def act() -> None:
        for number in range(instances):
            await ref.tell(str(number))

    found = await crashes(spec, act, lambda: ref.cell.stats.handled == instances)
    assert told(found) == [("crashed", f"root/{id}", "ValueError") for id in ["s"] + instances * ["a"]]
    assert ref.cell.stats.restarts == 0


async def test_a_crash_of_who_is_not_restarted_is_told_with_its_traceback() -> None:
    service = ServiceSpec("s", ServiceAtOnce, restart=Restart.TEMPORARY)
    found = await crashes(SupervisorSpec("root", [service]), nothing, lambda: True)
    assert told(found) == [("crashed", "root/s", "ValueError")]


async def test_a_crash_that_is_one_too_many_is_told_with_its_traceback() -> None:
    service = ServiceSpec("s", ServiceAtOnce)
    with structlog.testing.capture_logs() as logs, pytest.raises(IntensityExceeded):
        await Supervisor(SupervisorSpec("root", [service], intensity=0)).run(lambda: None)
    assert told(logs) == [("crashed", "root/s", "ValueError")]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.PERMANENT])
async def test_what_is_no_exception_is_a_crash_too(restart: Restart) -> None:
    runs: list[int] = []

    class Panics(Service):
        async def run(self, context: ServiceContext) -> None:
            runs.append(1)
            if len(runs) == 2:
                raise Panic("while it started")
            context.started()
            if len(runs) == 1:
                raise Panic("the defect")
            await context.stopping.wait()

    service = ServiceSpec("s", Panics, restart=restart)
    spec = SupervisorSpec("root", [service], backoff=Backoff(0.0, jitter=0.0))
    found = await crashes(spec, nothing, lambda: len(runs) == 3)
    assert told(found) == [("crashed", "root/s", "Panic"), ("crashed", "root/s", "Panic")]


async def test_what_is_no_exception_fails_a_start_too() -> None:
    class Panics(Service):
        async def run(self, context: ServiceContext) -> None:
            raise Panic("the defect")

    with pytest.raises(StartFailed, match="root/s: did not start: Panic: the defect"):
        await Supervisor(SupervisorSpec("root", [ServiceSpec("s", Panics)])).run(lambda: None)


async def test_a_crash_at_passivation_is_not_put_down_to_an_earlier_message() -> None:
    ref = ActorRef[str]("a")
    child = ChildSpec("a", AtStop, ref, mailbox=MailboxSpec(key=lambda _: "k", idle_s=0.01))
    spec = SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))
    found = await crashes(spec, lambda: ref.tell("bad"), lambda: ref.cell.stats.restarts >= 2)
    assert told(found)[:2] == [("handler failed", "root/a", "OSError"), ("crashed", "root/a", "ValueError")]
    history = ref.cell.stats.history or ()
    assert [(one.cause, one.message) for one in history][:2] == [
        ("OSError: bad", "str"),
        ("ValueError: the defect", None),
    ]


async def test_a_crash_of_who_is_started_with_others_is_told_too() -> None:
    """Two crash in one turn: the restart of the first takes the second along."""
    refs = {name: ActorRef[str](name) for name in "ab"}
    children = [ChildSpec(name, lambda: Fragile([]), ref) for name, ref in refs.items()]
    spec = SupervisorSpec("root", children, Strategy.ONE_FOR_ALL, backoff=Backoff(0.0, jitter=0.0))
    with structlog.testing.capture_logs() as logs:
        async with running(spec) as root:
            for ref in refs.values():
                await ref.tell("pipe")
            await until(lambda: all(child.restarts == 1 and child.status == "running" for child in root.children))
    assert sorted(told([one for one in logs if one["event"] == "crashed"])) == [
        ("crashed", "root/a", "ValueError"),
        ("crashed", "root/b", "ValueError"),
    ]


async def test_a_start_that_fails_below_a_restarted_supervisor_is_told_with_its_traceback() -> None:
    ill, starts = list[str](), list[int]()

    class Late(Fragile):
        async def on_start(self) -> None:
            starts.append(1)
            await super().on_start()

    inner = SupervisorSpec("inner", [ChildSpec("a", lambda: Late(ill), ActorRef[str]("a"))])
    with structlog.testing.capture_logs() as logs:
        async with running(SupervisorSpec("root", [inner], backoff=Backoff(0.0, jitter=0.0))) as root:
            ill.append("while it started")
            await Controls(root).restart("root/inner")
    assert len(starts) == 3
    [entry] = [one for one in logs if one.get("exc_info") is not None]
    assert (entry["event"], entry["actor"]) == ("crashed", "root/inner")
    assert isinstance(entry["exc_info"].__cause__, OSError)
