"""How a random graph of actors is declared: small mailboxes of each policy, some of them keyed."""

from typing import TYPE_CHECKING, Any

from tests.simulation.flow_actors import Stage
from tests.simulation.flow_ledger import Parcel, WatchedRef
from trendedge.runtime import Backoff, ChildSpec, MailboxSpec, Overflow, RetryPolicy, Strategy, SupervisorSpec

if TYPE_CHECKING:
    from tests.simulation.flow import World

SHUTDOWN_S, IDLE_S = 1.0, 1.5
INTENSITY = 100_000
"""Nobody gives up: that is looked at in the trees."""
POLICIES = {Overflow.BLOCK: 7, Overflow.FAIL: 1, Overflow.DROP_OLDEST: 2, Overflow.COALESCE: 2}


def graph(world: "World") -> SupervisorSpec:
    """A root with two to four actors, and perhaps a supervisor below it with two more."""
    random = world.random
    children: list[Any] = [stage(world, "root", f"stage-{number}") for number in range(random.randint(2, 4))]
    if random.random() < 0.5:
        below = [stage(world, "root/group", f"inner-{number}") for number in range(2)]
        children.append(_supervisor("group", below, random.choice(list(Strategy))))
    return _supervisor("root", children, Strategy.ONE_FOR_ONE)


def _supervisor(id: str, children: list[Any], strategy: Strategy) -> SupervisorSpec:
    return SupervisorSpec(id, children, strategy, intensity=INTENSITY, backoff=Backoff(0.02, 0.5))


def stage(world: "World", parent: str, name: str) -> ChildSpec[Parcel]:
    """An actor below the supervisor at `parent`, that others know from now on."""
    random, ref = world.random, WatchedRef(f"{parent}/{name}", world.ledger)
    keyed, overflow = random.random() < 0.4, random.choices(list(POLICIES), list(POLICIES.values()))[0]
    world.refs.append(ref)
    world.known[ref.name] = [random.choice(world.refs) for _ in range(random.randint(1, 3))]
    return ChildSpec(
        name,
        lambda: Stage(world, ref),
        ref,
        shutdown_s=SHUTDOWN_S,
        mailbox=MailboxSpec(
            random.randint(1, 4),
            overflow,
            key=(lambda parcel: parcel.key) if keyed else None,
            coalesce=(lambda parcel: parcel.subject) if overflow is Overflow.COALESCE else None,
            idle_s=IDLE_S,
            drain=random.random() < 0.2,
        ),
        retry=RetryPolicy(random.choice([(), (0.1,)])),
    )
