"""What becomes of an alert whose sender was not told in time: it is traded once, with its repetition or without."""

import pytest

from tests.actors.support import Desk, desk, now, settled
from tests.actors.test_executor import BUY
from trendedge.actors.messages import ReceiveAlert
from trendedge.domain.alerts import parse_alert
from trendedge.runtime import AskTimeout
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore, open_redis


async def ask(place: Desk, *, timeout_s: float) -> None:
    """Send `BUY` as the door does: it answers 503 when this raises."""
    alert = parse_alert(b'{"symbol":"NQ1!","action":"buy","quantity":1,"price":"18250.25"}', today=now().date())
    request = ReceiveAlert(owner=place.owner, alert=alert, received_at=now(), request_id="r")
    await place.at.intake.ask(request, timeout_s=timeout_s, deadline_s=timeout_s)


async def test_an_alert_that_is_being_appended_at_its_time_out_trades_once_and_its_repetition_is_a_duplicate(
    database: Database, redis_store: RedisStore, redis_url: str
) -> None:
    async with open_redis(redis_url, timeout_s=5) as other, desk(database, redis_store) as place:
        await other.command("CLIENT", "PAUSE", 30_000, "WRITE")  # the append is sent, and not answered
        try:
            with pytest.raises(AskTimeout):
                await ask(place, timeout_s=0.05)
        finally:
            await other.command("CLIENT", "UNPAUSE")
        repeated = await place.post(**BUY)
        await settled(place)
        assert repeated.status == "duplicate"
        assert await place.status_of(repeated.signal_id) == "filled"
        assert await database.fetchval("select count(*) from orders") == 1
