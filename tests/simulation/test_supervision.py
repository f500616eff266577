"""The runtime by itself over many seeds: nothing may break, everything must happen, and no safeguard is idle."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.trees import run_tree
from trendedge.runtime import ChildSpec, RetryPolicy, crashes
from trendedge.runtime.breaker import Breakers
from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child
from trendedge.runtime.delivery import Delivery
from trendedge.runtime.entity import Entity
from trendedge.runtime.intensity import Intensity
from trendedge.runtime.marks import Marks
from trendedge.runtime.room import Room, Waiter
from trendedge.runtime.simulation.campaign import run_seeds
from trendedge.runtime.simulation.journal import Stored
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.writers import Writers

SEEDS = range(150)
MOST_SEEDS = 400
SOMETIMES = [
    "ready",
    "gave up",
    "suspended",
    "restarted",
    "child added",
    "child removed",
    "died at the start",
    "broker down",
    "overran",
    "expired",
    "dropped",
    "given up",
    "ask done",
    "ask ActorStopped",
    "ask AskTimeout",
    "ask DeadlineExceeded",
    "ask LookupError",
    "ask MailboxFull",
    "ask MessageDropped",
    *(f"store.{fault}" for fault in ("reply_lost", "late", "refused", "slow", "down")),
    *(f"durable tell {how}" for how in ("done", "JournalUnavailable", "ActorStopped", "MailboxFull")),
    "duplicate",
    "inherited",
    "spawned",
    "child back",
    *(f"{what} cancelled" for what in ("ask", "tell", "durable tell", "inner ask", "inner tell", "spawn")),
    *(f"{what} cancelled" for what in ("restart", "start child", "stop child", "bring back")),
    "waits for room",
    "cancelled when let in",
    "stray cancellation",
    *(f"{what} astray" for what in ("restarts", "stops", "leaves", "journal")),
]


def test_many_seeds_break_nothing_and_everything_happens_in_them() -> None:
    campaign = run_seeds(run_tree, SEEDS, processes=1)
    failures = [f'make simulate SEED={one.seed} ARGS="--scenario trees": {one.failure}' for one in campaign.failures]
    assert failures == []
    assert [kind for kind in SOMETIMES if not campaign.counts[kind]] == []


def test_a_seed_is_one_run() -> None:
    assert run_tree(5).digest == run_tree(5).digest
    assert run_tree(5).digest != run_tree(6).digest


# -- ablations ------------------------------------------------------------------------------------------------------


def unlimited(self: Intensity, supervisor: str, child: str, now: float) -> int:
    """Restarts are counted, and nobody gives up."""
    return 1


async def forward(children: Sequence[Child], **how: bool) -> None:
    """Children are stopped in the order in which they were started."""
    for child in children:
        await child.stop(for_good=how["for_good"])


async def patient(child: Child, stop: Callable[..., Any] = Child.stop, **how: bool) -> None:
    """A child takes as long to stop as it likes."""
    child.spec = replace(child.spec, shutdown_s=1000.0)
    await stop(child, **how)


async def eager(supervisor: Supervisor) -> bool:
    """Children are all started at once."""
    await asyncio.gather(*map(supervisor.begin, supervisor.children))
    return True


def silent(cell: Cell) -> None:
    """What waits when its actor ends is forgotten without a word."""
    cell.closed = True
    cell.entities.clear()
    cell.depth = 0


def deaf(line: Entity) -> Any:
    """A suspension, or a stop, is looked at when there is no mail."""
    return line.mail[0] if line.mail and not line.mail[0].not_before else None


def late(line: Entity, head: Any, context: Any) -> bool:
    """A deadline is not looked at."""
    return False


def newest_first(cell: Cell, envelope: Any, key: str | None, admit: Callable[..., None] = Cell.admit) -> None:
    """The line of a key is a stack."""
    admit(cell, envelope, key)
    mail = cell.entities[key].mail
    if len(mail) > 2:  # the head is in hand
        mail.insert(1, mail.pop())


def forgetful(line: Entity, actor: Any, envelope: Any, serve: Callable[..., Any] = Entity._serve) -> Any:
    """A message is taken out before it is handled, and is gone when the handler crashes."""

    async def taken_first() -> None:
        line.mail.popleft()
        line.mail.appendleft(envelope)
        try:
            await serve(line, actor, envelope)
        except ArithmeticError:
            if line.mail and line.mail[0] is envelope:
                line.mail.popleft()
                line.cell.depth -= 1
            raise

    return taken_first()


def burning(breakers: Breakers, key: Any, name: str, error: Exception, now: float) -> bool:
    """A breaker that never opens."""
    return False


async def selfish(room: Room, sender: Entity | None) -> None:
    """Who is cancelled after it was let in keeps its turn to itself."""
    while room._cell.is_full and not room._cell.ending:
        waiter = asyncio.get_running_loop().create_future()
        room.waiters.append(Waiter(0, waiter, None))
        await waiter
        room.coming -= 1


def keeping(delivery: Delivery, closings: int) -> None:
    """The room of an append that is cut off stays taken."""


async def unattended(child: Child, on_exit: Any, start: Callable[..., Any] = Child.start, **context: Any) -> Any:
    """A start goes on when nobody waits for it any more."""
    return await asyncio.shield(asyncio.get_running_loop().create_task(start(child, on_exit, **context)))


def counting(stored: Stored, process: str, said: int) -> Stored:
    """Each attempt at a recovered message counts, though the process lives."""
    return replace(stored, marks=(*stored.marks, (f"{process} {said}", said)))


def never(marks: Marks, entry_id: str) -> bool:
    """What the process has outlived stays marked."""
    return False


def bereft(writers: Writers, work: Any, task: asyncio.Task[None]) -> None:
    """A writer that somebody cancels is gone."""
    del writers._tasks[task]
    writers._note(task)
    if writers._failure is not None:
        writers._on_failure()


def wanted() -> bool:
    """Each cancellation is taken for one's own end."""
    return True


