"""The HTTP client against a server that answers with given bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from benchmarks.http_client import HttpConnection, HttpPool

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Script:
    """Answers each request of a connection with the next bytes; None hangs up."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.answers, self.connections = answers, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for answer in self.answers:
                await reader.readuntil(b"\r\n\r\n")
                if answer is None:
                    break
                for byte in answer:
                    writer.write(bytes((byte,)))  # one write a byte: the parser has to join them
                await writer.drain()
            else:
                await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*answers: bytes | None, limit: int = 8) -> AsyncIterator[tuple[Script, HttpPool]]:
    script = Script(answers)
    async with await asyncio.start_server(script.serve, "127.0.0.1", 0) as server:
        pool = HttpPool(server.sockets[0].getsockname()[:2], limit=limit)
        try:
            yield script, pool
        finally:
            await pool.close()


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with scripted(OK, b"HTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n") as (script, pool):
        first = await pool.submit(REQUEST)
        second = await pool.submit(REQUEST)
        assert (first.status, first.body, second.status, second.body) == (200, b"ok", 404, b"")
        assert second.at > first.at
        assert script.connections == 1


async def test_a_chunked_answer_is_joined() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with scripted(chunked) as (_, pool):
        assert (await pool.submit(REQUEST)).body == b"abcde"


async def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with scripted(closing) as (script, pool):
        for _ in range(3):
            assert (await pool.submit(REQUEST)).body == b"ok"
        assert script.connections == 3


@pytest.mark.parametrize("answer", [None, b"not http\r\n\r\n"])
async def test_a_request_without_a_readable_answer_fails(answer: bytes | None) -> None:
    async with scripted(answer) as (_, pool):
        with pytest.raises(ConnectionError):
            await pool.submit(REQUEST)


async def test_what_exceeds_the_limit_waits_for_a_connection() -> None:
    async with scripted(*[OK] * 10, limit=2) as (script, pool):
        answers = await asyncio.gather(*(pool.submit(REQUEST) for _ in range(10)))
        assert [answer.body for answer in answers] == [b"ok"] * 10
        assert script.connections == 2


async def test_what_waits_survives_the_loss_of_the_connection_that_it_waits_for() -> None:
    async with scripted(OK, None, limit=1) as (script, pool):
        answers = await asyncio.gather(*(pool.submit(REQUEST) for _ in range(4)), return_exceptions=True)
        assert [isinstance(answer, ConnectionError) for answer in answers] == [False, True, False, True]
        assert script.connections == 2


async def test_nobody_there_fails_every_request() -> None:
    async with scripted() as (_, pool):
        pass
    pool = HttpPool(pool.address, limit=1)
    answers = await asyncio.gather(*(pool.submit(REQUEST) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    await pool.close()


class CancelsAtLast(HttpPool):
    """Cancels whoever connects when the connection is there, and the connecting task does not know it yet."""

    connecting: asyncio.Task[None] | None = None

    def made(self, connection: HttpConnection) -> None:
        super().made(connection)
        if self.connecting is not None:
            self.connecting.cancel()


async def test_who_is_cancelled_when_the_connection_is_just_made_does_not_wait_for_its_end_for_ever() -> None:
    async with scripted(OK) as (_, template):
        pool = CancelsAtLast(template.address)
        pool.connecting = asyncio.create_task(pool.open(1))
        async with asyncio.timeout(20):
            await asyncio.wait([pool.connecting])
            assert pool.connecting.cancelled()
            await pool.close()
