"""The circuit breaker: when it opens, what waits behind it, and how it closes."""

import anyio
import pytest
from structlog.testing import capture_logs

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    BreakerChanged,
    BreakerSpec,
    BreakerState,
    ChildSpec,
    Controls,
    Durability,
    DurableRef,
    Inspector,
    MailboxSpec,
    Overflow,
    Request,
    RetryPolicy,
    SupervisorSpec,
)
from trendedge.runtime.breaker import Breaker
from trendedge.runtime.simulation import Actors, Started

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Down(Exception):
    """What the actor depends on does not answer."""


class Question(Request[str]):
    pass


def opened(spec: BreakerSpec | None = None) -> Breaker:
    breaker = Breaker("b", spec or BreakerSpec((Down,)))
    for second in (0.0, 1.0, 2.0):
        breaker.failed(Down(), second)
    return breaker


@pytest.mark.parametrize(
    ("failures_at", "state"),
    [
        ((0.0, 1.0), CLOSED),
        ((0.0, 150.0, 300.0), OPEN),
        ((0.0, 150.0, 301.0), CLOSED),
        ((0.0, 200.0, 301.0, 302.0), OPEN),
    ],
)
def test_three_failures_in_a_row_within_five_minutes_open_it(
    failures_at: tuple[float, ...], state: BreakerState
) -> None:
    breaker = Breaker("b", BreakerSpec((Down,)))
    for at in failures_at:
        breaker.failed(Down(), at)
    assert breaker.state is state


def test_a_success_in_between_begins_the_row_anew() -> None:
    breaker = Breaker("b", BreakerSpec((Down,)))
    for at in (0.0, 1.0):
        breaker.failed(Down(), at)
    breaker.succeeded()
    assert not breaker.failed(Down(), 2.0)
    assert breaker.failures == 1


def test_after_ten_minutes_one_message_probes_and_its_outcome_decides() -> None:
    breaker = opened()
    assert not breaker.admits(601.9)
    assert breaker.retry_in_s(600.0) == 2.0
    assert breaker.admits(602.0)
    assert breaker.state is HALF_OPEN
    assert breaker.failed(Down(), 603.0)  # one failure is enough now
    assert breaker.retry_in_s(603.0) == 600.0
    assert breaker.admits(1203.0)
    breaker.succeeded()
    assert (breaker.state, breaker.failures, breaker.retry_in_s(1204.0)) == (CLOSED, 0, None)


def test_an_instance_that_dies_at_its_start_after_the_wait_has_probed() -> None:
    breaker = opened()
    assert breaker.failed(Down(), 700.0)
    assert breaker.retry_in_s(700.0) == 600.0


def test_a_breaker_that_was_open_is_outdated_when_nobody_has_probed_for_as_long_as_failures_count() -> None:
    breaker = opened()
    assert not breaker.outdated(902.0)
    assert breaker.outdated(902.1)
    assert breaker.admits(800.0)
    assert breaker.admits(900.0)  # the same message, once more
    assert not breaker.outdated(1200.0)
    assert breaker.outdated(1200.1)


def test_each_change_is_an_event_and_an_alert() -> None:
    changes: list[BreakerChanged] = []
    with capture_logs() as logs:
        breaker = opened(BreakerSpec((Down,), on_change=changes.append))
        breaker.admits(700.0)
        breaker.succeeded()
        breaker.succeeded()
    assert [(one.before, one.after, one.cause, one.open_s) for one in changes] == [
        (CLOSED, OPEN, "Down: ", 600.0),
        (OPEN, HALF_OPEN, None, None),
        (HALF_OPEN, CLOSED, None, None),
    ]
    assert [(one["alert"], one["log_level"], one["breaker"], one["cause"], one["open_s"]) for one in logs] == [
        ("breaker_open", "error", "b", "Down: ", 600.0),
        ("breaker_half_open", "warning", "b", None, None),
        ("breaker_closed", "warning", "b", None, None),
    ]


class Depends(Actor[str]):
    """Fails for the keys that are down."""

    def __init__(self, down: set[str], tried: list[str]) -> None:
        self.down, self.tried = down, tried

    async def receive(self, message: str) -> None:
        self.tried.append(message)
        if message[0] in self.down:
            raise Down(message[0])


