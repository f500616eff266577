"""The door for alerts: whose they are, what is said to whom, and what happens when nothing can be made durable."""

import hashlib
import hmac
import time
from dataclasses import replace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from tests.http.conftest import MakeStage, Stage
from tests.http.support import GOOD_KEY, OWNER
from tests.http.test_app import error_of
from tests.runtime.support import running, until
from trendedge.actors.intake import UnknownAccountName
from trendedge.actors.messages import Receipt, ReceiveAlert
from trendedge.http.app import create_app
from trendedge.http.limits import RateLimits
from trendedge.runtime import Actor, ActorRef, ChildSpec, MailboxSpec, Overflow, SupervisorSpec
from trendedge.runtime.errors import ActorStopped, AskTimeout, DeadlineExceeded, JournalUnavailable, MailboxFull
from trendedge.storage.errors import StoreUnavailable

PATH = "/api/v1/webhooks/tradingview"
ALERT: dict[str, Any] = {"ticker": "NQ1!", "action": "buy", "quantity": "1", "price": "18250.25"}
BODY = orjson.dumps(ALERT)
KEYED_BODY = orjson.dumps(ALERT | {"api_key": GOOD_KEY})
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (PATH, {}, KEYED_BODY),
        (PATH, {}, orjson.dumps(ALERT | {"token": GOOD_KEY})),
        (PATH, {}, orjson.dumps(ALERT | {"secret": GOOD_KEY})),
        (PATH, {}, orjson.dumps(ALERT | {"passphrase": GOOD_KEY})),
        (PATH, {"X-API-Key": GOOD_KEY}, BODY),
        (f"{PATH}/{GOOD_KEY}", {}, BODY),
        (PATH, {}, f"SYMBOL=NQ1!;SIGNAL=BUY;TOKEN={GOOD_KEY}".encode()),
    ],
)
async def test_the_key_is_found_wherever_it_may_be(
    stage: Stage, path: str, headers: dict[str, str], body: bytes
) -> None:
    response = await stage.app.test_client().post(path, data=body, headers={"Content-Type": "text/plain"} | headers)
    assert response.status_code == 202
    answer = await response.get_json()
    assert set(answer) == {"signal_id", "status", "request_id"}
    assert answer["status"] == "accepted"
    assert answer["request_id"] == response.headers["X-Request-ID"]
    [request] = stage.intake.received
    assert request.owner == OWNER
    assert request.request_id == answer["request_id"]
    assert request.received_at.utcoffset() is not None
    assert GOOD_KEY not in request.alert.raw


