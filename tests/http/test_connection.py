"""The protocol itself, over a real socket: bodies too large, too slow or cut off, and connections that live on."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from tests.http.conftest import MakeStage, Stage
from tests.http.support import GOOD_KEY, Served, serve

PATH = "/api/v1/webhooks/tradingview"
ALERT = orjson.dumps({"ticker": "NQ1!", "action": "buy", "price": "18250.25", "api_key": GOOD_KEY})
WIRE_LIMIT_S = 20
"""Far beyond what any of these takes: it only ends a test that hangs."""


async def exchange_raw(served: Served, *parts: bytes) -> bytes:
    """Send the parts, and read what comes back until the server closes or the answer is complete."""
    reader, writer = await asyncio.open_connection(served.host, served.port)
    try:
        async with asyncio.timeout(WIRE_LIMIT_S):
            for part in parts:
                writer.write(part)
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            return head + await reader.readexactly(length)
    finally:
        writer.close()


def head(*lines: str, path: str = PATH) -> bytes:
    """The head of a POST."""
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", "")).encode("latin-1")


async def alive(served: Served) -> bool:
    """Whether the server still answers."""
    async with httpx.AsyncClient(base_url=served.url) as client:
        return (await client.get("/health")).status_code == 200


async def test_requests_share_a_connection(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        for _ in range(3):
            answer = await client.post(PATH, content=ALERT)
            assert answer.status_code == 202
        assert len(client._transport._pool.connections) == 1  # type: ignore[attr-defined]  # httpx tells it nowhere else


async def test_a_body_in_chunks_is_one_body(stage: Stage, served: Served) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(ALERT), 7):
            yield ALERT[at : at + 7]

    async with httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.post(PATH, content=pieces())).status_code == 202
    assert len(stage.intake.received) == 1


async def test_a_megabyte_is_refused_and_the_answer_arrives(served: Served) -> None:
    body = b"x" * 1_000_000
    answer = await exchange_raw(served, head(f"Content-Length: {len(body)}"), body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"PAYLOAD_TOO_LARGE"' in answer
    assert await alive(served)


async def test_a_declared_length_is_enough_to_be_refused(served: Served) -> None:
    answer = await exchange_raw(served, head("Content-Length: 65537"))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_chunks_without_end_are_refused_while_they_come(served: Served) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    answer = await exchange_raw(served, head("Transfer-Encoding: chunked"), *[chunk] * 5)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await alive(served)


async def test_a_slow_body_ends_with_408(make_stage: MakeStage) -> None:
    stage = make_stage(body_timeout_s=0.2)
    async with serve(stage.app) as served:
        reader, writer = await asyncio.open_connection(served.host, served.port)
        writer.write(head("Content-Length: 500"))
        answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        async with asyncio.timeout(WIRE_LIMIT_S):
            while not answered.done():
                writer.write(b"x")
                await asyncio.wait({answered}, timeout=0.05)
        assert (await answered).startswith(b"HTTP/1.1 408 ")
        writer.close()
        assert await alive(served)
    assert stage.intake.received == []


async def test_a_client_that_leaves_half_way_harms_nobody(stage: Stage, served: Served) -> None:
    _, writer = await asyncio.open_connection(served.host, served.port)
    writer.write(head("Content-Length: 500") + ALERT)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await alive(served)
    assert stage.intake.received == []


async def test_a_client_that_leaves_after_sending_has_its_alert_taken(stage: Stage, served: Served) -> None:
    _, writer = await asyncio.open_connection(served.host, served.port)
    writer.write(head(f"Content-Length: {len(ALERT)}") + ALERT)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(WIRE_LIMIT_S):
        while not stage.intake.received:
            assert await alive(served)
    assert len(stage.intake.received) == 1


async def test_an_answer_without_reading_the_body_leaves_the_connection_usable(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        for path in ("/nowhere", "/health"):
            assert (await client.post(path, content=b"x" * 50_000)).status_code in {404, 405}
        assert (await client.get("/health")).status_code == 200
        assert len(client._transport._pool.connections) == 1  # type: ignore[attr-defined]  # httpx tells it nowhere else


@pytest.mark.parametrize(
    "line",
    [
        b"X-API-Key: \xff\xfe",
        b"X-Request-ID: \xff",
        b"Content-Type: \xff",
        b"Authorization: Bearer \xff",
        b"User-Agent: \xff\xfe",
        b"Origin: \xff",
        b"Host: \xff",
        b"Content-Type: application/json; charset=nonsense",
        b"Cookie: session=\xff",
    ],
)
async def test_bytes_that_are_no_text_in_a_header_are_a_4xx_or_pass(served: Served, line: bytes) -> None:
    request = b"POST %s HTTP/1.1\r\n%s\r\nContent-Length: 2\r\n" % (PATH.encode(), line)
    request += b"\r\n{}" if line.startswith(b"Host") else b"Host: x\r\n\r\n{}"
    status = int((await exchange_raw(served, request)).split(b" ")[1])
    assert 400 <= status < 500


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/trades?cursor=%ff%00",
        "/api/v1/signals/%ff",
        "/%ff",
        "/%ed%a0%80",
        "/api/v1/trades/%00",
        "/?" + "a" * 5000,
    ],
)
async def test_bytes_that_are_no_text_in_a_target_are_a_4xx(served: Served, target: str) -> None:
    answer = await exchange_raw(served, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert 400 <= int(answer.split(b" ")[1]) < 500
    assert b'"error"' in answer


async def test_many_clients_at_once_get_their_own_answers(stage: Stage, served: Served) -> None:
    ids = [str(uuid.uuid4()) for _ in range(50)]
    async with httpx.AsyncClient(base_url=served.url) as client:
        answers = await asyncio.gather(
            *(client.post(PATH, content=ALERT, headers={"X-Request-ID": one}) for one in ids)
        )
    assert [answer.json()["request_id"] for answer in answers] == ids
    assert sorted(one.request_id for one in stage.intake.received) == sorted(ids)


async def test_the_server_stops_with_a_half_sent_request_open(stage: Stage) -> None:
    async with serve(stage.app) as served:
        open_socket = socket.create_connection((served.host, served.port))
        open_socket.sendall(head("Content-Length: 500"))
        assert await alive(served)
    open_socket.close()
