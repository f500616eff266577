"""Webhook keys: shown once, listed without the key, revoked at once, and nobody else's business."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.http.conftest import Stage
from tests.http.support import token_for
from tests.http.test_app import error_of
from trendedge.actors.keyring import Keyring
from trendedge.http.app import create_app

PATH = "/api/v1/users/me/api-keys"


@pytest.fixture
def client(stage: Stage) -> Any:
    """A client of the application over the real keyring."""
    return create_app(replace(stage.services, keyring=Keyring(stage.services.database))).test_client()


def bearer(user_id: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(user_id or str(uuid.uuid4()))}"}


async def post_alert(client: Any, key: str, **changes: Any) -> int:
    alert = {"ticker": "NQ1!", "action": "buy", "price": "18250.25", "api_key": key} | changes
    return int((await client.post("/api/v1/webhooks/tradingview", json=alert)).status_code)


async def test_a_key_opens_the_webhook_until_it_is_revoked(client: Any) -> None:
    me = bearer()
    made = await client.post(PATH, json={"name": "My chart"}, headers=me)
    assert made.status_code == 201
    key = await made.get_json()
    assert key["name"] == "My chart"
    assert await post_alert(client, key["key"]) == 202

    listed = await (await client.get(PATH, headers=me)).get_json()
    assert [one["id"] for one in listed["items"]] == [key["id"]]
    assert key["key"] not in str(listed)

    assert (await client.delete(f"{PATH}/{key['id']}", headers=me)).status_code == 204
    assert await post_alert(client, key["key"]) == 401
    assert (await (await client.get(PATH, headers=me)).get_json())["items"] == []
    assert (await client.delete(f"{PATH}/{key['id']}", headers=me)).status_code == 404


async def test_a_key_of_somebody_else_is_not_there(client: Any) -> None:
    key = await (await client.post(PATH, headers=bearer())).get_json()
    for item_id in (key["id"], "nonsense", "%00"):
        response = await client.delete(f"{PATH}/{item_id}", headers=bearer())
        assert response.status_code == 404
        await error_of(response)
    assert await post_alert(client, key["key"]) == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name": ""}', "name"),
        (b'{"name": 1}', "name"),
        (b'{"name": "%s"}' % (b"x" * 101), "name"),
        (b'{"name": "a", "scope": "all"}', "scope"),
        (b"[]", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b"[" * 10_000, "body"),
        (b'{"name": "\\ud800"}', "body"),
    ],
)
async def test_a_wrong_body_is_400_with_the_field(client: Any, body: bytes, field: str) -> None:
    response = await client.post(PATH, data=body, headers=bearer() | {"Content-Type": "application/json"})
    assert response.status_code == 400
    assert field in {detail["field"] for detail in (await error_of(response))["details"]}


async def test_a_body_that_is_no_json_by_its_type_is_415(client: Any) -> None:
    response = await client.post(PATH, data=b"name=x", headers=bearer() | {"Content-Type": "text/plain"})
    assert response.status_code == 415
