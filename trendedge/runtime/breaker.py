"""The circuit breaker: after failures in a row, leave whoever fails alone for a while instead of burning attempts."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from trendedge.runtime.bounds import at_least, more_than_nothing
from trendedge.runtime.errors import said
from trendedge.runtime.voice import log


class BreakerState(Enum):
    """Nygard's three states."""

    CLOSED = "closed"
    """Messages pass."""
    OPEN = "open"
    """Nothing passes; messages wait and use up no attempt."""
    HALF_OPEN = "half_open"
    """One message passes, as a probe: its outcome closes or opens the breaker."""


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The event of each change."""

    name: str
    before: BreakerState
    after: BreakerState
    cause: str | None
    """The failure that opened it; None when it closes, probes or is reset."""
    open_s: float | None
    """Seconds until the probe, when it opened."""


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """When a breaker opens, and for how long (defaults: PRD INF-FR-011).

    :raises ValueError: no failure would open it, or it would be open for no time
    """

    trips_on: tuple[type[Exception], ...]
    """Failures of what the actor depends on. Others say something about the message, and the retry policy has them."""
    failures: int = 3
    """Failures in a row that open it ..."""
    within_s: float = 300.0
    """... when they fall into this many seconds."""
    open_s: float = 600.0
    on_change: Callable[[BreakerChanged], None] | None = None
    """Called at each change, after it was logged. Must not wait. What it raises is logged, and changes nothing."""

    def __post_init__(self) -> None:
        at_least(1, failures=self.failures)
        at_least(0, within_s=self.within_s)
        more_than_nothing(open_s=self.open_s)


class Breaker:
    """One breaker's state. Times are the event loop's, seconds; nothing here waits or sets a timer."""

    __slots__ = ("_failed_at", "name", "opened_at", "probe_at", "spec", "state")

    def __init__(self, name: str, spec: BreakerSpec) -> None:
        self.name = name
        self.spec = spec
        self.state = BreakerState.CLOSED
        self.opened_at: float | None = None
        self.probe_at: float | None = None
        """When one message may pass, while it is open; when the last one passed, while it is half open."""
        self._failed_at: deque[float] = deque(maxlen=spec.failures)

    @property
    def failures(self) -> int:
        """Failures in a row, as far as they are counted."""
        return len(self._failed_at)

    def outdated(self, now: float) -> bool:
        """Nothing is remembered that still counts: forgetting the breaker loses nothing. For one that is open that is
        when nobody has come to probe for as long as failures count.
        """
        if self.probe_at is not None:
            return now - self.probe_at > self.spec.within_s
        return not self._failed_at or now - self._failed_at[-1] > self.spec.within_s

    def admits(self, now: float) -> bool:
        """Whether a message passes that is about to be handled; the first one after the wait makes it half open."""
        if self.probe_at is None:
            return True
        if self.state is BreakerState.OPEN and now < self.probe_at:
            return False
        self.probe_at = now
        self._become(BreakerState.HALF_OPEN, None)
        return True

    def failed(self, error: Exception, now: float) -> bool:
        """Count a failure; whether the breaker is open after it. What fails after the wait has probed."""
        if self.state is BreakerState.OPEN:
            self.admits(now)  # an instance that died while it started had not come to its message
        self._failed_at.append(now)
        full = len(self._failed_at) == self.spec.failures and now - self._failed_at[0] <= self.spec.within_s
        if full or self.state is BreakerState.HALF_OPEN:
            self.opened_at, self.probe_at = now, now + self.spec.open_s
            self._become(BreakerState.OPEN, said(error))
        return self.state is BreakerState.OPEN

    def succeeded(self) -> None:
        """A message was handled: the row of failures has ended."""
        if self._failed_at or self.state is not BreakerState.CLOSED:
            self.reset()

    def reset(self) -> None:
        """Close it and forget the failures."""
        self._failed_at.clear()
        self.opened_at = self.probe_at = None
        self._become(BreakerState.CLOSED, None)

    def retry_in_s(self, now: float) -> float | None:
        """Seconds until the probe, while it is open."""
        if self.state is not BreakerState.OPEN or self.probe_at is None:
            return None
        return max(0.0, self.probe_at - now)

    def _become(self, state: BreakerState, cause: str | None) -> None:
        before, self.state = self.state, state
        if before is state:
            return
        open_s = self.spec.open_s if state is BreakerState.OPEN else None
        level = log.error if state is BreakerState.OPEN else log.warning
        level(
            "breaker changed",
            alert=f"breaker_{state.value}",
            breaker=self.name,
            before=before.value,
            cause=cause,
            open_s=open_s,
        )
        if self.spec.on_change is not None:
            try:
                self.spec.on_change(BreakerChanged(self.name, before, state, cause, open_s))
            except Exception as error:  # whoever listens is to cost no message its answer
                log.error("breaker listener failed", breaker=self.name, exc_info=error)


class Breakers:
    """The breakers of one actor: one for each key that has failed lately."""

    __slots__ = ("_look_at", "by_key", "in_hand", "spec")

    def __init__(self, spec: BreakerSpec | None, in_hand: Callable[[str | None], bool] = lambda key: False) -> None:
        """:param in_hand: whether a message of this key is being handled, perhaps a probe that takes its time"""
        self.spec = spec
        self.in_hand = in_hand
        self.by_key: dict[str | None, Breaker] = {}
        self._look_at = 0.0
        """When it is worth the while to look for outdated ones."""

    def tripped(self, key: str | None, name: str, error: Exception, now: float) -> bool:
        """Count a failure, if it is one of what the actor depends on; whether the key's breaker is open after it."""
        if self.spec is None or not isinstance(error, self.spec.trips_on):
            return False
        self.forget_outdated(now)
        breaker = self.by_key.get(key)
        if breaker is None:
            breaker = self.by_key[key] = Breaker(name, self.spec)
        return breaker.failed(error, now)

    def failed_probe(self, key: str | None, error: Exception, now: float) -> bool:
        """An instance died while it started: open the breaker again that was open or half open, if this is a failure of
        what the actor depends on; whether it was one."""
        breaker = self.by_key.get(key)
        if breaker is None or breaker.state is BreakerState.CLOSED:
            return False
        return isinstance(error, breaker.spec.trips_on) and breaker.failed(error, now)

    def given_up(self, key: str | None) -> None:
        """A message was given up over an error of its own: if it was the probe, what it depends on has answered."""
        breaker = self.by_key.get(key)
        if breaker is not None and breaker.state is BreakerState.HALF_OPEN:
            self.succeeded(key)

    def forget_outdated(self, now: float) -> None:
        """Keep no breaker of a key that has failed long ago and has not had a message since: while there are any, each
        message of the actor takes the long way. One that was open has closed."""
        if self.spec is None or not self.by_key or now < self._look_at:
            return
        self._look_at = now + self.spec.within_s / 4
        for key in [key for key, breaker in self.by_key.items() if breaker.outdated(now) and not self.in_hand(key)]:
            if (breaker := self.by_key.pop(key, None)) is not None:  # or whoever heard of the one before has looked
                breaker.succeeded()

    def succeeded(self, key: str | None) -> None:
        """A handler has returned: whatever it depends on is there."""
        breaker = self.by_key.pop(key, None)
        if breaker is not None:
            breaker.succeeded()

    def delay_s(self, key: str | None, now: float) -> float:
        """Seconds until a message of this key may pass; to ask changes nothing but what is outdated."""
        self.forget_outdated(now)
        breaker = self.by_key.get(key)
        return 0.0 if breaker is None else breaker.retry_in_s(now) or 0.0

    def pass_on(self, key: str | None, now: float) -> None:
        """A message of this key is about to be handled: after the wait it is the probe."""
        breaker = self.by_key.get(key)
        if breaker is not None:
            breaker.admits(now)


NO_BREAKERS = Breakers(None)
"""Of all actors without: it never has any."""
