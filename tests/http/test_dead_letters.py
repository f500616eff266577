"""Dead letters over HTTP, on the real tree and the real stores."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.actors.support import Desk, desk, make_owner, settled
from tests.actors.test_executor import command_for
from tests.http.conftest import Stage
from tests.http.support import OPERATOR_KEY, token_for
from tests.http.test_app import error_of
from tests.storage.support import own
from trendedge.actors.codec import encode_execute
from trendedge.actors.tree import EXECUTOR_MAILBOX
from trendedge.http.app import Front, create_app
from trendedge.runtime import DeadLetter, DeadLetters
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore

KEY = {"X-API-Key": OPERATOR_KEY}
LETTERS = "/ops/dead-letters"


@dataclass
class Mortuary:
    """A running tree with two dead letters, the newest of which nobody can read, and a front before it."""

    place: Desk
    app: Front
    signal_id: str

    async def call(self, method: str, path: str, expected: int = 200) -> Any:
        client = self.app.test_client()
        response = await (client.get if method == "GET" else client.post)(path, headers=KEY)
        assert response.status_code == expected, await response.get_data(as_text=True)
        return await response.get_json()


@pytest.fixture
async def mortuary(stage: Stage, database: Database, redis_store: RedisStore) -> AsyncIterator[Mortuary]:
    email = f"{uuid.uuid4()}@example.test"
    command = replace(command_for(await make_owner(database, email)), signal_id=str(uuid.uuid4()))
    journal = (await own(database, redis_store, EXECUTOR_MAILBOX, node="test-node")).redis
    for payload in (encode_execute(command), b"\xff"):
        await journal.append(EXECUTOR_MAILBOX, payload)
    first, second = await journal.recover(EXECUTOR_MAILBOX)
    await journal.bury(EXECUTOR_MAILBOX, first.entry_id, first.payload, DeadLetter("ValueError: no", "Trace", 3))
    await journal.bury(EXECUTOR_MAILBOX, second.entry_id, second.payload, DeadLetter("unreadable", "", 1))
    async with desk(database, redis_store) as place:
        services = replace(stage.services, dead_letters=DeadLetters(place.root))
        yield Mortuary(place, create_app(services), command.signal_id)


async def test_letters_are_listed_and_shown_without_secrets(mortuary: Mortuary) -> None:
    listed = await mortuary.call("GET", LETTERS)
    unreadable, letter = listed["items"]
    assert listed["next_cursor"] is None
    assert (unreadable["payload"], unreadable["payload_bytes"]) == (None, 1)
    assert (letter["mailbox"], letter["cause"], letter["traceback"], letter["attempts"]) == (
        "executor", "ValueError: no", "Trace", 3,
    )  # fmt: skip
    assert letter["payload"]["signal_id"] == mortuary.signal_id
    assert letter["request_id"] == "r"
    assert await mortuary.call("GET", f"{LETTERS}/{letter['id']}") == letter
    page = await mortuary.call("GET", f"{LETTERS}?limit=1&mailbox=executor")
    assert page["items"] == [unreadable]
    assert (await mortuary.call("GET", f"{LETTERS}?limit=1&cursor={page['next_cursor']}"))["items"] == [letter]


async def test_a_letter_is_rehearsed_replayed_and_traded_once(mortuary: Mortuary) -> None:
    letter = (await mortuary.call("GET", LETTERS))["items"][1]["id"]
    rehearsed = await mortuary.call("POST", f"{LETTERS}/{letter}/replay?dry_run=true")
    assert (rehearsed["dry_run"], rehearsed["trades"], rehearsed["decision"]["status"]) == (True, True, "filled")
    assert await mortuary.place.status_of(mortuary.signal_id) is None
    replayed = await mortuary.call("POST", f"{LETTERS}/{letter}/replay", 202)
    assert (replayed["dry_run"], replayed["status"]) == (False, "replayed")
    await settled(mortuary.place)
    assert await mortuary.place.status_of(mortuary.signal_id) == "filled"
    await mortuary.call("POST", f"{LETTERS}/{letter}/replay", 404)
    recorded = (await mortuary.call("GET", "/ops/audit?limit=3"))["items"]
    assert [(one["action"], one["target"], one["status"], one["parameters"]) for one in recorded] == [
        ("dead-letters.replay", letter, 404, {}),
        ("dead-letters.replay", letter, 202, {}),
        ("dead-letters.replay", letter, 200, {"dry_run": "true"}),
    ]


async def test_what_cannot_be_read_can_only_be_discarded(mortuary: Mortuary) -> None:
    letter = (await mortuary.call("GET", LETTERS))["items"][0]["id"]
    for query in ("", "?dry_run=true"):
        refused = await mortuary.call("POST", f"{LETTERS}/{letter}/replay{query}", 409)
        assert "cannot be read" in refused["error"]["message"]
    assert (await mortuary.call("POST", f"{LETTERS}/{letter}/discard"))["status"] == "discarded"
    await mortuary.call("POST", f"{LETTERS}/{letter}/discard", 404)
    assert len((await mortuary.call("GET", LETTERS))["items"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "?mailbox=nobody", 400),
        ("GET", "?cursor=nonsense", 400),
        ("GET", "?limit=0", 400),
        ("GET", "/nonsense", 404),
        ("GET", "/executor:1:5-5", 404),
        ("POST", "/executor:1:5-5/replay", 404),
        ("POST", "/executor:1:5-5/replay?dry_run=true", 404),
        ("POST", "/executor:1:5-5/replay?dry_run=maybe", 400),
        ("POST", "/executor:1:5-5/discard", 404),
    ],
)
async def test_what_is_not_there_or_not_understood(mortuary: Mortuary, method: str, path: str, expected: int) -> None:
    assert (await mortuary.call(method, LETTERS + path, expected))["error"]["code"]


@pytest.mark.parametrize("path", ["", "/executor:1:5-5"])
async def test_letters_are_for_operators_alone(stage: Stage, path: str) -> None:
    client = stage.app.test_client()
    user = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
    for verb in ("", "/replay", "/discard") if path else ("",):
        send = client.post if verb else client.get
        for headers, expected in (({}, 401), (user, 403)):
            response = await send(f"{LETTERS}{path}{verb}", headers=headers)
            assert response.status_code == expected
            await error_of(response)
