"""What runs by the clock (the PRD's Celery Beat). A schedule posts a message and does nothing else.

Times are the exchange's: in its daily break, 16:00 to 17:00 in Chicago, hardly any alert trades, so hardly any waits.
"""

from typing import Any

from trendedge.actors.messages import Purge
from trendedge.actors.tree import Addresses
from trendedge.domain.sessions import CHICAGO
from trendedge.runtime import Cron, Misfire, ScheduleSpec


def schedules(at: Addresses) -> list[ScheduleSpec[Any]]:
    """All of them. An id is a name in the memory of last fires and in the audit: never rename one."""
    return [
        ScheduleSpec(
            id="purge",
            when=Cron("15 16 * * *", CHICAGO.key),
            target=at.housekeeper,
            message=Purge,
            misfire=Misfire.ONCE,
        ),
    ]
