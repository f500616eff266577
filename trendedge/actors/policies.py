"""Retry policies, one line each (PRD INF-FR-011)."""

from trendedge.runtime import RetryPolicy
from trendedge.storage.errors import StoreUnavailable, UnknownAccount

WEBHOOK_PROCESSING = RetryPolicy(
    delays_s=(5.0, 25.0, 125.0), jitter=0.1, outage=(StoreUnavailable,), hopeless=(UnknownAccount,)
)
"""A store that is down uses up no attempt: what was acknowledged waits for it, however long that takes."""

INTAKE = RetryPolicy()
"""The sender waits for the answer, and repeats the alert itself when it gets none."""
