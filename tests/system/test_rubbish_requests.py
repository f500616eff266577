"""Requests that make no sense, and bytes that are no request: refused or cut off, and business as usual."""

import json

import anyio
import httpx
import pytest

from tests.system.envelope import check_envelope, error_of
from tests.system.person import WEBHOOK, Person
from tests.system.product import Product
from tests.system.trading import ALERT
from tests.system.wire import connected

pytestmark = pytest.mark.usefixtures("unharmed")

CLIENT_ERROR = range(400, 500)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "PROPFIND", "BREW"])
async def test_another_method_is_not_allowed(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, WEBHOOK)
    error_of(answer, 405)
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "application/xml", "image/png", "json", ";"]
)
async def test_another_content_type_is_refused(client: httpx.AsyncClient, victim: Person, content_type: str) -> None:
    headers = {"X-API-Key": victim.key, "Content-Type": content_type}
    answer = await client.post(WEBHOOK, json=None, content=json.dumps(ALERT), headers=headers)
    if content_type != ";":  # which says nothing, as no header does
        error_of(answer, 415)
    assert answer.status_code < 500


PATHS = [
    "/",
    "//",
    "/api/v1/nothing",
    "/api/v1/webhooks",
    "/api/v1/../../etc/passwd",
    "/%00",
    "/%ff%fe",
    "/api/v1/signals%2f",
    "/" + "a" * 8000,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30])
async def test_a_path_that_is_none_is_not_found(product: Product, path: str) -> None:
    async with connected(product.port) as wire:
        await wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reply = await wire.reply()
    assert reply.status in CLIENT_ERROR
    check_envelope(reply.status, reply.body)


READS = (
    "signals/x",
    "signals/%00",
    "signals/00000000-0000-0000-0000-000000000000",
    "signals?limit=99999999999999999999",
    "trades?limit=0",
    "trades?limit=201",
    "trades?limit=x",
    "trades?cursor=%00",
    "trades?cursor=AAAA",
    "trades?since=yesterday",
    "trades?account_id=x",
    "trades?status=%ff",
    "positions?limit=-1",
)


@pytest.mark.parametrize("path", READS)
async def test_a_read_that_makes_no_sense_is_no_fault_of_ours(
    client: httpx.AsyncClient, victim: Person, path: str
) -> None:
    answer = await client.get(f"/api/v1/{path}", headers=victim.bearer)
    if answer.status_code == 200:
        # A filter that fits nothing may also find nothing; a page that cannot be is always an error.
        assert "account_id" in path or "status" in path
        assert answer.json()["items"] == []
        return
    error_of(answer, 400, 404, 422)


HEADERS = {
    "a length that is no number": b"Content-Length: abc\r\n",
    "a negative length": b"Content-Length: -1\r\n",
    "a length of two kinds": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "a length without end": b"Content-Length: " + b"9" * 400 + b"\r\n",
    "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "an unknown encoding": b"Transfer-Encoding: zip\r\n",
    "a header without a name": b": x\r\n",
    "a header without a colon": b"nonsense\r\n",
    "a folded header": b"X-A: a\r\n b\r\n",
    "a header of a megabyte": b"X-A: " + b"a" * 1_000_000 + b"\r\n",
    "five thousand headers": b"".join(b"X-%d: a\r\n" % number for number in range(5000)),
    "bytes that are no text": b"X-A: \xff\xfe\x00\r\n",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
async def test_an_absurd_header_is_refused(product: Product, header: bytes) -> None:
    async with connected(product.port) as wire:
        await wire.send(f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\n".encode() + header + b"\r\n0\r\n\r\n")
        reply = await wire.reply()
    # RFC 9112, 6.1, has 501 for a transfer coding that the server does not know.
    assert reply.status in (0, 501) if b"zip" in header else reply.status == 0 or reply.status in CLIENT_ERROR
    if reply.body:
        assert json.loads(reply.body).keys() == {"error"}


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "zeros": b"\x00" * 4096,
    "noise": bytes((7 * number * number + 13) % 256 for number in range(4096)),
    "blank lines": b"\r\n" * 2000 + b"x\r\n\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    "half a request line": b"GET /hea",
}


@pytest.mark.parametrize("data", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_is_no_http_harms_nobody(product: Product, data: bytes) -> None:
    async with await anyio.connect_tcp("127.0.0.1", product.port) as stream:
        await stream.send(data)
        await stream.send_eof()
        received = b""
        with anyio.fail_after(10):
            while True:
                try:
                    received += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
    assert b"HTTP/1.1 5" not in received
    assert b"HTTP/1.1 2" not in received
