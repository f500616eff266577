"""A server that a setting names and that cannot be used: one clear sentence, soon, without the password."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from trendedge.commands import connections
from trendedge.commands.connections import check_postgres, check_redis
from trendedge.commands.console import Console
from trendedge.commands.errors import StoreUnusable

PASSWORD = "hunter2"


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where a connection is accepted and nothing is ever said: what a black hole looks like to a client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def changed(url: str, *, credentials: str | None = None, path: str | None = None) -> str:
    parts = urlsplit(url)
    netloc = parts.netloc if credentials is None else f"{credentials}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc, path=parts.path if path is None else path))


async def refusal_of_postgres(url: str, console: Console) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await check_postgres(url, console)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


async def refusal_of_redis(url: str, console: Console) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await check_redis(url, console)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


async def test_a_good_server_is_shown_with_its_version(
    postgres_url: str, redis_url: str, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    await check_postgres(postgres_url, console)
    await check_redis(redis_url, console)
    shown = capsys.readouterr().err
    assert f"PostgreSQL at 127.0.0.1:{urlsplit(postgres_url).port}/" in shown
    assert f"Redis at 127.0.0.1:{urlsplit(redis_url).port}/0 (7.2.4)" in shown
    assert str(urlsplit(postgres_url).password) not in shown


async def test_nothing_listens(closed_port: int, console: Console) -> None:
    text = await refusal_of_postgres(f"postgresql://u:{PASSWORD}@127.0.0.1:{closed_port}/x", console)
    assert text.startswith(f"DATABASE_URL: PostgreSQL at 127.0.0.1:{closed_port}/x cannot be used: ")
    assert text.endswith("Nothing listens there: start the server, or correct host and port in DATABASE_URL.")
    text = await refusal_of_redis(f"redis://u:{PASSWORD}@127.0.0.1:{closed_port}", console)
    assert text.startswith(f"UPSTASH_REDIS_URL: Redis at 127.0.0.1:{closed_port}/0 cannot be used: ")
    assert text.endswith("Nothing listens there: start the server, or correct host and port in UPSTASH_REDIS_URL.")


async def test_there_is_no_such_host(console: Console) -> None:
    text = await refusal_of_postgres(f"postgresql://u:{PASSWORD}@nowhere.invalid/x", console)
    assert text.endswith("There is no such host: correct DATABASE_URL.")
    text = await refusal_of_redis(f"redis://u:{PASSWORD}@nowhere.invalid", console)
    assert text.endswith("There is no such host: correct UPSTASH_REDIS_URL.")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_it_does_not_answer(
    silent_port: int, console: Console, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connections.CONNECT_S <= 5
    monkeypatch.setattr(connections, "CONNECT_S", 0.2)
    text = await refusal_of_postgres(f"postgresql://u:{PASSWORD}@127.0.0.1:{silent_port}/x", console)
    assert "cannot be used: no answer in time. It does not answer: check" in text
    text = await refusal_of_redis(f"{scheme}://u:{PASSWORD}@127.0.0.1:{silent_port}", console)
    assert "It does not answer: check the host and port in UPSTASH_REDIS_URL" in text


@pytest.mark.parametrize("user", ["trendedge", "nobody"])
async def test_the_password_is_wrong(postgres_url: str, redis_url: str, console: Console, user: str) -> None:
    text = await refusal_of_postgres(changed(postgres_url, credentials=f"{user}:{PASSWORD}"), console)
    assert text.endswith("It refuses the user or the password: correct them in DATABASE_URL.")
    text = await refusal_of_redis(changed(redis_url, credentials=f":{PASSWORD}"), console)
    assert text.endswith("It refuses the user or the password: correct them in UPSTASH_REDIS_URL.")


async def test_the_password_is_missing(redis_url: str, console: Console) -> None:
    text = await refusal_of_redis(f"redis://127.0.0.1:{urlsplit(redis_url).port}", console)
    assert text.endswith("It refuses the user or the password: correct them in UPSTASH_REDIS_URL.")


async def test_there_is_no_such_database(postgres_url: str, redis_url: str, console: Console) -> None:
    text = await refusal_of_postgres(changed(postgres_url, path="/nowhere"), console)
    assert text.endswith('database "nowhere" does not exist. Create the database, or correct its name in DATABASE_URL.')
    text = await refusal_of_redis(changed(redis_url, path="/99"), console)
    assert text.endswith("cannot be used: DB index is out of range. Correct UPSTASH_REDIS_URL.")


async def test_a_server_of_another_kind_is_no_crash(postgres_url: str, redis_url: str, console: Console) -> None:
    redis_port, postgres_port = urlsplit(redis_url).port, urlsplit(postgres_url).port
    assert await refusal_of_postgres(f"postgresql://u:{PASSWORD}@127.0.0.1:{redis_port}/x", console)
    assert await refusal_of_redis(f"redis://:{PASSWORD}@127.0.0.1:{postgres_port}", console)
