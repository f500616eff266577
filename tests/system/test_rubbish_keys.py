"""Keys that open nothing, and what a stranger is told."""

import httpx
import pytest

from tests.system.envelope import error_of
from tests.system.person import WEBHOOK
from tests.system.trading import ALERT, with_alert

pytestmark = pytest.mark.usefixtures("unharmed")


WRONG_KEYS = {
    "a wrong one": "te_0000000000000000000000000000000000000000",
    "a short one": "x",
    "a long one": "k" * 4000,
    "a quote": "' or 1=1 --",
    "percent signs": "%s%n%00",
}


@pytest.mark.parametrize("key", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
@pytest.mark.parametrize("place", ["body", "header", "path"])
async def test_a_wrong_key_opens_nothing(client: httpx.AsyncClient, key: str, place: str) -> None:
    match place:
        case "body":
            answer = await client.post(WEBHOOK, json=ALERT | {"api_key": key})
        case "header":
            answer = await client.post(WEBHOOK, json=ALERT, headers={"X-API-Key": key})
        case _:
            quoted = httpx.URL(f"{WEBHOOK}/").copy_with(path=f"{WEBHOOK}/{key}")
            answer = await client.post(quoted, json=ALERT)
    error_of(answer, 401)


@pytest.mark.parametrize("key", ['"\\ud800"', '"\\u0000"', "12345", "null", '""', "[]", "{}", "true", '"schlüssel"'])
async def test_a_key_that_cannot_be_one_opens_nothing(client: httpx.AsyncClient, key: str) -> None:
    error_of(await client.post(WEBHOOK, content=with_alert(f'"api_key":{key}')), 400, 401, 422)


async def test_no_key_and_no_word_on_what_was_wrong_besides(client: httpx.AsyncClient) -> None:
    """Who shows no key learns nothing of what the body means."""
    error = error_of(await client.post(WEBHOOK, json={"ticker": "EURUSD", "action": "hodl"}), 401)
    assert error["details"] == []
