"""The hub's registry: who gets which frame, and what happens to a client that cannot keep up."""

import asyncio

import anyio
import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from trendedge.actors.sockets import LONGEST_BACKLOG, GoingAway, Sockets, SubscriberLagging, TooManyConnections
from trendedge.actors.websocket import text_frames


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


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_frames_read_as_text_of_any_length(size: int) -> None:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(text_frames(["x" * size, "second"]))
    messages = [(frame.opcode, frame.payload, frame.message_finished) for frame in protocol.received_frames()]
    assert messages == [(Opcode.TEXT, "x" * size, True), (Opcode.TEXT, "second", True)]


async def test_frames_are_written_straight_to_a_transport_and_a_client_that_reads_nothing_is_dropped() -> None:
    sockets, received = Sockets(), bytearray()
    connected = asyncio.Event()
    release = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()
        await release.wait()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    reader, client = await asyncio.open_connection(*server.sockets[0].getsockname())
    await connected.wait()
    subscriber = sockets.attach("a")
    subscriber.write_to(writers[0].transport)
    sockets.push("a", "trades", ("one", "two"))
    received += await reader.readexactly(len(text_frames(["one", "two"])))
    assert bytes(received) == text_frames(["one", "two"])
    while writers[0].transport.get_write_buffer_size() <= LONGEST_BACKLOG:
        sockets.push("a", "trades", ("x" * 60_000,))
    sockets.push("a", "trades", ("too much",))
    with pytest.raises(SubscriberLagging):
        await subscriber.next_frames()
    release.set()
    client.close()
    writers[0].transport.abort()
    server.close()


def test_sockets_that_were_closed_with_the_front_are_taken_again_when_it_comes_back() -> None:
    sockets = Sockets()
    sockets.close_all()
    with pytest.raises(GoingAway):
        sockets.attach("a")
    sockets.reopen()
    sockets.attach("a")
    assert sockets.count() == 1
