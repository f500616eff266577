"""Retry policies, one line each (PRD INF-FR-011)."""

from trendedge.runtime import BreakerSpec, RetryPolicy
from trendedge.storage.errors import StoreUnavailable, UnknownAccount

WEBHOOK_PROCESSING = RetryPolicy(
    delays_s=(5.0, 25.0, 125.0), jitter=0.1, outage=(StoreUnavailable,), hopeless=(UnknownAccount,)
)
"""A store that is down uses up no attempt: what was acknowledged waits for it, however long that takes."""

INTAKE = RetryPolicy()
"""The sender waits for the answer, and repeats the alert itself when it gets none."""


class BrokerUnavailable(Exception):
    """A broker does not take calls, or does not answer them: what its adapter raises when nothing was ordered."""


BROKER_BREAKER = BreakerSpec((BrokerUnavailable,), failures=3, within_s=300.0, open_s=600.0)
"""Three failures in a row within five minutes halt the account's mail for ten; the alert is in the log."""
