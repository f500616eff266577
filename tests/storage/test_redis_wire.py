"""The connection to Redis: how it is opened, and what it makes of a server or a network that misbehaves."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.storage.conftest import Breakable
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.redis import open_redis

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[str]:
    """The url of a server that says what it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


def relay(redis_url: str) -> Talk:
    """Between whoever comes and a real server."""
    parts = urlsplit(redis_url)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
        sink.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(copy(reader, ours), copy(theirs, writer))

    return talk


async def test_tls_is_spoken_with_whoever_has_the_right_certificate(redis_url: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(relay(redis_url), "localhost", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"rediss://:{urlsplit(redis_url).password}@localhost:{port}/0"
        async with open_redis(
            f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}", connect_timeout_s=5, timeout_s=5
        ) as trusting:
            assert await trusting.command("ECHO", "sealed" * 50_000) == b"sealed" * 50_000
        async with open_redis(url, connect_timeout_s=5) as strict:
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                await strict.command("PING")


async def test_the_database_of_the_url_is_the_one_that_is_used(own_redis: Breakable) -> None:
    other = own_redis.url.removesuffix("/0") + "/3"
    async with open_redis(own_redis.url) as first, open_redis(other) as third:
        await third.command("SET", "here", "yes")
        assert await first.command("GET", "here") is None
        assert await third.command("GET", "here") == b"yes"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace(urlsplit(url).password, "wrong"), "WRONGPASS"),
        (lambda url: url.removesuffix("/0") + "/99", "out of range"),
    ],
)
async def test_a_server_that_refuses_us_is_as_good_as_away(
    own_redis: Breakable, change: Callable[[str], str], reason: str
) -> None:
    async with open_redis(change(own_redis.url)) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=reason):
                await store.command("PING")


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        for byte in b"*2\r\n$5\r\nfirst\r\n:-7\r\n+next\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with listening(dribble) as url, open_redis(url, timeout_s=5) as store:
        asked = [asyncio.create_task(store.command("PING")) for _ in range(2)]
        assert await asyncio.gather(*asked) == [[b"first", -7], b"next"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
        (b"$99999999999999999999\r\n", "Bad bulk string length"),
        (b"", "the server has closed the connection"),
        (b"$100\r\nbroken off", "the server has closed the connection"),
        (b"-LOADING the data set\r\n", "LOADING"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "NOREPLICAS"),
    ],
)
async def test_rubbish_is_an_outage_and_the_next_command_tries_again(said: bytes, reason: str) -> None:
    talks = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal talks
        talks += 1
        await reader.readuntil(b"PING\r\n")
        writer.write(said if talks == 1 else b"+PONG\r\n")

    async with listening(talk) as url, open_redis(url, timeout_s=5) as store:
        with pytest.raises(StoreUnavailable, match=reason):
            await store.command("PING")
        async with asyncio.timeout(10):
            while True:
                with suppress(StoreUnavailable):
                    assert await store.command("PING") == b"PONG"
                    break
    assert talks == 2


async def test_what_a_server_says_unasked_is_no_answer() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR max number of clients reached\r\n")
        await reader.read()

    async with listening(greet) as url, open_redis(url, timeout_s=5) as store:
        with pytest.raises(StoreUnavailable, match="max number of clients reached"):
            await store.command("PING")
        with pytest.raises(StoreUnavailable, match="max number of clients reached"):
            await store.command("PING")


@pytest.mark.parametrize("number", [1, 1000])
async def test_a_busy_event_loop_is_not_taken_for_a_silent_server(own_redis: Breakable, number: int) -> None:
    async with open_redis(own_redis.url, timeout_s=0.2) as store:
        await store.command("PING")
        asked = [asyncio.create_task(store.command("ECHO", "on time")) for _ in range(number)]
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - that is what is tested
        assert await asyncio.gather(*asked) == [b"on time"] * number


async def test_a_server_that_answers_steadily_and_too_slowly_is_given_up() -> None:
    async def drag(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"PING\r\n") and not writer.is_closing():
            writer.write(b"+PONG\r\n")
            await asyncio.sleep(0.002)

    async with listening(drag) as url, open_redis(url, timeout_s=0.5) as store:
        asked = [store.command("PING") for _ in range(1000)]  # the last has its answer after two seconds
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers[0] == b"PONG"
    assert str(answers[-1]) == "Redis is unavailable: no answer within 0.5 s"


async def test_what_a_silent_server_does_not_take_is_not_piled_up(own_redis: Breakable) -> None:
    mebibyte = b"x" * (1 << 20)
    async with open_redis(own_redis.url) as store:
        await store.command("PING")
        own_redis.freeze()
        begun = time.monotonic()
        many = [store.command("SET", str(number), mebibyte) for number in range(200)]
        answers = await asyncio.gather(*many, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert time.monotonic() - begun < 5
        own_redis.thaw()
        async with asyncio.timeout(30):
            while True:
                with suppress(StoreUnavailable):
                    stored = await store.command("DBSIZE")
                    break
    assert stored < 100, "most were never sent"


async def test_who_waits_for_a_connection_at_the_end_is_told() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as url:
        async with open_redis(url.replace("//", "//:password@"), connect_timeout_s=60) as store:
            waiting = [asyncio.create_task(store.command("PING")) for _ in range(3)]
            await asyncio.sleep(0.05)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {str(answer) for answer in answers} == {"Redis is unavailable: closed"}
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.command("PING")


async def test_who_gives_up_the_first_command_leaves_the_connection_to_the_others(own_redis: Breakable) -> None:
    async with open_redis(own_redis.url) as store:
        first = asyncio.create_task(store.command("PING"))
        second = asyncio.create_task(store.command("ECHO", "mine"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"mine"
        assert first.cancelled()


async def test_no_answer_goes_to_somebody_else_however_often_the_connection_breaks(own_redis: Breakable) -> None:
    kills, answered, outages = 20, 0, 0
    async with open_redis(own_redis.url, timeout_s=5) as store, open_redis(own_redis.url) as other:

        async def ask(number: int) -> None:
            nonlocal answered, outages
            asked = 0
            while kills:
                text = f"{number} {asked} ".encode() * (1 if asked % 5 else 5_000)
                asked += 1
                asking = asyncio.create_task(store.command("ECHO", text))
                if asked % 7 == 0:
                    await asyncio.sleep(0)
                    asking.cancel()
                try:
                    assert await asking == text
                    answered += 1
                except StoreUnavailable:
                    outages += 1
                except asyncio.CancelledError:
                    pass

        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(ask(number))
            while kills:
                before = answered
                while answered < before + 100:  # noqa: ASYNC110 - until it is in full swing again
                    await asyncio.sleep(0.001)
                await other.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                kills -= 1
    assert outages > 20


async def test_who_waits_for_a_connection_when_it_is_closed_at_once_is_told() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as url:
        async with open_redis(url.replace("//", "//:password@")) as store:
            waiting = asyncio.create_task(store.command("PING"))
            await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="closed"):
            await waiting


async def test_a_replica_is_left_for_whoever_is_behind_its_address_by_now() -> None:
    servers = iter([b"-READONLY You can't write against a read only replica.\r\n", b"+OK\r\n"])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = next(servers)
        while await reader.readuntil(b"2\r\n"):
            writer.write(answer)

    async with listening(talk) as url, open_redis(url, timeout_s=5) as store:
        with pytest.raises(StoreUnavailable, match="READONLY"):
            await store.command("SET", "x", "2")
        assert await store.command("SET", "x", "2") == b"OK"
