"""What must hold after every run of a random tree, by name. Each yields what breaks it."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.simulation.invariants import Broken
from tests.simulation.supervision import INTENSITY, PERIOD_S, World
from tests.simulation.workers import DELAYS_S, SHUTDOWN_S, Job, Line
from trendedge.runtime import ChildSpec, Overflow, Strategy

type Invariant = Callable[[World], Iterator[str]]


def check(world: World) -> None:
    """Check all of them, and those that were looked at while it ran.

    :raises Broken: some do not hold
    """
    found = {name: what for name, invariant in INVARIANTS.items() if (what := list(invariant(world)))}
    if found or world.found:
        raise Broken(found | world.found)


def conserved(world: World) -> Iterator[str]:
    """Accepted = handled + dropped + expired + given up + waiting. A journal counts for itself."""
    for lines in in_memory(world):
        stats = lines[0].cell.stats
        known = stats.handled + stats.dropped + stats.expired + stats.buried + sum(line.cell.depth for line in lines)
        accepted = sum(len(line.accepted) for line in lines)
        if known != accepted:
            yield f"{lines[0].cell.path} took {accepted} and knows of {known}: {stats}"


def actors(world: World) -> list[list[Line]]:
    """The cells of each actor: a restart of its supervisor puts another in its place, which goes on counting."""
    by_stats: dict[int, list[Line]] = defaultdict(list)
    for line in world.lines:
        by_stats[id(line.cell.stats)].append(line)
    return list(by_stats.values())


def in_memory(world: World) -> list[list[Line]]:
    """The cells of each actor whose mail is in memory alone."""
    return [lines for lines in actors(world) if not lines[0].durable]


def asks_settle(world: World) -> Iterator[str]:
    """Each ask settles once, however long it would wait; so does each tell that waits for room, and each order."""
    for what, waiting in world.operator.waiting.items():
        if waiting:
            yield f"{waiting} orders to {what} have not returned"
    for number in sorted(world.sent):
        if world.answers[number] != 1:
            yield f"{number} has {world.answers[number]} answers"


def in_order(world: World) -> Iterator[str]:
    """What one key of a mailbox takes is begun in that order. Coalesced messages take the place of older ones."""
    for line in world.lines:
        if line.cell.spec.overflow is Overflow.COALESCE:
            continue
        place = {number: at for at, number in reversed(list(enumerate(line.begun)))}
        by_key = defaultdict(list)
        for job in line.accepted:
            if job.number in place:
                by_key[line.cell.key_of(job)].append(job.number)
        for numbers in by_key.values():
            for earlier, later in pairwise(numbers):
                if place[earlier] > place[later]:
                    yield f"{line.cell.path} began {later} before {earlier}"


def tried_as_declared(world: World) -> Iterator[str]:
    """What always fails is tried as often as declared and no more; nothing else is given up."""
    for lines in in_memory(world):  # a journal does not count the attempts of one process, nor does it forget them
        cell = lines[0].cell
        tries = Counter(number for line in lines for number in line.begun)
        hopeless = {job.number for line in lines for job in line.accepted if job.behaviour == "crash"}
        for number in sorted(hopeless):
            if tries[number] > len(DELAYS_S) + 1:
                yield f"{cell.path} tried {number} {tries[number]} times"
        if cell.spec.key is None:  # a keyed instance that dies at its start is charged to the message
            given_up = sum(tries[number] > len(DELAYS_S) for number in hopeless)
            if cell.stats.buried != given_up:
                yield f"{cell.path} gave up {cell.stats.buried}, of which {given_up} were hopeless"


def within_intensity(world: World) -> Iterator[str]:
    """No more restarts in a period than allowed. A keyed actor counts anew with each of its own restarts.

    The supervisor counts when it takes notice, which is later than the crash while it restarts somebody else: a
    quarter of the period leaves time for that.
    """
    counted: dict[object, list[float]] = defaultdict(list)
    for line in world.lines:
        keyed = line.cell.spec.key is not None
        if keyed or line.cell.supervisor.spec.strategy is Strategy.ONE_FOR_ONE:
            for at in restarts(line):
                if not world.operator.ordered(line.cell.path, at):
                    counted[(line, hosting(line, at)) if keyed else line.cell.supervisor].append(at)
    for times in counted.values():
        ordered = sorted(times)
        for first, last in zip(ordered, ordered[INTENSITY:], strict=False):
            if last - first < PERIOD_S / 4:
                yield f"{INTENSITY + 1} restarts between {first:.1f} s and {last:.1f} s"


def hosting(line: Line, at: float) -> int:
    """Which run of the line's cell that was."""
    return sum(hosted <= at for hosted in line.hosted)