async def test_a_key_that_stands_in_the_body_under_no_secrets_name_is_not_kept_either(stage: Stage) -> None:
    body = orjson.dumps(ALERT | {"comment": f"my key is {GOOD_KEY}"})
    await stage.app.test_client().post(PATH, data=body, headers={"X-API-Key": GOOD_KEY})
    assert GOOD_KEY not in stage.intake.received[0].alert.raw


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "text/plain; charset=utf-8", None])
async def test_what_tradingview_sends_is_taken(stage: Stage, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    response = await stage.app.test_client().post(PATH, data=KEYED_BODY, headers=headers)
    assert response.status_code == 202


@pytest.mark.parametrize("media_type", ["application/xml", "multipart/form-data; boundary=x", "image/png", "json", "é"])
async def test_another_media_type_is_refused(stage: Stage, media_type: str) -> None:
    response = await stage.app.test_client().post(PATH, data=KEYED_BODY, headers={"Content-Type": media_type})
    assert response.status_code == 415
    assert (await error_of(response))["code"] == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (PATH, {}, BODY),
        (PATH, {}, orjson.dumps(ALERT | {"api_key": "wrong"})),
        (PATH, {"X-API-Key": "wrong"}, KEYED_BODY),
        (PATH, {"X-API-Key": "é"}, BODY),
        (PATH, {"X-API-Key": "x" * 5000}, BODY),
        (f"{PATH}/wrong", {}, KEYED_BODY),
        (f"{PATH}/%00", {}, BODY),
        (f"{PATH}/%ED%A0%80", {}, BODY),
        (f"{PATH}/{GOOD_KEY[:-1]}", {}, BODY),
        (PATH, {}, b'{"api_key": "\\u0000", "ticker": "NQ1!", "action": "buy"}'),
        (PATH, {}, b'{"api_key": ["list"], "ticker": "NQ1!", "action": "buy"}'),
        (PATH, {"X-API-Key": "wrong"}, b"{not json"),
        (PATH, {"X-API-Key": "wrong"}, b'{"ticker":"NQ1!","action":"dance"}'),
        (PATH, {}, b'{"ticker":"XX1!","action":"dance","api_key":"wrong"}'),
    ],
)
async def test_without_a_good_key_nothing_is_said_about_the_alert(
    stage: Stage, path: str, headers: dict[str, str], body: bytes
) -> None:
    response = await stage.app.test_client().post(path, data=body, headers=headers)
    assert response.status_code == 401
    error = await error_of(response)
    assert error["code"] == "AUTHENTICATION_REQUIRED"
    assert error["details"] == []
    assert stage.intake.received == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "VALIDATION_ERROR"),
        (b"\xff\xfe\x00", 400, "VALIDATION_ERROR"),
        (b'{"ticker": "NQ1!", "action": ', 400, "VALIDATION_ERROR"),
        (b"[" * 30_000, 400, "VALIDATION_ERROR"),
        (b'{"a":' * 10_000, 400, "VALIDATION_ERROR"),
        (orjson.dumps({f"k{n}": n for n in range(5_000)}), 400, "VALIDATION_ERROR"),
        (b"null", 400, "VALIDATION_ERROR"),
        (b'{"ticker":"NQ1!","action":"dance"}', 422, "UNPROCESSABLE_ENTITY"),
        (b'{"ticker":"NQ1!","action":"buy","quantity":"0"}', 422, "UNPROCESSABLE_ENTITY"),
        (b'{"ticker":"\\ud800","action":"buy"}', 400, "VALIDATION_ERROR"),
        (b'{"api_key": "\\ud800", "ticker": "NQ1!", "action": "buy"}', 400, "VALIDATION_ERROR"),
    ],
)
async def test_what_cannot_be_read_or_meant_is_refused_with_the_field(
    stage: Stage, body: bytes, status: int, code: str
) -> None:
    response = await stage.app.test_client().post(PATH, data=body, headers={"X-API-Key": GOOD_KEY})
    error = await error_of(response)
    assert (response.status_code, error["code"]) == (status, code)
    [detail] = error["details"]
    assert set(detail) == {"field", "message"}
    assert detail["field"]
    assert detail["message"] in error["message"]


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(stage: Stage, declared: bool) -> None:
    body = b"x" * 65_537
    headers = {"X-API-Key": GOOD_KEY} | ({} if declared else {"Transfer-Encoding": "chunked"})
    response = await stage.app.test_client().post(PATH, data=body, headers=headers)
    assert response.status_code == 413
    assert (await error_of(response))["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_body_at_the_limit_is_read(stage: Stage) -> None:
    body = BODY + b" " * (65_536 - len(BODY))
    response = await stage.app.test_client().post(PATH, data=body, headers={"X-API-Key": GOOD_KEY})
    assert response.status_code == 202


@pytest.mark.parametrize(
    "error",
    [
        MailboxFull("intake", 1),
        JournalUnavailable("Redis", "connection refused by redis.internal"),
        AskTimeout("intake", "ReceiveAlert", 2.5),
        DeadlineExceeded("intake", "ReceiveAlert", 0.1),
        ActorStopped("intake"),
        StoreUnavailable("PostgreSQL", "connection refused by db.internal"),
    ],
)
async def test_what_is_durable_nowhere_is_503_so_that_tradingview_sends_it_again(
    stage: Stage, error: Exception
) -> None:
    stage.intake.error = error
    response = await stage.app.test_client().post(PATH, data=KEYED_BODY)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert (await error_of(response))["code"] == "SERVICE_UNAVAILABLE"
    assert "internal" not in await response.get_data(as_text=True)


class LateIntake(Actor[ReceiveAlert]):
    """Remembers what it handles."""

    def __init__(self, handled: list[str]) -> None:
        self._handled = handled

    async def receive(self, message: ReceiveAlert) -> Receipt:
        self._handled.append(message.request_id)
        return Receipt("signal", "accepted")


async def test_what_was_answered_503_is_not_handled_later(make_stage: MakeStage) -> None:
    stage = make_stage(answer_timeout_s=0.02, begin_within_s=0.01)
    handled: list[str] = []
    intake: ActorRef[ReceiveAlert] = ActorRef("intake")
    client = create_app(replace(stage.services, intake=intake)).test_client()
    spec = ChildSpec("intake", lambda: LateIntake(handled), intake, mailbox=MailboxSpec(1, Overflow.FAIL))
    async with running(SupervisorSpec("root", [spec])):
        intake.cell.suspend()
        assert (await client.post(PATH, data=KEYED_BODY)).status_code == 503
        intake.cell.resume()
        await until(lambda: intake.cell.stats.expired == 1)
    assert handled == []


async def test_an_account_that_the_user_does_not_have_is_422(stage: Stage) -> None:
    stage.intake.error = UnknownAccountName("\ud800", ("Paper",))
    response = await stage.app.test_client().post(PATH, data=KEYED_BODY)
    assert response.status_code == 422
    assert (await error_of(response))["details"][0]["field"] == "account"


def signed(body: bytes, *, key: str = GOOD_KEY, timestamp: int | None = None) -> dict[str, str]:
    """The headers that sign a body."""
    message = body if timestamp is None else b"%d." % timestamp + body
    headers = {"X-API-Key": GOOD_KEY, "X-Signature": hmac.new(key.encode(), message, hashlib.sha256).hexdigest()}
    return headers if timestamp is None else headers | {"X-Timestamp": str(timestamp)}


async def test_a_good_signature_is_accepted(stage: Stage) -> None:
    client = stage.app.test_client()
    upper = signed(BODY)
    upper["X-Signature"] = upper["X-Signature"].upper()
    for headers in (signed(BODY), upper, signed(BODY, timestamp=int(time.time()))):
        assert (await client.post(PATH, data=BODY, headers=headers)).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        signed(BODY + b" "),
        signed(BODY, key="another"),
        signed(BODY, timestamp=1),
        signed(BODY, timestamp=99_999_999_999),
        signed(BODY) | {"X-Timestamp": "1"},
        signed(BODY) | {"X-Timestamp": "-1"},
        signed(BODY) | {"X-Timestamp": "9" * 5000},
        signed(BODY) | {"X-Timestamp": ""},
        signed(BODY) | {"X-Signature": ""},
        signed(BODY) | {"X-Signature": "é"},
        signed(BODY) | {"X-Signature": "zz"},
    ],
)
async def test_a_bad_signature_is_401(stage: Stage, headers: dict[str, str]) -> None:
    response = await stage.app.test_client().post(PATH, data=BODY, headers=headers)
    assert response.status_code == 401
    assert stage.intake.received == []


