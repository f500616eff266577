"""The supervision tree as data: who runs, who depends on whom, and how much each may fail."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from trendedge.actors.codec import decode_execute, encode_execute
from trendedge.actors.housekeeper import Purged, PurgeFailed
from trendedge.actors.messages import ExecuteSignal, Purge, PushEvents, ReceiveAlert
from trendedge.actors.policies import BROKER_BREAKER, HOUSEKEEPING, INTAKE, WEBHOOK_PROCESSING
from trendedge.runtime import (
    Actor,
    ActorRef,
    ChildSpec,
    DeadLetter,
    Durability,
    DurableRef,
    Journal,
    MailboxSpec,
    Overflow,
    Service,
    ServiceSpec,
    Strategy,
    SupervisorSpec,
)

EXECUTOR_MAILBOX = "executor"
"""The executor's name in the journal. Mail of earlier releases lies under it: never rename it."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Under which the actors reach each other. Made before the tree, valid through every restart."""

    intake: ActorRef[ReceiveAlert]
    executor: DurableRef[ExecuteSignal]
    hub: ActorRef[PushEvents]
    housekeeper: ActorRef[Purge | Purged | PurgeFailed]

    @classmethod
    def fresh(cls) -> "Addresses":
        """Addresses that nobody answers at yet."""
        return cls(ActorRef("intake"), DurableRef("executor"), ActorRef("hub"), ActorRef("housekeeper"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Casting:
    """How to make each actor and service afresh."""

    watchdog: Callable[[], Service]
    keyring: Callable[[], Service]
    lanes: Callable[[], Service]
    hub: Callable[[], Actor[PushEvents]]
    subscription: Callable[[], Service]
    journal: Callable[[], Service]
    executor: Callable[[], Actor[ExecuteSignal]]
    intake: Callable[[], Actor[ReceiveAlert]]
    housekeeper: Callable[[], Actor[Purge | Purged | PurgeFailed]]
    schedules: Callable[[], Service]
    front: Callable[[], Service]
    on_dead_signal: Callable[[ExecuteSignal, DeadLetter], Awaitable[None]]
    """Gives a signal that cannot be executed an outcome that its owner can read."""
    on_replayed_signal: Callable[[ExecuteSignal], Awaitable[None]] | None = None
    """Takes that outcome back, before an operator has the signal executed after all."""


def build_tree(cast: Casting, at: Addresses, *, journal: Journal) -> SupervisorSpec:
    """The whole process. Children start in this order and stop in the reverse: the door opens last and closes first."""
    return SupervisorSpec(
        "trendedge",
        [
            ServiceSpec("watchdog", cast.watchdog),
            ServiceSpec("keyring", cast.keyring),
            ServiceSpec("lanes", cast.lanes),
            _events(cast, at),
            _trading(cast, at, journal),
            ChildSpec("housekeeper", cast.housekeeper, at.housekeeper, mailbox=MailboxSpec(10), retry=HOUSEKEEPING),
            ServiceSpec("schedules", cast.schedules),  # behind all whom they address
            ServiceSpec("front", cast.front, shutdown_s=5.0),
        ],
    )


def _events(cast: Casting, at: Addresses) -> SupervisorSpec:
    return SupervisorSpec(
        "events",
        [
            ChildSpec("hub", cast.hub, at.hub, mailbox=MailboxSpec(10_000, Overflow.DROP_OLDEST, drain=True)),
            ServiceSpec("subscription", cast.subscription),
        ],
    )


def _trading(cast: Casting, at: Addresses, journal: Journal) -> SupervisorSpec:
    """Intake feeds the executor: when the executor is restarted, intake is too, so that no ask hangs in between."""
    return SupervisorSpec(
        "trading",
        [
            ChildSpec(
                "executor",
                cast.executor,
                at.executor,
                shutdown_s=4.0,
                mailbox=MailboxSpec(10_000, Overflow.FAIL, key=lambda message: message.account_id, drain=True),
                retry=WEBHOOK_PROCESSING,
                breaker=BROKER_BREAKER,
                durability=Durability(
                    journal,
                    EXECUTOR_MAILBOX,
                    encode_execute,
                    decode_execute,
                    on_bury=cast.on_dead_signal,
                    on_replay=cast.on_replayed_signal,
                ),
            ),
            ServiceSpec("journal", cast.journal),
            ChildSpec(
                "intake",
                cast.intake,
                at.intake,
                mailbox=MailboxSpec(2_000, Overflow.FAIL, key=lambda message: message.owner.user_id, drain=True),
                retry=INTAKE,
            ),
        ],
        strategy=Strategy.REST_FOR_ONE,
        # A message that crashes its instance counts once: this many different poison messages a minute are a defect
        # of ours and not of the mail, and worth a restart of everything.
        intensity=20,
    )