def restarts(line: Line) -> Iterator[float]:
    """When the line's actor has crashed in a way that counts, and was started again by who counts it."""
    seen: set[int] = set()
    keyed = line.cell.spec.key is not None
    for at, key, number in line.crashed:
        first = number not in seen if number is not None else not keyed
        if number is not None:
            seen.add(number)
        escalated_at = min((hosted for hosted in line.hosted if keyed and hosted > at), default=math.inf)
        if first and any(at < later < escalated_at and key == other for later, other in line.started):
            yield at


def started_in_order(world: World) -> Iterator[str]:
    """A child is begun when its elder siblings are ready."""
    first: dict[tuple[str, int], int] = {}
    for place, (what, line, _) in enumerate(world.life):
        first.setdefault((what, id(line.cell)), place)
    for elder, younger in siblings(world):
        began = first.get(("started", id(younger.cell)))
        if began is not None and not elder.inherits and first.get(("ready", id(elder.cell)), began) >= began:
            yield f"{younger.cell.path} was started before {elder.cell.path} was ready"


def stopped_in_reverse(world: World) -> Iterator[str]:
    """At the end a child stops when its younger siblings have."""
    if world.stop_asked_at is None:
        return
    stops = [id(line.cell) for what, line, at in world.life if what == "stopped" and at >= world.stop_asked_at]
    last = {cell: place for place, cell in enumerate(stops)}
    for elder, younger in siblings(world):
        places = last.get(id(elder.cell)), last.get(id(younger.cell))
        if places[0] is not None and places[1] is not None and places[0] < places[1]:
            yield f"{elder.cell.path} stopped before {younger.cell.path}"


def siblings(world: World) -> Iterator[tuple[Line, Line]]:
    """Neighbouring actors of one supervisor without keys, the elder first."""
    by_supervisor: dict[int, dict[object, Line]] = defaultdict(dict)
    for line in world.lines:
        by_supervisor[id(line.cell.supervisor)][line.cell.path] = line
    for lines in by_supervisor.values():
        supervisor = next(iter(lines.values())).cell.supervisor
        paths = [f"{supervisor.path}/{child.id}" for child in supervisor.spec.children if isinstance(child, ChildSpec)]
        unkeyed = [lines[path] for path in paths if path in lines and lines[path].cell.spec.key is None]
        yield from pairwise(unkeyed)


def bounded_stop(world: World) -> Iterator[str]:
    """The stop takes no longer than its children may take one after the other, and leaves nothing running."""
    if world.ended_at is None:
        yield "the tree has not ended"
        return
    if world.stop_asked_at is not None:
        took_s, most_s = world.ended_at - world.stop_asked_at, SHUTDOWN_S * len([*world.refs, *world.helpers])
        if took_s > most_s:
            yield f"the stop took {took_s:.1f} s, and may take {most_s:.1f} s"
    for line in world.lines:
        if line.active.total():
            yield f"{line.cell.path} still works"


def no_marks_left(world: World) -> Iterator[str]:
    """An orderly stop leaves nothing as if it had killed the process."""
    yield from world.left_marked