ABLATIONS: dict[str, tuple[Any, str, Any, str]] = {
    "the limit of restarts": (Intensity, "record", unlimited, "restarts within intensity"),
    "the reverse order of stops": (Supervisor, "stop_all", staticmethod(forward), "stopped in reverse"),
    "the time limit of a stop": (Child, "stop", patient, "bounded stops"),
    "waiting for elder siblings": (Supervisor, "_start_all", eager, "started in order"),
    "settling what a stop leaves": (Cell, "close", silent, "each ask settles once"),
    "looking at orders before mail": (Entity, "_at_hand", deaf, "control before user mail"),
    "the deadline": (Entity, "_outdated", late, "nothing is begun after its deadline"),
    "the order of a line": (Cell, "admit", newest_first, "order per key"),
    "keeping the message over a crash": (
        Entity,
        "_serve",
        forgetful,
        "accepted = settled + dead + pending + counted drops",
    ),
    "handing on the turn of who gives up": (Room, "wait", selfish, "nobody waits for room that is there"),
    "giving back the room of who gives up": (Delivery, "_give_back", keeping, "in peace everything comes to its end"),
    "giving up a start that nobody waits for": (Child, "start", unattended, "nothing is left behind"),
    "marks of processes, and no number": (Stored, "marked", counting, "only the guilty are given up"),
    "taking marks back": (Marks, "outlive", never, "an orderly stop leaves no marks"),
    "telling a stray cancellation": (crashes, "_is_cancelled", wanted, "in peace everything comes to its end"),
    "beginning a cancelled writer again": (Writers, "_ended", bereft, "in peace everything comes to its end"),
    "the breaker": (Breakers, "tripped", burning, "an open breaker uses up no attempts"),
}


@pytest.mark.parametrize("safeguard", ABLATIONS)
def test_without_this_safeguard_some_tree_fails(safeguard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, worse, expected = ABLATIONS[safeguard]
    monkeypatch.setattr(owner, name, worse)
    assert any(expected in run_tree(seed).broken for seed in range(MOST_SEEDS))


def test_without_an_end_of_retries_some_tree_fails() -> None:
    def stubborn(spec: ChildSpec[Any]) -> ChildSpec[Any]:
        return replace(spec, retry=RetryPolicy((0.5,) * 10_000))

    expected = "an open breaker uses up no attempts"
    assert any(expected in run_tree(seed, stubborn).broken for seed in range(MOST_SEEDS))
