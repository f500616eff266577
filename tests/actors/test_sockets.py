"""The hub's registry: who gets which frame, and what happens to a client that cannot keep up."""

import anyio
import pytest

from trendedge.actors.sockets import GoingAway, Sockets, SubscriberLagging, TooManyConnections


async def test_frames_reach_every_socket_of_the_user_and_nobody_else() -> None:
    sockets = Sockets()
    mine, also_mine, other = sockets.attach("a"), sockets.attach("a"), sockets.attach("b")
    assert sockets.push("a", "trades", ("one", "two")) == 2
    assert await mine.next_frames() == ["one", "two"]
    assert await also_mine.next_frames() == ["one", "two"]
    assert sockets.push("b", "trades", ("three",)) == 1
    assert await other.next_frames() == ["three"]


async def test_a_channel_that_was_unsubscribed_is_silent() -> None:
    sockets = Sockets()
    subscriber = sockets.attach("a")
    subscriber.channels.discard("system")
    assert sockets.push("a", "system", ("hidden",)) == 0
    sockets.push("a", "trades", ("shown",))
    assert await subscriber.next_frames() == ["shown"]


async def test_a_slow_client_is_dropped_and_holds_nobody_up() -> None:
    sockets = Sockets(queue_limit=3)
    slow, quick = sockets.attach("a"), sockets.attach("a")
    for number in range(4):
        sockets.push("a", "trades", (str(number),))
        assert await quick.next_frames() == [str(number)]
    with pytest.raises(SubscriberLagging):
        await slow.next_frames()


async def test_a_user_has_ten_sockets_at_most_and_a_closed_one_makes_room() -> None:
    sockets = Sockets(per_user=10)
    subscribers = [sockets.attach("a") for _ in range(10)]
    with pytest.raises(TooManyConnections, match="user a already has 10 sockets open"):
        sockets.attach("a")
    sockets.attach("b")
    sockets.detach(subscribers[0])
    sockets.detach(subscribers[0])
    sockets.attach("a")
    assert sockets.count() == 11


async def test_going_away_delivers_what_is_queued_and_then_ends_the_socket() -> None:
    sockets = Sockets()
    subscriber, idle = sockets.attach("a"), sockets.attach("a")
    outcomes: list[str] = []

    async def wait() -> None:
        try:
            await idle.next_frames()
            await idle.next_frames()
        except GoingAway:
            outcomes.append("going away")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        sockets.push("a", "trades", ("last",))
        sockets.close_all()
    assert outcomes == ["going away"]
    assert await subscriber.next_frames() == ["last"]
    with pytest.raises(GoingAway):
        await subscriber.next_frames()
    with pytest.raises(GoingAway):
        sockets.attach("a")
