"""The one shape in which every error leaves (PRD INF-FR-003)."""

import json
import re
from typing import Any
from uuid import UUID

import httpx

CODES = {
    400: "VALIDATION_ERROR",
    401: "AUTHENTICATION_REQUIRED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE_ENTITY",
    503: "SERVICE_UNAVAILABLE",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_INTERNALS = re.compile(
    r"Traceback|File \"|site-packages|trendedge/|asyncpg|redis|postgres|127\.0\.0\.1", re.IGNORECASE
)


def error_of(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The error of an answer that has to be one of `statuses`, checked to be a proper envelope."""
    assert answer.status_code in statuses, f"{answer.status_code} is not one of {statuses}: {answer.text[:500]}"
    return check_envelope(answer.status_code, answer.content, request_id=answer.headers["X-Request-ID"])


def check_envelope(status: int, body: bytes, *, request_id: str | None = None) -> dict[str, Any]:
    """The error in a body, checked to be a proper envelope that tells no internals."""
    content = json.loads(body)
    assert content.keys() == {"error"}
    error: dict[str, Any] = content["error"]
    assert error.keys() == {"code", "message", "details", "request_id", "timestamp"}
    assert error["code"] == CODES[status]
    assert error["message"]
    assert all(detail.keys() == {"field", "message"} for detail in error["details"])
    assert str(UUID(error["request_id"])) == error["request_id"]
    assert request_id in (None, error["request_id"])
    assert _TIME.fullmatch(error["timestamp"])
    assert not _INTERNALS.search(error["message"] + json.dumps(error["details"]))
    return error
