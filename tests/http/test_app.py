"""What every answer has in common: the id, the headers, the envelope, CORS, and a log line without secrets."""

import uuid
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.http.conftest import MakeStage, Stage
from tests.http.support import GOOD_KEY, OPERATOR_KEY, token_for
from trendedge.http.limits import RateLimits

ERROR_FIELDS = {"code", "message", "details", "request_id", "timestamp"}


async def error_of(response: Any) -> dict[str, Any]:
    """The error in the envelope, whose shape is checked on the way."""
    body = await response.get_json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == ERROR_FIELDS
    assert error["timestamp"].endswith("Z")
    assert error["request_id"] == response.headers["X-Request-ID"]
    return error


async def test_a_uuid_is_kept_as_request_id(stage: Stage) -> None:
    mine = str(uuid.uuid4())
    response = await stage.app.test_client().get("/health", headers={"X-Request-ID": mine})
    assert response.headers["X-Request-ID"] == mine


@pytest.mark.parametrize("proposed", ["", "1", "x" * 36, "é" * 36, "550e8400-e29b-41d4-a716-44665544000g"])
async def test_any_other_request_id_is_replaced(stage: Stage, proposed: str) -> None:
    response = await stage.app.test_client().get("/health", headers={"X-Request-ID": proposed})
    assert response.headers["X-Request-ID"] != proposed
    assert uuid.UUID(response.headers["X-Request-ID"]).version == 4


async def test_every_answer_carries_the_security_headers(stage: Stage) -> None:
    client = stage.app.test_client()
    for path in ("/health", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["X-API-Version"] == "v1"
        assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/api//v1/trades", 404, "NOT_FOUND"),
        ("GET", "/%00", 404, "NOT_FOUND"),
        ("POST", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v1/webhooks/tradingview", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_the_frameworks_own_errors_come_in_the_envelope(
    stage: Stage, method: str, path: str, status: int, code: str
) -> None:
    client = stage.app.test_client()
    response = await client.open(path, method=method)  # type: ignore[call-arg]  # Quart's protocol forgot a default
    assert response.status_code == status
    assert (await error_of(response))["code"] == code


async def test_a_wrong_method_is_told_the_right_ones(stage: Stage) -> None:
    response = await stage.app.test_client().delete("/health")
    assert "GET" in response.headers["Allow"]


async def test_an_unexpected_error_tells_the_log_everything_and_the_client_nothing(stage: Stage) -> None:
    stage.intake.error = ZeroDivisionError("postgresql://user:hunter2@db.internal:5432/trendedge")
    with capture_logs() as lines:
        response = await stage.app.test_client().post(
            f"/api/v1/webhooks/tradingview/{GOOD_KEY}", data=b'{"ticker":"NQ1!","action":"buy","price":"18250.25"}'
        )
    assert response.status_code == 500
    assert (await error_of(response))["message"] == "Something went wrong on our side."
    assert "hunter2" not in await response.get_data(as_text=True)
    failed = [line for line in lines if line["event"] == "Request failed"]
    assert len(failed) == 1
    assert isinstance(failed[0]["exc_info"], ZeroDivisionError)


async def test_a_browser_of_an_allowed_origin_may_read_the_answer(stage: Stage) -> None:
    headers = (await stage.app.test_client().get("/health", headers={"Origin": "http://localhost:3000"})).headers
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "X-Request-ID" in headers["Access-Control-Expose-Headers"]
    assert headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["http://evil.test", "http://localhost:3000.evil.test", "null", "http://localhost"])
async def test_a_browser_of_another_origin_may_not(stage: Stage, origin: str) -> None:
    client = stage.app.test_client()
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for response in (
        await client.get("/health", headers={"Origin": origin}),
        await client.options("/api/v1/trades", headers=asked),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"


async def test_a_preflight_is_answered_without_credentials(stage: Stage) -> None:
    response = await stage.app.test_client().options(
        "/api/v1/users/me",
        headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PATCH"},
    )
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
    assert "X-API-Key" in response.headers["Access-Control-Allow-Headers"]
    assert response.headers["Access-Control-Max-Age"] == "600"


async def test_each_request_leaves_a_line_with_its_facts_and_no_secret(stage: Stage) -> None:
    token = token_for(str(uuid.uuid4()))
    body = b'{"ticker":"NQ1!","action":"buy","api_key":"%s"}' % GOOD_KEY.encode()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        client = stage.app.test_client()
        await client.post(f"/api/v1/webhooks/tradingview/{GOOD_KEY}?token={token}", data=body)
        await client.post("/api/v1/webhooks/tradingview", data=body, headers={"User-Agent": "TradingView/1.0"})
        await client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {token}x"})
        await client.get(f"/api/v1/webhooks/{GOOD_KEY}?token={token}")
        await client.get("/ops/actors", headers={"X-API-Key": OPERATOR_KEY})
    completed = [line for line in lines if line["event"] == "Request completed"]
    assert len(completed) == 5
    facts = {"request_id", "method", "path", "status_code", "duration_ms", "user_id", "ip", "user_agent", "logger"}
    assert all(facts <= set(line) for line in completed)
    assert completed[1]["user_agent"] == "TradingView/1.0"
    assert completed[0]["path"] == "/api/v1/webhooks/tradingview/***"
    for secret in (GOOD_KEY, token, OPERATOR_KEY):
        assert secret not in repr(lines)


async def test_behind_a_proxy_the_address_is_what_the_proxy_says(make_stage: MakeStage) -> None:
    for header, expected in ((None, "<local>"), ("X-Real-IP", "203.0.113.42")):
        app = make_stage(address_header=header).app
        with capture_logs() as lines:
            await app.test_client().get("/nowhere", headers={"X-Real-IP": "203.0.113.42"})
        assert lines[-1]["ip"] in {expected, "unknown"}


async def test_too_many_requests_of_one_user_are_told_when_to_come_again(make_stage: MakeStage) -> None:
    client = make_stage(rate_limits=RateLimits(read=2)).app.test_client()
    headers = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
    answers = [await client.get("/api/v1/users/me", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].headers["X-RateLimit-Limit"] == "2"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 120
    assert (await error_of(answers[2]))["code"] == "RATE_LIMITED"
    other = {"Authorization": f"Bearer {token_for(str(uuid.uuid4()))}"}
    assert (await client.get("/api/v1/users/me", headers=other)).status_code == 200


async def test_probes_are_never_limited(make_stage: MakeStage) -> None:
    client = make_stage(rate_limits=RateLimits(auth=0, webhook=0, read=0, write=0)).app.test_client()
    operator = {"X-API-Key": OPERATOR_KEY}
    for path in ("/health", "/health/ready", "/health/detailed"):
        assert [(await client.get(path, headers=operator)).status_code for _ in range(5)] == [200] * 5