def child(ref: DurableRef[str], journal: MemoryJournal, actor: Depends, open_s: float) -> ChildSpec[str]:
    return ChildSpec(
        "depends",
        lambda: actor,
        ref,
        mailbox=MailboxSpec(key=lambda message: message[0]),
        retry=RetryPolicy(delays_s=(0.0,) * 4),
        durability=Durability(journal, "depends", str.encode, bytes.decode),
        breaker=BreakerSpec((Down,), open_s=open_s),
    )


def tree(spec: ChildSpec[str]) -> SupervisorSpec:
    return SupervisorSpec("root", [spec], intensity=2, backoff=Backoff(first_s=0.0, jitter=0.0))


async def test_an_open_breaker_holds_up_its_key_alone_and_uses_up_neither_attempts_nor_restarts() -> None:
    ref, journal, down, tried = DurableRef[str]("depends"), MemoryJournal(), {"a"}, list[str]()
    async with running(tree(child(ref, journal, Depends(down, tried), open_s=0.02))) as root:
        for message in ("a1", "a2", "b1"):
            await ref.tell(message)
        # Two attempts close to open it, the third opens it; the probes that follow count as no attempts.
        await until(lambda: tried.count("a1") >= 8)
        assert journal.dead == []
        assert "a2" not in tried
        assert tried.count("b1") == 1
        down.clear()
        await until(lambda: "a2" in tried)
        assert root.children[0].restarts == 0
    assert len(journal.settled) == 3


def test_breakers_of_keys_that_failed_long_ago_are_forgotten(actors: Actors) -> None:
    down = set("abc")
    mailbox = MailboxSpec(key=lambda message: message[0], idle_s=400.0)
    breaker = BreakerSpec((Down,), failures=2, open_s=10_000.0, within_s=300.0)
    depends = actors.start(lambda: Depends(down, []), mailbox=mailbox, breaker=breaker)

    def known() -> str:
        return "".join(str(key) for key in depends.ref.cell.breakers.by_key)

    for message in ("a1", "b1", "b2"):
        depends.tell(message)
    assert known() == "ab"
    actors.advance(200.0)
    depends.tell("c1")
    actors.advance(150.0)
    depends.tell("d1")  # of whichever key: no message needs `a` any more
    assert known() == "bc"
    actors.advance(600.0)
    assert known() == "b"  # `c` went with its instance; what is open is not forgotten


class Fails(Actor[str]):
    """Fails of whatever is to be raised."""

    def __init__(self, errors: list[type[Exception]]) -> None:
        self.errors = errors

    async def receive(self, message: str) -> None:
        if self.errors:
            raise self.errors[0]


async def shown(depends: Started[str]) -> list[str]:
    return [one["state"] for one in Inspector(depends.ref.cell.supervisor).breakers()]


def states_of(changes: list[BreakerChanged]) -> list[BreakerState]:
    return [one.after for one in changes]


def test_a_probe_that_is_given_up_over_an_error_of_its_own_closes_the_breaker(actors: Actors) -> None:
    """Whatever the actor depends on has answered."""
    changes, errors = list[BreakerChanged](), list[type[Exception]]([Down])
    breaker = BreakerSpec((Down,), failures=1, open_s=60.0, on_change=changes.append)
    depends = actors.start(lambda: Fails(errors), breaker=breaker, retry=RetryPolicy(delays_s=(5.0,)))
    depends.tell("a")
    errors[:] = [ValueError]
    actors.advance(61.0)
    assert (states_of(changes), depends.mailbox) == ([OPEN, HALF_OPEN], ["a"])  # it is tried again
    actors.advance(10.0)
    assert (states_of(changes), depends.mailbox) == ([OPEN, HALF_OPEN, CLOSED], [])
    assert depends.ref.cell.breakers.by_key == {}


def test_a_breaker_whose_probe_is_in_hand_is_not_outdated_however_long_that_takes(actors: Actors) -> None:
    class Slow(Actor[str]):
        async def receive(self, message: str) -> None:
            await anyio.sleep(40.0)
            raise Down

    changes = list[BreakerChanged]()
    breaker = BreakerSpec((Down,), failures=1, within_s=10.0, open_s=20.0, on_change=changes.append)
    depends = actors.start(Slow, breaker=breaker)
    depends.tell("a")
    actors.advance(40.0 + 20.0 + 30.0)
    assert actors.run(shown(depends)) == ["half_open"]  # whoever looks forgets what is outdated
    actors.advance(20.0)
    assert states_of(changes) == [OPEN, HALF_OPEN, OPEN]