def nothing_left_behind(world: World) -> Iterator[str]:
    """When all is over nobody waits for anything, and no room is taken."""
    for name in world.left_behind:
        yield f"the task {name} goes on"
    for line in world.lines:
        cell = line.cell
        coming = 0 if cell._room is None else cell._room.coming
        if cell.depth or cell.waiting or coming or cell.entities:
            yield f"{cell.path} has depth {cell.depth}, {cell.waiting} + {coming} wait for room"
        log = cell.log
        if log is not None and (log.underway._asked or any(not counted.done() for _, counted in log._writing._begun)):
            yield f"somebody waits for the journal of {cell.path}"


def journalled_once(world: World) -> Iterator[str]:
    """Accepted = settled + dead + pending, entry by entry; in the end nothing is pending."""
    server = world.mail.server
    held = Counter(stored.origin for stream in server.streams.values() for stored in stream.values())
    for origin in server.accepted:
        places = held[origin] + (origin in server.settled) + (origin in server.buried)
        if places != 1:
            yield f"entry {origin} is in {places} places"
    for mailbox, job in world.mail.left:
        yield f"{job.number} is left in {mailbox}"


def vouched_is_handled(world: World) -> Iterator[str]:
    """What a sender was told to be durable was begun, or is a dead letter."""
    begun = {number for numbers in world.mail.first.values() for number in numbers}
    buried = {job.number for job, _ in world.mail.dead}
    for number in sorted(world.mail.vouched - begun - buried):
        yield f"{number} was acknowledged and never handled"


def durable_in_order(world: World) -> Iterator[str]:
    """What is told after something else was taken is begun after that, in each mailbox and key. What is given up steps
    out of the row."""
    keyed = {line.cell.path: line.cell.spec.key is not None for line in world.lines}
    by_line = defaultdict(list)
    for told in world.mail.told:
        if told.job.number in world.mail.first[told.mailbox] and told.job.number not in world.mail.given_up:
            by_line[told.mailbox, told.job.key if keyed[told.mailbox] else None].append(told)
    for (mailbox, _), line in by_line.items():
        first = world.mail.first[mailbox]
        for earlier in line:
            for later in line:
                if earlier.returned < later.began and first[earlier.job.number] > first[later.job.number]:
                    yield f"{mailbox} began {later.job.number} before {earlier.job.number}"


def handled_once(world: World) -> Iterator[str]:
    """Whoever knows that a message is done does not have it done again."""
    for (log, number), times in world.mail.done.items():
        if times > 1:
            yield f"{number} was handled {times} times in {log.mailbox}"


def only_the_guilty_die(world: World) -> Iterator[str]:
    """Nobody is given up for the death of a process: none dies. A keyed instance that dies at its start is charged to
    the message for which it was started."""
    keyed = {line.cell.path: line.cell.spec.key is not None for line in world.lines}
    for mailbox, letters in world.mail.server.dead.items():
        for one in letters.values():
            job = Job.decode(one.payload)
            guilty = job.behaviour == "crash" or keyed[mailbox]
            died = "death of the process" in one.letter.cause and mailbox not in world.mail.brought_back
            if not guilty or died:
                yield f"{job.number} ({job.behaviour}) was given up: {one.letter.cause}"


INVARIANTS: dict[str, Invariant] = {
    "accepted = settled + dead + pending + counted drops": conserved,
    "each ask settles once": asks_settle,
    "order per key": in_order,
    "an open breaker uses up no attempts": tried_as_declared,
    "restarts within intensity": within_intensity,
    "started in order": started_in_order,
    "stopped in reverse": stopped_in_reverse,
    "bounded stops": bounded_stop,
    "nothing is left behind": nothing_left_behind,
    "an orderly stop leaves no marks": no_marks_left,
    "entries = settled + dead": journalled_once,
    "each acknowledged message is handled": vouched_is_handled,
    "order per durable key": durable_in_order,
    "each message is handled once": handled_once,
    "only the guilty are given up": only_the_guilty_die,
}
