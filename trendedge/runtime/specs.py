"""The supervision tree as data: what to start, how to restart it, and how much time to give it."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from trendedge.runtime.actor import Actor
from trendedge.runtime.bounds import at_least, more_than_nothing
from trendedge.runtime.breaker import BreakerSpec
from trendedge.runtime.durability import Durability
from trendedge.runtime.mailbox import MailboxSpec, Overflow
from trendedge.runtime.ref import ActorRef, DurableRef
from trendedge.runtime.retry import RetryPolicy
from trendedge.runtime.service import Service


class Restart(Enum):
    """When a child that has ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """After a crash only."""
    TEMPORARY = "temporary"
    """Never."""


class Strategy(Enum):
    """Who is restarted when one child crashes.

    Those who are restarted with it are stopped in good order at once, and started after its pause: until then they
    refuse mail with `ActorStopped`, as in a restart by order, and what waits for them in memory is dropped. The crashed
    one itself takes mail meanwhile, and keeps what it has.
    """

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    """The child and those started after it."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pause before a restart: doubles with each restart within the period.

    :raises ValueError: one of them is less than 0
    """

    first_s: float = 0.05
    longest_s: float = 10.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        at_least(0, first_s=self.first_s, longest_s=self.longest_s, jitter=self.jitter)

    def nominal_s(self, restarts: int) -> float:
        """As `delay_s`, without the jitter."""
        return min(self.longest_s, self.first_s * math.pow(2, min(restarts - 1, 64)))  # a float ends at 2 ** 1024

    def delay_s(self, restarts: int) -> float:
        """Seconds to wait before the `restarts`-th restart (from 1) within the period."""
        return self.nominal_s(restarts) * (1 + self.jitter * random.random())  # noqa: S311 - spreads restarts, guards no secret


@dataclass(frozen=True, slots=True)
class ChildSpec[M]:
    """How to start one child, and what to do when it ends.

    :raises ValueError: `durability` without a `DurableRef`, a `DurableRef` without `durability`, or one whose mailbox
        drops messages; or `shutdown_s` is less than 0
    """

    id: str
    start: Callable[[], Actor[M]]
    """Called afresh for each restart: no state survives a crash. In a loop take `functools.partial(Account, id)`: a
    lambda would find the last `id`, and of `lambda id=id: ...` mypy cannot tell the type."""
    ref: ActorRef[M] | DurableRef[M]
    """The address under which others reach it: of this child alone, and valid through restarts."""
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = 5.0
    """Seconds between the request to stop and cancellation."""
    significant: bool = False
    """When it ends without being restarted, its supervisor stops too; the actor that has spawned it crashes."""
    mailbox: MailboxSpec = MailboxSpec()
    retry: RetryPolicy = RetryPolicy()
    durability: Durability | None = None
    """Where its mail is journalled; belongs to a `DurableRef`."""
    breaker: BreakerSpec | None = None
    """One circuit breaker for each key of the mailbox."""

    def __post_init__(self) -> None:
        at_least(0, shutdown_s=self.shutdown_s)
        if self.durability is not None and not isinstance(self.ref, DurableRef):
            raise ValueError(f"child {self.id!r}: its mail is to be journalled, which takes a DurableRef as its ref")
        if self.durability is None and isinstance(self.ref, DurableRef):
            raise ValueError(
                f"child {self.id!r}: a DurableRef takes a `durability`, which says where mail is journalled"
            )
        if self.durability is not None and self.mailbox.overflow in (Overflow.DROP_OLDEST, Overflow.COALESCE):
            raise ValueError(f"child {self.id!r}: a durable mailbox may not drop what it has acknowledged")


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How to run work that has no mailbox; otherwise as `ChildSpec`."""

    id: str
    start: Callable[[], Service]
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = 5.0
    significant: bool = False

    def __post_init__(self) -> None:
        at_least(0, shutdown_s=self.shutdown_s)


type Spec = "ChildSpec[Any] | ServiceSpec | SupervisorSpec"


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor and its children, as data.

    :raises ValueError: `intensity` or `shutdown_s` is less than 0, or `period_s` no time
    """

    id: str
    children: Sequence[Spec]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 5
    """Restarts that are tolerated within `period_s`."""
    period_s: float = 60.0
    backoff: Backoff = field(default_factory=Backoff)
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = math.inf
    """A supervisor gets the time that its children need."""
    significant: bool = False

    def __post_init__(self) -> None:
        at_least(0, intensity=self.intensity, shutdown_s=self.shutdown_s)
        more_than_nothing(period_s=self.period_s)
