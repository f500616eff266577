"""Bodies and keys that are none: a 4xx in the envelope, an outcome for whatever passes, and business as usual."""

import string
from collections.abc import AsyncIterator
from itertools import count, islice
from itertools import product as combinations
from typing import Any

import httpx
import pytest

from tests.system.envelope import error_of
from tests.system.person import WEBHOOK, Person
from tests.system.product import Product
from tests.system.trading import with_alert
from tests.system.waiting import eventually

pytestmark = pytest.mark.usefixtures("unharmed")

LIMIT = 65_536
_numbers = count(1)


def names() -> "islice[str]":
    """Ten thousand names of fields."""
    return islice(map("".join, combinations(string.ascii_lowercase, repeat=3)), 10_000)


UNREADABLE = {
    "nothing": b"",
    "blanks": b" \r\n\t ",
    "half an object": b'{"ticker":"NQ1!","action":',
    "a lone brace": b"{",
    "prose": b"buy some nasdaq please",
    "null": b"null",
    "a list": b"[]",
    "a number": b"42",
    "a string": b'"buy NQ1!"',
    "not UTF-8": b'{"ticker":"NQ1!\xff\xfe","action":"buy"}',
    "UTF-16": '{"ticker":"NQ1!","action":"buy"}'.encode("utf-16"),
    "zeros": b"\x00" * 1000,
    "binary": bytes(range(256)) * 16,
    "two objects": b'{"ticker":"NQ1!"}{"action":"buy"}',
    "objects in objects": b'{"a":' * 8000 + b"1" + b"}" * 8000,
    "lists in lists": b"[" * 60_000,
    "an alert around lists in lists": with_alert('"x":' + "[" * 20_000 + "]" * 20_000),
    "ten thousand fields": with_alert(",".join('"a":1' for _ in range(10_000))),
    "a lone surrogate": b'{"ticker":"\\ud800","action":"buy"}',
    "a surrogate as the side": b'{"ticker":"NQ1!","action":"\\udfff"}',
    "NUL in the symbol": b'{"ticker":"NQ1!\\u0000","action":"buy"}',
    "a list as the symbol": b'{"ticker":["NQ1!"],"action":"buy"}',
    "an object as the side": b'{"ticker":"NQ1!","action":{"buy":1}}',
    "no symbol": b'{"action":"buy"}',
    "no side": b'{"ticker":"NQ1!"}',
    "an unknown symbol": b'{"ticker":"EURUSD","action":"buy"}',
    "an unknown side": b'{"ticker":"NQ1!","action":"hodl"}',
    "quantity 0": with_alert('"quantity":0'),
    "a negative quantity": with_alert('"quantity":-1'),
    "a fraction of a contract": with_alert('"quantity":1.5'),
    "a quantity of five thousand digits": with_alert('"quantity":1' + "0" * 5000),
    "a quantity of 1e999999": with_alert('"quantity":1e999999'),
    "infinite quantity": with_alert('"quantity":Infinity'),
    "a price that is not a number": b'{"ticker":"NQ1!","action":"buy","price":NaN}',
    "a price of 1e400": b'{"ticker":"NQ1!","action":"buy","price":1e400}',
    "a price off the tick": b'{"ticker":"NQ1!","action":"buy","price":"18250.13"}',
    "a negative price": b'{"ticker":"NQ1!","action":"buy","price":"-5"}',
    "truth as a price": b'{"ticker":"NQ1!","action":"buy","price":true}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-8"])
async def test_what_is_no_alert_is_refused(
    client: httpx.AsyncClient, victim: Person, body: bytes, content_type: str
) -> None:
    headers = {"X-API-Key": victim.key, "Content-Type": content_type}
    error = error_of(await client.post(WEBHOOK, content=body, headers=headers), 400, 422)
    assert error["details"], "nothing says which field it was"
    assert all(detail["field"] and detail["message"] for detail in error["details"])


AWKWARD: dict[str, str] = {
    "NUL in a comment": '"comment":"a\\u0000b"',
    "NUL in the id": '"id":"a\\u0000b"',
    "NUL in the playbook": '"playbook":"a\\u0000b"',
    "NUL in the account": '"account":"a\\u0000b"',
    "a surrogate in a comment": '"comment":"\\ud800"',
    "a surrogate in the id": '"id":"\\ud800"',
    "a surrogate in the playbook": '"playbook":"\\udfff"',
    "a surrogate as the name of a field": '"\\ud800":1',
    "an id of ten thousand letters": f'"id":"{"x" * 10_000}"',
    "an id that is a number": '"id":12345678901234567890123456789012345678901234567890',
    "a clock in the year 0": '"time":"0000-00-00T00:00:00Z"',
    "a clock in the year 99999": '"time":"99999-01-01T00:00:00Z"',
    "a clock that is a huge number": '"time":1e308',
    "a million contracts": '"quantity":1000000',
    "as many contracts as fit in no column": '"quantity":9223372036854775808',
    "a price with forty digits": '"limit_price":"1' + "0" * 40 + '","order_type":"limit"',
    "control characters": '"comment":"\\u0001\\u001b[2J\\r\\n"',
    "right to left": '"comment":"\\u202e\\u2066"',
    "a name from Python": '"__class__":{"__init__":1}',
}


@pytest.mark.parametrize("extra", AWKWARD.values(), ids=AWKWARD.keys())
async def test_what_is_barely_an_alert_is_refused_or_has_an_outcome(
    product: Product, client: httpx.AsyncClient, victim: Person, extra: str
) -> None:
    """Nothing may pass the door and then break the executor or the database."""
    unique = f'"alert_id":"awkward-{next(_numbers)}",' if '"id"' not in extra else ""
    headers = {"X-API-Key": victim.key}
    answer = await client.post(WEBHOOK, content=with_alert(unique + extra), headers=headers)
    if answer.status_code != 202:
        error_of(answer, 400, 422)
        return
    signal_id = answer.json()["signal_id"]
    await eventually(lambda: product.ledger.have_outcomes(victim.id, [signal_id]), "it has an outcome")
    await victim.get(client, f"signals/{signal_id}")
    await victim.get(client, "signals")
    assert await product.ledger.faults(victim.id) == []


async def test_ten_thousand_different_fields_are_too_many(client: httpx.AsyncClient, victim: Person) -> None:
    body = with_alert(",".join(f'"{name}":1' for name in names()))
    error_of(await client.post(WEBHOOK, content=body, headers={"X-API-Key": victim.key}), 413)


async def test_a_body_may_have_64_kib_and_not_a_byte_more(client: httpx.AsyncClient, victim: Person) -> None:
    headers = {"X-API-Key": victim.key}
    alert = with_alert(f'"id":"full-{next(_numbers)}"')
    fits = await client.post(WEBHOOK, content=alert.ljust(LIMIT), headers=headers)
    assert fits.status_code == 202, fits.text
    error_of(await client.post(WEBHOOK, content=alert.ljust(LIMIT + 1), headers=headers), 413)


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("path", [WEBHOOK, f"{WEBHOOK}/no-such-key", "/api/v1/no-such-path"])
async def test_a_megabyte_is_refused(client: httpx.AsyncClient, victim: Person, chunked: bool, path: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield b"x" * 4096

    content: Any = pieces() if chunked else b"x" * 1_048_576
    statuses = (413,) if path == WEBHOOK else (401, 404, 413)
    error_of(await client.post(path, content=content, headers={"X-API-Key": victim.key}), *statuses)
