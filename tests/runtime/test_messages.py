"""What happens to a message before its handler: refusal, deadlines, coalescing, asks in a circle."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypedDict

import anyio
import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    AskCycle,
    AskTimeout,
    ChildSpec,
    DeadlineExceeded,
    Durability,
    DurableRef,
    Inspector,
    MailboxFull,
    MailboxSpec,
    MessageDropped,
    MessageRefused,
    MessageWithoutKey,
    Overflow,
    Request,
    RetryPolicy,
    Supervisor,
    SupervisorSpec,
)
from trendedge.runtime.actor import Context
from trendedge.runtime.entity import Entity
from trendedge.runtime.simulation import Actors
from trendedge.runtime.simulation.actors import Started


@dataclass(frozen=True)
class Ping(Request[str]):
    name: str = ""


@dataclass(frozen=True)
class Pong:
    name: str = ""


type Either = Ping | Pong


class Takes[M](Actor[M]):
    """Waits for a permit, then writes the message down and answers it."""

    def __init__(self, permits: anyio.Semaphore | None = None, handled: list[Any] | None = None) -> None:
        self.permits, self.handled = permits, handled if handled is not None else []

    async def receive(self, message: M) -> Any:
        if self.permits is not None:
            await self.permits.acquire()
        self.handled.append(message)
        return message


class TakesPing(Takes[Ping]):
    pass


class TakesEither(Takes[Either]):
    pass


class TakesFloat(Takes[float]):
    pass


class TakesAnything(Takes[Any]):
    pass


class TakesListOrNone(Takes[list[int] | None]):
    pass


class Named(TypedDict):
    name: str


class TakesNamed(Takes[Named]):
    pass


class TakesAnnotated(Takes[Annotated[Ping, "with a note"]]):
    pass


class Keyed[K, M](Takes[M]):
    pass


class Notified[M](Keyed[M, M | Pong]):
    pass


class Lists[M](Keyed[str, list[M]]):
    pass


class TakesPingByNumber(Keyed[int, Ping]):
    pass


class TakesPingAndNotices(Notified[Ping]):
    pass


class TakesLists(Lists[int]):
    pass


class TakesPingWhateverItsKey[K](Keyed[K, Ping]):
    pass


class TakesWhatComesLater(Takes["Later"]):
    pass


class TakesOneOfTwo(Takes["Later | Ping"]):
    pass


class TakesListsOfItself(Takes["list[TakesListsOfItself]"]):
    pass


class TakesWhatNobodyKnows(Takes["Nobody"]):  # type: ignore[name-defined]
    pass


type OneOrMore[M] = M | list[M]
type Quoted = "Later"
type Unknown = Nobody  # type: ignore[name-defined]  # noqa: F821


class TakesOneOrMore(Takes[OneOrMore[Ping]]):
    pass


class TakesQuoted(Takes[Quoted]):
    pass


class TakesUnknown(Takes[Unknown]):
    pass


class Several[M](Takes[OneOrMore[M]]):
    pass


class TakesSeveral(Several[Ping]):
    pass


@dataclass(frozen=True)
class Later:
    pass


class TakesWhatIsNotSaid[M](Keyed[int, M]):
    pass


def tree(*children: ChildSpec[Any]) -> SupervisorSpec:
    return SupervisorSpec("root", children)


# -- refusal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, str], ids=["one instance", "keyed"])
@pytest.mark.parametrize(
    ("actor", "good", "bad"),
    [
        (TakesPing, [Ping()], [Pong(), "ping", None]),
        (TakesEither, [Ping(), Pong()], ["ping", 1]),
        (TakesFloat, [1.5, 1], ["1.5", None]),
        (TakesListOrNone, [[1], None], [(1,), 0]),
        (TakesAnything, [1, "1", None], []),
        (TakesNamed, [{"name": "n"}], ["n", None]),
        (TakesAnnotated, [Ping()], [Pong()]),
        (TakesPingByNumber, [Ping()], [1, Pong()]),
        (TakesPingAndNotices, [Ping(), Pong()], [1, None]),
        (TakesLists, [[1]], [1, "1"]),
        (TakesPingWhateverItsKey, [Ping()], [Pong()]),
        (TakesWhatIsNotSaid, [1, Ping()], []),
        (TakesWhatComesLater, [Later()], [Ping(), None]),
        (TakesOneOfTwo, [Later(), Ping()], [Pong()]),
        (TakesListsOfItself, [[]], [Ping()]),
        (TakesWhatNobodyKnows, [1, Ping()], []),
        (TakesOneOrMore, [Ping(), [Ping()]], [Pong(), None]),
        (TakesQuoted, [Later()], [Ping()]),
        (TakesUnknown, [1, Ping()], []),
        (TakesSeveral, [Ping(), [Ping()]], [Pong(), None]),
    ],
)
async def test_a_message_of_a_type_that_the_actor_does_not_handle_is_refused_at_tell(
    actor: type[Takes[Any]], good: list[Any], bad: list[Any], key: Any
) -> None:
    ref, handled = ActorRef[Any]("a"), list[Any]()
    async with running(tree(ChildSpec("a", lambda: actor(None, handled), ref, mailbox=MailboxSpec(key=key)))):
        for message in bad:
            with pytest.raises(MessageRefused):
                await ref.tell(message)
            with pytest.raises(MessageRefused):
                ref.tell_nowait(message)
            with pytest.raises(MessageRefused):
                await ref.ask(message, timeout_s=5)
        for message in good:
            await ref.tell(message)
        await anyio.wait_all_tasks_blocked()
        assert ref.cell.depth == 0
    assert len(handled) == len(good)


async def test_a_type_in_quotes_that_is_none_of_the_module_s_refuses_nothing() -> None:
    class Ping:
        pass

    class TakesThisPing(Takes["Ping"]):
        pass

    type This = "Ping"

    class TakesAnAliasOfIt(Takes[This]):
        pass

    for actor in (TakesThisPing, TakesAnAliasOfIt):
        ref, handled = ActorRef[Any]("a"), list[Any]()
        async with running(tree(ChildSpec("a", partial(actor, None, handled), ref))):
            await ref.tell(Ping())
            await anyio.wait_all_tasks_blocked()
        assert len(handled) == 1


async def test_the_refusal_names_the_type_and_what_would_be_handled() -> None:
    ref = ActorRef[Any]("a")
    async with running(tree(ChildSpec("a", TakesEither, ref))):
        with pytest.raises(MessageRefused, match=r"^root/a: does not handle str, only Ping, Pong$"):
            await ref.tell("secret")


async def test_a_refused_message_is_not_journalled() -> None:
    journal, ref = MemoryJournal(), DurableRef[Any]("a")
    durability = Durability(journal, "a", lambda _: b"", lambda _: Ping())
    async with running(tree(ChildSpec("a", TakesPing, ref, durability=durability))):
        with pytest.raises(MessageRefused):
            await ref.tell(Pong())
    assert not journal.entries
    assert not journal.settled


# -- deadlines --------------------------------------------------------------------------------------------------


async def test_a_message_whose_turn_comes_after_its_deadline_is_not_handled_but_counted() -> None:
    ref, permits, handled = ActorRef[Any]("a"), anyio.Semaphore(0), list[Any]()
    said: list[str] = []

    async def ask() -> None:
        try:
            await ref.ask(Ping("asked"), timeout_s=5, deadline_s=0.01)
        except DeadlineExceeded as error:
            said.append(error.message)

    async with running(tree(ChildSpec("a", lambda: TakesPing(permits, handled), ref))), anyio.create_task_group() as tg:
        await ref.tell(Ping("first"), deadline_s=0.01)  # begun in time; how long it takes is its own affair
        await anyio.wait_all_tasks_blocked()
        await ref.tell(Ping("late"), deadline_s=0.01)
        tg.start_soon(ask)
        await ref.tell(Ping("patient"), deadline_s=60)
        await anyio.sleep(0.03)
        for _ in range(2):
            permits.release()
        await anyio.wait_all_tasks_blocked()
        assert (ref.cell.stats.expired, ref.cell.depth) == (2, 0)
    assert [message.name for message in handled] == ["first", "patient"]
    assert said == ["Ping"]


@pytest.mark.parametrize("asks", [False, True])
def test_a_deadline_counts_from_the_call_also_for_who_waits_for_room(asks: bool, actors: Actors) -> None:
    handled: list[str] = []

    class Slow(Actor[Ping]):
        async def receive(self, message: Ping) -> None:
            handled.append(message.name)
            await anyio.sleep(1.0)

    slow = actors.start(Slow, mailbox=MailboxSpec(2))
    for name in ("in hand", "waits"):
        slow.tell(Ping(name))
    if asks:  # let in after 1 s, and taken after 2
        with pytest.raises(AskTimeout):
            actors.run(slow.ref.ask(Ping("late"), timeout_s=1.5, deadline_s=1.5))
    else:
        slow.tell(Ping("late"), deadline_s=1.5)
    actors.advance(5.0)
    assert handled == ["in hand", "waits"]
    assert slow.ref.cell.stats.expired == 1


# -- coalescing -------------------------------------------------------------------------------------------------

BY_NAME = MailboxSpec(2, Overflow.COALESCE, coalesce=lambda message: message.name)


@pytest.mark.parametrize("key", [None, lambda message: message.name[0]], ids=["one instance", "keyed"])
async def test_a_later_message_takes_the_place_of_the_waiting_one_with_its_key(key: Any) -> None:
    ref, permits, handled = ActorRef[Any]("a"), anyio.Semaphore(0), list[Any]()
    mailbox = MailboxSpec(3, Overflow.COALESCE, coalesce=lambda message: message.name, key=key)
    first, second, other, third = Ping("k"), Ping("k"), Ping("k2"), Ping("k")
    async with running(tree(ChildSpec("a", lambda: TakesPing(permits, handled), ref, mailbox=mailbox))):
        await ref.tell(first)
        await anyio.wait_all_tasks_blocked()  # in hand: it is not replaced any more
        for message in (second, other, third):
            await ref.tell(message)
        assert (ref.cell.depth, ref.cell.stats.dropped) == (3, 1)
        with pytest.raises(MailboxFull):
            await ref.tell(Ping("k3"))
        for _ in range(4):
            permits.release()
        await anyio.wait_all_tasks_blocked()
        await ref.tell(first)  # nothing waits that it could replace
        await anyio.wait_all_tasks_blocked()
        assert (ref.cell.depth, ref.cell.stats.dropped) == (0, 1)
    assert [id(message) for message in handled] == [id(one) for one in (first, third, other, first)]


async def test_the_ask_that_was_replaced_is_told_so_and_the_later_one_is_answered() -> None:
    ref, permits, said = ActorRef[Any]("a"), anyio.Semaphore(0), list[str]()

    async def ask() -> None:
        try:
            said.append(str(await ref.ask(Ping("k"), timeout_s=5)))
        except MessageDropped as error:
            said.append(error.why)

    spec = ChildSpec("a", lambda: TakesPing(permits), ref, mailbox=BY_NAME)
    async with running(tree(spec)), anyio.create_task_group() as tasks:
        await ref.tell(Ping("in hand"))
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
        assert said == ["a later message took its place"]
        permits.release()
        permits.release()
    assert said[1:] == ["Ping(name='k')"]


class Unready(Actor[Ping]):
    """Cannot start until it may, and fails over every message then."""

    def __init__(self, may_start: list[bool], begun: list[int], error: type[Exception]) -> None:
        self._may_start, self._begun, self._error = may_start, begun, error

    async def on_start(self) -> None:
        if not self._may_start:
            raise self._error

    async def receive(self, message: Ping) -> None:
        self._begun.append(id(message))
        raise ValueError


def unready(actors: Actors, begun: list[int], error: type[Exception]) -> tuple[Started[Ping], list[bool]]:
    may_start = list[bool]()
    mailbox = MailboxSpec(3, Overflow.COALESCE, coalesce=lambda message: message.name, key=lambda message: message.name)
    retry = RetryPolicy(delays_s=(60.0, 60.0), outage=(OSError,), outage_delays_s=(60.0,))
    return actors.start(lambda: Unready(may_start, begun, error), mailbox=mailbox, retry=retry), may_start


def test_what_takes_the_place_of_a_message_has_its_own_attempts_and_no_delay(actors: Actors) -> None:
    """An instance that dies while it starts has failed over the message at the head of its line."""
    begun, first, second = list[int](), Ping("x"), Ping("x")
    actor, may_start = unready(actors, begun, ValueError)
    actor.tell(first)
    actors.advance(70)
    assert (actor.failures, actor.mailbox) == (2, [first])
    may_start.append(True)
    actor.tell(second)
    actors.advance(1)  # the pause of its instance alone
    assert begun == [id(second)]
    actors.advance(200)
    assert begun == [id(second)] * 3
    assert actor.ref.cell.stats.buried == 1


def test_what_takes_the_place_of_a_message_waits_for_the_end_of_an_outage_all_the_same(actors: Actors) -> None:
    actor, may_start = unready(actors, [], OSError)
    for _ in range(3):
        actor.tell(Ping("x"))
    assert actor.failures == 1
    may_start.append(True)
    actors.advance(59)
    assert actor.failures == 1


async def test_what_was_given_up_before_it_was_begun_is_replaced_by_nothing() -> None:
    """A keyed instance that dies while it starts is charged to the message at the head of its line."""
    handled: list[str] = []
    ill = [True]

    class Sickly(Actor[Ping]):
        async def on_start(self) -> None:
            if ill:
                raise OSError(ill.pop())

        async def receive(self, message: Ping) -> None:
            handled.append(message.name)

    ref = ActorRef[Ping]("a")
    mailbox = MailboxSpec(3, Overflow.COALESCE, coalesce=lambda message: message.name, key=lambda message: message.name)
    async with running(tree(ChildSpec("a", Sickly, ref, mailbox=mailbox))):
        await ref.tell(Ping("x"))
        await until(lambda: ref.cell.stats.buried == 1)
        await ref.tell(Ping("x"))
        await until(lambda: handled == ["x"])


def test_coalesce_needs_its_key_and_a_durable_mailbox_refuses_to_drop() -> None:
    with pytest.raises(ValueError, match="belong together"):
        MailboxSpec(overflow=Overflow.COALESCE)
    with pytest.raises(ValueError, match="belong together"):
        MailboxSpec(overflow=Overflow.FAIL, coalesce=lambda message: message)
    with pytest.raises(ValueError, match="at least 1"):
        MailboxSpec(capacity=0)


@pytest.mark.parametrize("mailbox", [BY_NAME, MailboxSpec(overflow=Overflow.DROP_OLDEST)])
def test_a_durable_mailbox_that_would_drop_is_refused(mailbox: MailboxSpec) -> None:
    durability = Durability(MemoryJournal(), "a", lambda _: b"", lambda _: Ping())
    with pytest.raises(ValueError, match="may not drop what it has acknowledged"):
        ChildSpec("a", TakesPing, DurableRef[Any]("a"), mailbox=mailbox, durability=durability)


# -- asks in a circle -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AskAlong(Request[str]):
    """Ask the first of these to ask the next."""

    route: tuple[tuple[ActorRef[Any], str], ...]
    key: str = "k"


class Asker(Actor[AskAlong]):
    declared = (AskCycle,)

    async def receive(self, message: AskAlong) -> str:
        if not message.route:
            return "end"
        (ref, key), *rest = message.route
        return await ref.ask(AskAlong(tuple(rest), key), timeout_s=2)


@pytest.mark.parametrize(
    ("names", "cycle"),
    [
        ("aa", "root/a -> root/a"),
        ("aba", "root/a -> root/b -> root/a"),
        ("abcb", "root/b -> root/c -> root/b"),
        ("abcda", "root/a -> root/b -> root/c -> root/d -> root/a"),
    ],
)
async def test_asking_in_a_circle_fails_at_once_with_the_circle_in_the_error(names: str, cycle: str) -> None:
    refs = {name: ActorRef[Any](name) for name in "abcd"}
    async with running(tree(*(ChildSpec(name, Asker, ref) for name, ref in refs.items()))):
        route = tuple((refs[name], "k") for name in names[1:])
        with anyio.fail_after(1), pytest.raises(AskCycle) as failure:
            await refs[names[0]].ask(AskAlong(route), timeout_s=5)
        assert " -> ".join(failure.value.cycle) in _rotations(cycle)
        assert await refs["a"].ask(AskAlong(((refs["b"], "k"), (refs["c"], "k"))), timeout_s=5) == "end"


def _rotations(cycle: str) -> list[str]:
    names = cycle.split(" -> ")[:-1]
    return [" -> ".join([*names[at:], *names[:at], names[at]]) for at in range(len(names))]


async def test_who_has_been_answered_waits_no_longer_and_closes_no_circle() -> None:
    """Who answers and takes its next message at once asks before the one that it has answered has its turn."""
    refs, gate, said = {name: ActorRef[Any](name) for name in "ab"}, anyio.Event(), list[Any]()

    class Answers(Actor[Ping | AskAlong]):
        async def receive(self, message: Ping | AskAlong) -> str:
            if message == Ping("first"):
                await gate.wait()
            if message == Ping("last"):
                said.append(await refs["a"].ask(AskAlong(()), timeout_s=5))
            return "answer"

    children = [ChildSpec("a", Asker, refs["a"]), ChildSpec("b", Answers, refs["b"])]
    async with running(tree(*children)), anyio.create_task_group() as tasks:
        await refs["b"].tell(Ping("first"))
        tasks.start_soon(lambda: refs["a"].ask(AskAlong(((refs["b"], "k"),)), timeout_s=5))
        await anyio.wait_all_tasks_blocked()  # the ask of `a` waits in the mailbox of `b`
        await refs["b"].tell(Ping("last"))
        gate.set()
        await until(lambda: bool(said))
    assert said == ["end"]


async def test_one_instance_of_a_keyed_actor_may_ask_another_but_not_itself() -> None:
    ref = ActorRef[Any]("a")
    async with running(tree(ChildSpec("a", Asker, ref, mailbox=MailboxSpec(key=lambda message: message.key)))):
        assert await ref.ask(AskAlong(((ref, "other"),), "one"), timeout_s=5) == "end"
        with pytest.raises(AskCycle, match=r"root/a\[other\] -> root/a\[one\] -> root/a\[other\]"):
            await ref.ask(AskAlong(((ref, "other"), (ref, "one")), "one"), timeout_s=5)


async def test_work_beside_the_mailbox_may_ask_its_own_actor() -> None:
    ref, said = ActorRef[Any]("a"), list[Any]()

    class AsksItselfBeside(Actor[Any]):
        async def receive(self, message: Any) -> str:
            if isinstance(message, Ping) and message.name == "begin":
                self.context.pipe_to_self(ref.ask(Ping("inner"), timeout_s=5), lambda answer: ["got", answer])
            elif isinstance(message, list):
                said.extend(message)
            return "answer"

    async with running(tree(ChildSpec("a", AsksItselfBeside, ref))):
        await ref.ask(Ping("begin"), timeout_s=5)
        await anyio.wait_all_tasks_blocked()
    assert said == ["got", "answer"]


async def test_the_operator_sees_who_waits_on_whom() -> None:
    refs = {name: ActorRef[Any](name) for name in "ab"}
    gate = anyio.Semaphore(0)

    class Waits(Takes[AskAlong]):
        pass

    children = [ChildSpec("a", Asker, refs["a"]), ChildSpec("b", lambda: Waits(gate), refs["b"])]
    async with running(SupervisorSpec("root", children)) as root, anyio.create_task_group() as tasks:
        inspector = Inspector(root)
        tasks.start_soon(lambda: refs["a"].ask(AskAlong(((refs["b"], "k"),)), timeout_s=5))
        await anyio.wait_all_tasks_blocked()
        waiting = inspector.find("root/a")
        assert waiting is not None
        assert waiting["waiting_on"] == [{"key": None, "on": "root/b"}]
        gate.release()
        await anyio.wait_all_tasks_blocked()
        waiting = inspector.find("root/a")
        assert waiting is not None
        assert waiting["waiting_on"] == []


async def test_what_is_sent_before_the_first_start_is_refused_then_if_the_actor_does_not_handle_it() -> None:
    handled, ref = list[Any](), ActorRef[Any]("a")
    root = Supervisor(SupervisorSpec("root", [ChildSpec("a", lambda: TakesPing(handled=handled), ref)]))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(MessageRefused):
                    await ref.ask(AskAlong(()), timeout_s=10)

            tasks.start_soon(ask)
            await ref.tell(Pong())
            await ref.tell(Ping("first"))
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(root.run, lambda: None)
            await until(lambda: handled == [Ping("first")])
            assert (ref.cell.depth, ref.cell.stats.dropped) == (0, 2)
            root.request_stop()


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "durable"])
async def test_a_message_without_a_key_is_refused(durable: bool) -> None:
    journal = MemoryJournal()
    keyed = MailboxSpec(10, key=lambda message: None if message.endswith("nobody") else message)  # type: ignore[arg-type, return-value]  # what mypy would refuse
    ref: ActorRef[Any] | DurableRef[Any] = DurableRef("a") if durable else ActorRef("a")
    durability = Durability(journal, "a", str.encode, bytes.decode) if durable else None
    spec = ChildSpec("a", TakesAnything, ref, mailbox=keyed, durability=durability)
    async with running(SupervisorSpec("root", [spec])):
        with pytest.raises(MessageWithoutKey, match="root/a: str has no key"):
            await ref.tell("for nobody")
        assert ref.cell.depth == 0
    assert journal.entries == {}


def test_a_line_whose_head_was_dropped_waits_for_its_retry_no_longer(actors: Actors) -> None:
    handled = list[tuple[str, int]]()

    class Tries(Actor[str]):
        async def receive(self, message: str) -> None:
            if message == "a1":
                raise ValueError(message)
            handled.append((message, round(actors.now)))
            if message == "b1":
                await anyio.sleep(1)

    mailbox = MailboxSpec(3, overflow=Overflow.DROP_OLDEST, key=lambda message: message[0])
    actor = actors.start(Tries, mailbox=mailbox, retry=RetryPolicy((50.0,)))
    for message in ("a1", "a2", "b1", "b2"):
        actor.tell(message)
    actors.advance(10)
    assert handled == [("b1", 0), ("a2", 0), ("b2", 1)]


@pytest.mark.parametrize("idle_s", [0.0, 0.3])
def test_an_instance_that_has_something_under_way_is_looked_at_now_and_then_alone(
    idle_s: float, actors: Actors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its timer is not told when there is nothing left to wait for; looking without a pause would burn a core."""
    looks, idle = 0, Entity._idle

    def counted(entity: Entity, context: Context) -> bool:
        nonlocal looks
        looks += 1
        return idle(entity, context)

    class Waits(Actor[str]):
        async def receive(self, message: str) -> None:
            self.context.tell_self_after(10, "later")
            self.context.tell_self_after(100, "never").cancel()

    monkeypatch.setattr(Entity, "_idle", counted)
    actor = actors.start(Waits, mailbox=MailboxSpec(key=lambda _: "k", idle_s=idle_s))
    actor.tell("begin")
    actors.advance(9.9)
    assert 8 <= looks <= 11


def test_a_suspended_instance_that_has_asked_for_its_end_waits_for_its_first_message(
    actors: Actors, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, wait = 0, Entity._wait

    async def counted(entity: Entity, timeout_s: float | None) -> bool:
        nonlocal waits
        waits += 1
        return await wait(entity, timeout_s)

    class Stops(Actor[str]):
        async def on_start(self) -> None:
            self.context.stop()

        async def receive(self, message: str) -> None:
            pass

    monkeypatch.setattr(Entity, "_wait", counted)
    actor = actors.start(Stops, mailbox=MailboxSpec(key=lambda _: "k", idle_s=0.0))
    actor.suspend()
    actor.tell("first")
    actors.advance(10)
    assert waits < 20
    actor.resume()
    actors.advance(1)
    assert actor.handled == 1
