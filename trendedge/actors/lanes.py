"""The lanes (PRD INF-FR-009's queues), one line each: where actors hand off what would hold up their mailbox.

`context.pipe_to_self(lanes.run(LOW, scan, symbol), Scanned)` brings the result as a message. What is handed off is gone
with the process: what must not be lost waits in a durable mailbox, and is handed off from there.
"""

from typing import Final

from trendedge.runtime import LaneSpec

HIGH: Final = "high"
DEFAULT: Final = "default"
LOW: Final = "low"
NOTIFICATIONS: Final = "notifications"

LANES: Final = (
    LaneSpec(HIGH, concurrency=2, pending_limit=100, timeout_s=30.0),
    LaneSpec(DEFAULT, concurrency=4, pending_limit=200, timeout_s=120.0),
    LaneSpec(LOW, concurrency=2, pending_limit=50, timeout_s=600.0),
    LaneSpec(NOTIFICATIONS, concurrency=2, pending_limit=500, timeout_s=30.0),
)
"""How many at once is the PRD's, and so are ten minutes for the longest (the visibility timeout of INF-FR-010). How
many may wait is a judgement: enough for a burst, few enough that a jam is refused and seen, not grown in silence.
"""

DRAIN_S: Final = 1.0
"""Seconds at a stop for what is under way. Its actors have stopped by then, so hardly anything is."""
