"""Retry policies, one line each (PRD INF-FR-011). A table's "max retries" is the number of its delays.

Jitter only ever adds: no retry comes sooner than the table says.
"""

from trendedge.runtime import BreakerSpec, RetryPolicy
from trendedge.storage.errors import StoreUnavailable, UnknownAccount

WEBHOOK_PROCESSING = RetryPolicy(
    delays_s=(5.0, 25.0, 125.0), jitter=0.1, outage=(StoreUnavailable,), hopeless=(UnknownAccount,)
)
"""A store that is down uses up no attempt: what was acknowledged waits for it, however long that takes. The table has
no jitter here. Ours is for the end of an outage, lest the mail of all accounts comes for the connections at once."""

BROKER_CALLS = RetryPolicy(delays_s=(2.0, 8.0, 32.0, 128.0, 512.0), jitter=0.25)
"""Of calls that can be made again: an order whose outcome is unknown is looked up first, never sent again blindly."""

TRENDLINE_SCAN = RetryPolicy(delays_s=(60.0, 60.0))
"""After that the next schedule has it."""

NOTIFICATION_DISPATCH = RetryPolicy(delays_s=(10.0, 60.0, 300.0))

AI_TASK = RetryPolicy(delays_s=(0.0,))
"""Once more, at once; then a person decides."""

INTAKE = RetryPolicy()
"""Not in the table: the sender waits for the answer, and repeats the alert itself when it gets none."""

HOUSEKEEPING = RetryPolicy()
"""Not in the table: nobody waits for it, and what fails is done when it is due the next time."""


class BrokerUnavailable(Exception):
    """A broker does not take calls, or does not answer them: what its adapter raises when nothing was ordered."""


BROKER_BREAKER = BreakerSpec((BrokerUnavailable,), failures=3, within_s=300.0, open_s=600.0)
"""Three failures in a row within five minutes halt the account's mail for ten; the alert is in the log."""
