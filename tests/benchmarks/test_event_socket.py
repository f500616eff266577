"""The WebSocket client against the `websockets` library, which knows the protocol from the other side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.errors import SocketRefused
from benchmarks.event_socket import open_socket
from benchmarks.target import Target

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def library(handler: Handler) -> AsyncIterator[Target]:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield Target(base=f"http://127.0.0.1:{port}", api_key="", jwt="t")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
async def test_frames_of_each_length_arrive_whole(size: int) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("x" * size)
        await connection.send("end")
        await connection.wait_closed()

    frames: asyncio.Queue[bytes] = asyncio.Queue()
    async with library(handler) as target:
        socket = await open_socket(target, lambda payload, _at: frames.put_nowait(payload))
        assert await frames.get() == b"x" * size
        assert await frames.get() == b"end"
        socket.close()
        await socket.closed


async def test_a_fragmented_message_arrives_as_one() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(["trade", ".", "created"])
        await connection.wait_closed()

    frames: asyncio.Queue[bytes] = asyncio.Queue()
    async with library(handler) as target:
        socket = await open_socket(target, lambda payload, _at: frames.put_nowait(payload))
        assert await frames.get() == b"trade.created"
        socket.close()
        await socket.closed


async def test_both_heartbeats_are_answered_and_neither_is_an_event() -> None:
    heard: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        await (await connection.ping(b"are you there"))
        await connection.send('{"type":"ping"}')
        heard.put_nowait(await connection.recv())

    frames: list[bytes] = []
    async with library(handler) as target:
        socket = await open_socket(target, lambda payload, _at: frames.append(payload))
        assert await heard.get() == '{"type":"pong"}'
        await socket.closed
    assert frames == []


async def test_the_servers_close_code_is_told() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.close(4413, "too slow")

    async with library(handler) as target:
        socket = await open_socket(target, lambda _payload, _at: None)
        await socket.closed
    assert socket.lost == "closed by the server with 4413"


async def test_a_server_that_hangs_up_during_the_handshake_is_an_error() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        target = Target(base=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", api_key="", jwt="")
        with pytest.raises(SocketRefused, match="connection lost"):
            await open_socket(target, lambda _payload, _at: None)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        target = Target(base=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", api_key="", jwt="")
        with pytest.raises(TimeoutError):
            await open_socket(target, lambda _payload, _at: None, timeout_s=0.05)