def test_whoever_hears_that_an_outdated_breaker_is_closed_may_look_at_the_others(actors: Actors) -> None:
    heard = list[str]()

    def look(change: BreakerChanged) -> None:
        if change.after is CLOSED:
            heard.extend(one["state"] for one in Inspector(depends.ref.cell.supervisor).breakers())

    mailbox = MailboxSpec(key=lambda message: message[0])
    breaker = BreakerSpec((Down,), failures=1, within_s=0.0, open_s=50.0, on_change=look)
    depends = actors.start(lambda: Depends(set("abc"), []), mailbox=mailbox, breaker=breaker)
    for message in ("a1", "b1", "c1"):
        depends.tell(message, deadline_s=10.0)
    actors.advance(200.0)
    depends.tell("d1")
    assert (heard[-1], depends.ref.cell.breakers.by_key, depends.ref.cell.stats.restarts) == ("closed", {}, 3)


def test_a_breaker_is_half_open_from_the_moment_at_which_a_message_probes(actors: Actors) -> None:
    """One that expires, or is dropped, while it waits probes nothing, and the next one is the probe."""
    changes, errors = list[BreakerChanged](), list[type[Exception]]([Down])
    breaker = BreakerSpec((Down,), failures=1, open_s=60.0, on_change=changes.append)
    depends = actors.start(lambda: Fails(errors), breaker=breaker)
    depends.tell("a", deadline_s=30.0)
    actors.advance(100.0)
    assert (states_of(changes), depends.mailbox, depends.ref.cell.stats.expired) == ([OPEN], [], 1)
    errors.clear()
    depends.tell("b")
    assert (states_of(changes), depends.handled) == ([OPEN, HALF_OPEN, CLOSED], 1)


def test_nothing_probes_while_the_actor_is_suspended(actors: Actors) -> None:
    changes, errors = list[BreakerChanged](), list[type[Exception]]([Down])
    breaker = BreakerSpec((Down,), failures=1, open_s=60.0, on_change=changes.append)
    depends = actors.start(lambda: Fails(errors), breaker=breaker)
    depends.tell("a")
    depends.ref.cell.suspend()
    actors.advance(100.0)
    assert states_of(changes) == [OPEN]
    errors.clear()
    depends.ref.cell.resume()
    actors.advance(1.0)
    assert states_of(changes) == [OPEN, HALF_OPEN, CLOSED]


@pytest.mark.parametrize("tell", [False, True], ids=["looked at", "told of another key"])
def test_an_open_breaker_that_nobody_probes_is_closed_and_forgotten(tell: bool, actors: Actors) -> None:
    """It is when its messages have expired or were dropped, and no others come."""
    changes = list[BreakerChanged]()
    mailbox = MailboxSpec(1, Overflow.DROP_OLDEST, key=lambda message: message[0])
    breaker = BreakerSpec((Down,), failures=1, open_s=60.0, within_s=300.0, on_change=changes.append)
    depends = actors.start(lambda: Depends({"a"}, []), mailbox=mailbox, breaker=breaker)
    depends.tell("a1")
    depends.tell("b1")  # drops it
    actors.advance(200.0)
    assert set(depends.ref.cell.breakers.by_key) == {"a"}
    actors.advance(200.0)
    if tell:
        depends.tell("b2")
    else:
        assert actors.run(shown(depends)) == ["closed"]
    assert depends.ref.cell.breakers.by_key == {}
    assert [(one.name, one.after) for one in changes][-1] == (f"{depends.path}[a]", CLOSED)