async def test_a_key_over_its_limit_is_429_and_other_keys_go_on(make_stage: MakeStage) -> None:
    stage = make_stage(rate_limits=RateLimits(webhook=2))
    stage.keys.owners["other"] = type(OWNER)(OWNER.user_id, "another key", ())
    client = stage.app.test_client()
    with capture_logs() as lines:
        answers = [await client.post(PATH, data=KEYED_BODY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert answers[0].headers["X-RateLimit-Limit"] == "2"
    assert any(line["event"] == "Webhook over its rate limit" and line["log_level"] == "warning" for line in lines)
    assert (await client.post(f"{PATH}/other", data=BODY)).status_code == 202


async def test_too_many_wrong_keys_from_one_address_are_429_while_good_ones_pass(make_stage: MakeStage) -> None:
    client = make_stage(rate_limits=RateLimits(auth=2)).app.test_client()
    answers = [await client.post(f"{PATH}/wrong", data=BODY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    assert (await client.post(PATH, data=KEYED_BODY)).status_code == 202


async def test_strangers_who_show_no_key_are_limited_by_address(make_stage: MakeStage) -> None:
    client = make_stage(rate_limits=RateLimits(read=2)).app.test_client()
    statuses = [(await client.post(PATH, data=body)).status_code for body in (BODY, b"{", BODY, b"{")]
    assert statuses == [401, 400, 429, 429]
    assert (await client.post(PATH, data=KEYED_BODY)).status_code == 202
