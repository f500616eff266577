"""WebSockets over a real connection: who gets in, what arrives, and with which code each way out closes."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.http.conftest import MakeStage, Stage
from tests.http.support import Served, WatchedSockets, serve, serve_as_product, token_for
from tests.storage.support import NOON, Trader
from trendedge.domain.signals import Action
from trendedge.http.services import SocketLimits
from trendedge.http.tokens import LEEWAY_S
from trendedge.storage.purge import purge_events

FRAME = '{"type":"trade.created","id":"e1","at":"2026-02-11T15:00:00Z","data":{"signal_id":"s"}}'
LONG_S = 20
"""Far beyond what any of these takes: it only ends a test that hangs."""


def bearer(user_id: str, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(user_id, **claims)}"}


async def close_code(socket: ClientConnection) -> int:
    """Read to the end; the code that the server closed with."""
    try:
        async with asyncio.timeout(LONG_S):
            while True:
                await socket.recv()
    except ConnectionClosed as closed:
        return 1006 if closed.rcvd is None else closed.rcvd.code


async def receive(socket: ClientConnection) -> Any:
    """The next frame, from JSON."""
    async with asyncio.timeout(LONG_S):
        return orjson.loads(await socket.recv())


async def attached(sockets: WatchedSockets, count: int = 1) -> None:
    """Wait until that many sockets are attached to the hub."""
    async with asyncio.timeout(LONG_S):
        await sockets.until(count)


def push(sockets: WatchedSockets, user_id: str, frame: str = FRAME) -> int:
    """As the hub does; the number of sockets that it reaches."""
    return sockets.push(user_id, "trades", [frame])


@asynccontextmanager
async def connected(served: Served, user_id: str) -> AsyncIterator[ClientConnection]:
    """An authenticated socket."""
    async with connect(served.socket_url, additional_headers=bearer(user_id)) as socket:
        yield socket


async def test_each_way_to_show_the_token_leads_to_the_events(stage: Stage, served: Served) -> None:
    user_id = str(uuid.uuid4())
    token = token_for(user_id)
    async with (
        connect(served.socket_url, additional_headers=bearer(user_id)) as by_header,
        connect(f"{served.socket_url}?token={token}") as by_query,
        connect(served.socket_url) as by_message,
    ):
        await by_message.send(orjson.dumps({"type": "auth", "token": token}).decode())
        await attached(stage.sockets, 3)
        assert push(stage.sockets, user_id) == 3
        for socket in (by_header, by_query, by_message):
            assert await receive(socket) == orjson.loads(FRAME)
    await attached(stage.sockets, 0)


async def test_frames_are_not_compressed(served: Served) -> None:
    async with connected(served, str(uuid.uuid4())) as socket:
        assert socket.request is not None
        assert socket.response is not None
        assert "permessage-deflate" in socket.request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


async def test_events_of_others_do_not_arrive(stage: Stage, served: Served) -> None:
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    async with connected(served, mine) as socket:
        await attached(stage.sockets)
        assert push(stage.sockets, other) == 0
        push(stage.sockets, mine, frame='{"type":"mine"}')
        assert await receive(socket) == {"type": "mine"}


@pytest.mark.parametrize(
    "first",
    ['{"type":"auth","token":"nonsense"}', '{"type":"pong"}', "nonsense", "", "[]", '{"type":"auth"}', b"\x00", b""],
)
async def test_a_first_message_that_proves_nothing_is_4401(served: Served, first: str | bytes) -> None:
    async with connect(served.socket_url) as socket:
        await socket.send(first)
        assert await close_code(socket) == 4401


EXPIRED_USER = "7d0c2f1e-5b1a-4c7e-9a43-3f2f6d1c8e90"


@pytest.mark.parametrize(
    "query",
    ["token=nonsense", "token=%ff", f"token={token_for(EXPIRED_USER, iat=0, exp=1)}"],
    ids=["nonsense", "bytes", "expired"],
)
async def test_a_bad_token_is_accepted_and_then_closed_with_4401(served: Served, query: str) -> None:
    async with connect(f"{served.socket_url}?{query}") as socket:
        assert await close_code(socket) == 4401


async def test_without_a_token_in_time_it_is_4401(make_stage: MakeStage) -> None:
    async with serve(make_stage(sockets=SocketLimits(auth_timeout_s=0.05)).app) as served:
        socket = await connect(served.socket_url)
        assert await close_code(socket) == 4401


async def test_the_eleventh_socket_of_a_user_is_4409(stage: Stage, served: Served) -> None:
    user_id = str(uuid.uuid4())
    open_sockets = [await connect(served.socket_url, additional_headers=bearer(user_id)) for _ in range(10)]
    await attached(stage.sockets, 10)
    async with connected(served, user_id) as one_too_many:
        assert await close_code(one_too_many) == 4409
    async with connected(served, str(uuid.uuid4())):
        await attached(stage.sockets, 11)
    for socket in open_sockets:
        await socket.close()
    await attached(stage.sockets, 0)


async def test_pings_are_sent_and_an_unanswered_one_is_4408(make_stage: MakeStage) -> None:
    limits = SocketLimits(ping_interval_s=0.05, pong_timeout_s=0.4)
    async with serve(make_stage(sockets=limits).app) as served, connected(served, str(uuid.uuid4())) as socket:
        assert await receive(socket) == {"type": "ping"}
        assert await close_code(socket) == 4408


async def test_pongs_keep_the_socket_open(make_stage: MakeStage) -> None:
    limits = SocketLimits(ping_interval_s=0.05, pong_timeout_s=0.4)
    async with serve(make_stage(sockets=limits).app) as served, connected(served, str(uuid.uuid4())) as socket:
        for _ in range(20):  # together longer than the time without a pong that is tolerated
            assert await receive(socket) == {"type": "ping"}
            await socket.send('{"type":"pong"}')


async def test_unsubscribing_and_subscribing_again(stage: Stage, served: Served) -> None:
    user_id = str(uuid.uuid4())
    async with connected(served, user_id) as socket:
        await attached(stage.sockets)
        for kind, reached in (("unsubscribe", 0), ("subscribe", 1)):
            await socket.send(orjson.dumps({"type": kind, "channels": ["trades"]}).decode())
            await socket.send('{"type":"ping"}')
            assert await receive(socket) == {"type": "pong"}
            assert push(stage.sockets, user_id) == reached
        assert await receive(socket) == orjson.loads(FRAME)


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        "[]",
        '{"type":"dance"}',
        '{"type":"subscribe","channels":["everything"]}',
        '{"type":"subscribe","channels":"trades"}',
        '{"type":"subscribe","channels":["trades"],"more":1}',
        '{"type":"resume"}',
        '{"type":"auth","token":"x"}',
        '{"type":"ping","x":' + "[" * 2000 + "]" * 2000 + "}",
        b'{"type":"pong"}',
        b"",
    ],
)
async def test_a_frame_that_makes_no_sense_is_answered_and_the_socket_stays(served: Served, frame: str | bytes) -> None:
    async with connected(served, str(uuid.uuid4())) as socket:
        await socket.send(frame)
        answer = await receive(socket)
        assert answer["type"] == "error" or frame[:15] == '{"type":"ping",'
        await socket.send('{"type":"ping"}')
        assert await receive(socket) == {"type": "pong"}


async def test_a_frame_that_is_too_large_is_1009(served: Served) -> None:
    async with connected(served, str(uuid.uuid4())) as socket:
        await socket.send("x" * 16_385)
        assert await close_code(socket) == 1009


async def test_a_flood_of_frames_is_1008(make_stage: MakeStage) -> None:
    limits = SocketLimits(frames_per_minute=20)
    async with serve(make_stage(sockets=limits).app) as served, connected(served, str(uuid.uuid4())) as socket:
        with suppress(ConnectionClosed):
            for _ in range(10_000):
                await socket.send('{"type":"pong"}')
        assert await close_code(socket) == 1008


async def test_a_client_that_falls_behind_is_4413(make_stage: MakeStage) -> None:
    stage = make_stage(sockets=SocketLimits(send_timeout_s=0.3))
    user_id = str(uuid.uuid4())
    large = orjson.dumps({"type": "large", "data": secrets.token_hex(30_000)}).decode()  # does not compress away
    async with serve(stage.app) as served:
        socket = await connect(
            served.socket_url, additional_headers=bearer(user_id), max_queue=1, max_size=None, ping_interval=None
        )
        await attached(stage.sockets)
        async with asyncio.timeout(LONG_S):
            while stage.sockets.count():  # nobody reads: sooner or later the pipe is full, and the socket is dropped
                push(stage.sockets, user_id, frame=large)
                await asyncio.sleep(0)
        assert await close_code(socket) == 4413


async def test_when_the_process_stops_it_is_1001(stage: Stage, served: Served) -> None:
    async with connected(served, str(uuid.uuid4())) as socket:
        await attached(stage.sockets)
        stage.sockets.close_all()
        assert await close_code(socket) == 1001
    async with connected(served, str(uuid.uuid4())) as late:
        assert await close_code(late) == 1001


async def test_a_token_that_expires_meanwhile_is_4401(stage: Stage, served: Served) -> None:
    user_id = str(uuid.uuid4())
    almost = int(time.time()) + 4 - LEEWAY_S  # good for three more seconds at least: it has to get in first
    async with connect(served.socket_url, additional_headers=bearer(user_id, exp=almost)) as socket:
        await attached(stage.sockets)
        assert await close_code(socket) == 4401


async def test_another_path_is_no_socket(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{served.host}:{served.port}/api/v1/other")
    assert refused.value.response.status_code == 404


async def test_resuming_brings_what_was_missed(stage: Stage, served: Served) -> None:
    trader = await Trader.join(stage.services.database, email=f"{uuid.uuid4()}@example.com")
    for turn in range(3):
        await trader.trade(Action.BUY, after_s=turn * 100)
    stored = await stage.services.database.fetch(
        "select id::text, type from events where user_id = $1::text::uuid order by seq", trader.user_id
    )
    async with connected(served, trader.user_id) as socket:
        await socket.send(orjson.dumps({"type": "resume", "after": stored[0]["id"]}).decode())
        missed = [await receive(socket) for _ in stored[1:]]
        assert [(one["id"], one["type"]) for one in missed] == [(row["id"], row["type"]) for row in stored[1:]]
        assert all({"type", "id", "at", "data"} == set(one) for one in missed)
        await socket.send('{"type":"ping"}')
        assert await receive(socket) == {"type": "pong"}


async def test_what_was_purged_is_answered_with_resync_and_what_is_left_with_all_that_followed(
    served: Served, stage: Stage
) -> None:
    trader = await Trader.join(stage.services.database, f"{uuid.uuid4()}@example.com")
    for number, action in enumerate([Action.BUY, Action.ADD, Action.CLOSE]):
        await trader.trade(action, after_s=number)
    told = await trader.db.fetch(
        "select id::text, type from events where user_id = $1::text::uuid order by seq", trader.user_id
    )
    async with connected(served, trader.user_id) as socket:

        async def resumed(after: str) -> list[str]:
            """The frames that answer a resume, by id or else by type."""
            await socket.send(orjson.dumps({"type": "resume", "after": after}).decode())
            await socket.send('{"type":"ping"}')
            frames = []
            while (frame := await receive(socket))["type"] != "pong":
                frames.append(frame.get("id", frame["type"]))
            return frames

        await purge_events(trader.db, before=NOON + timedelta(seconds=1))
        assert [await resumed(row["id"]) for row in told] == [["resync"], [told[2]["id"]], []]
        await purge_events(trader.db, before=NOON + timedelta(days=1))
        assert [await resumed(row["id"]) for row in told] == [["resync"]] * 3


@pytest.mark.parametrize("after", ["nonsense", "550e8400-e29b-41d4-a716-446655440000", "\\u0000", "\\ud800"])
async def test_what_cannot_be_resumed_is_answered_with_resync(served: Served, after: str) -> None:
    async with connected(served, str(uuid.uuid4())) as socket:
        await socket.send(f'{{"type":"resume","after":"{after}"}}')
        assert (await receive(socket))["type"] in {"resync", "error"}


async def test_the_products_own_server_writes_straight_to_the_connection(make_stage: MakeStage) -> None:
    stage = make_stage()
    user_id = str(uuid.uuid4())
    async with serve_as_product(stage.app, stage.sockets) as served:
        async with connected(served, user_id) as socket:
            await attached(stage.sockets)
            for size in (1, 125, 126, 65_535, 65_536):  # each length has an encoding of its own
                frame = orjson.dumps({"type": "x", "data": "x" * size}).decode()
                assert push(stage.sockets, user_id, frame=frame) == 1
                assert await receive(socket) == orjson.loads(frame)
        slow = await connect(
            served.socket_url, additional_headers=bearer(user_id), max_queue=1, max_size=None, ping_interval=None
        )
        await attached(stage.sockets)
        large = orjson.dumps({"type": "large", "data": "x" * 60_000}).decode()
        async with asyncio.timeout(LONG_S):
            while stage.sockets.count():
                push(stage.sockets, user_id, frame=large)
                await asyncio.sleep(0)
        assert await close_code(slow) == 4413
        last = await connect(served.socket_url, additional_headers=bearer(user_id))
        await attached(stage.sockets)
    assert await close_code(last) == 1001