def test_a_listener_that_raises_costs_neither_an_answer_nor_room(actors: Actors) -> None:
    changes: list[BreakerState] = []
    down = [True]

    def listen(change: BreakerChanged) -> None:
        changes.append(change.after)
        raise OSError("the alerts are down")

    class Answers(Actor[Question]):
        async def receive(self, message: Question) -> str:
            if down:
                raise Down
            return "answer"

    breaker = BreakerSpec((Down,), failures=1, open_s=10.0, on_change=listen)
    answers = actors.start(Answers, breaker=breaker)
    actors.loop.call_later(5.0, down.clear)
    assert answers.ask(Question()) == "answer"
    assert changes == [OPEN, HALF_OPEN, CLOSED]
    assert (answers.handled, answers.failures, answers.ref.cell.depth) == (1, 1, 0)
    failed = [line for line in actors.log if line["event"] == "breaker listener failed"]
    assert [str(line["exc_info"]) for line in failed] == ["the alerts are down"] * 3


async def test_an_operator_closes_a_breaker_by_hand() -> None:
    ref, journal, down, tried = DurableRef[str]("depends"), MemoryJournal(), {"a"}, list[str]()
    async with running(tree(child(ref, journal, Depends(down, tried), open_s=600))):
        await ref.tell("a1")
        await until(lambda: any(one.state is OPEN for one in ref.cell.breakers.by_key.values()))
        assert len(tried) == 3
        assert not ref.cell.reset_breaker("root/depends[b]")
        down.clear()
        assert ref.cell.reset_breaker("root/depends[a]")
        await until(lambda: bool(journal.settled))
    assert len(tried) == 4


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_a_probe_that_fails_at_the_start_opens_it_again_and_uses_up_no_restarts(keyed: bool) -> None:
    ref, down, starts, handled = ActorRef[str]("needs"), set[str](), list[bool](), list[str]()

    class Needs(Actor[str]):
        async def on_start(self) -> None:
            starts.append(bool(down))
            if down:
                raise Down

        async def receive(self, message: str) -> None:
            if down:
                raise Down
            handled.append(message)

    mailbox = MailboxSpec(key=(lambda message: message[0]) if keyed else None)
    breaker = BreakerSpec((Down,), failures=1, open_s=0.02)
    needs = ChildSpec("needs", Needs, ref, mailbox=mailbox, breaker=breaker)
    async with running(SupervisorSpec("root", [needs], intensity=2, backoff=Backoff(first_s=0.0, jitter=0.0))):
        await ref.tell("a1")
        await until(lambda: handled == ["a1"])
        down.add("a")
        await ref.tell("a2")
        await until(lambda: starts.count(True) >= 6)
        down.clear()
        await until(lambda: handled == ["a1", "a2"])


async def test_what_waits_behind_an_open_breaker_at_the_stop_stays_in_the_journal() -> None:
    ref, journal, tried = DurableRef[str]("depends"), MemoryJournal(), list[str]()
    spec = child(ref, journal, Depends({"a"}, tried), open_s=600)
    async with running(tree(spec)):
        await ref.tell("a1")
        await until(lambda: len(tried) == 3)
    assert list(journal.entries.values()) == [b"a1"]
    assert journal.dead == []


async def test_an_open_breaker_outlives_the_restart_of_its_supervisor() -> None:
    ref, journal, tried = DurableRef[str]("depends"), MemoryJournal(), list[str]()
    spec = child(ref, journal, Depends({"a"}, tried), open_s=600)
    async with running(SupervisorSpec("root", [tree(spec)])) as root:
        await ref.tell("a1")
        await until(lambda: len(tried) == 3)
        await Controls(root).restart("root/root")
        await anyio.wait_all_tasks_blocked()
        assert [one["state"] for one in Inspector(root).breakers()] == ["open"]
    assert len(tried) == 3


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
def test_a_drain_leaves_what_waits_behind_an_open_breaker(keyed: bool, actors: Actors) -> None:
    tried: list[str] = []
    mailbox = MailboxSpec(key=(lambda message: message[0]) if keyed else None, drain=True)
    breaker = BreakerSpec((Down,), failures=1)
    depends = actors.start(lambda: Depends({"a"}, tried), mailbox=mailbox, breaker=breaker)
    for message in ("a1", "a2"):
        depends.tell(message)
    actors.advance(1.0)
    stop_asked_at = actors.now
    actors.stop()
    assert (actors.now, tried, depends.mailbox) == (stop_asked_at, ["a1"], [])
    assert [line["event"] for line in actors.log if line["event"] == "child overran its shutdown"] == []
