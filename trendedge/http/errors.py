"""The one table of error codes, and the one envelope in which every error leaves (PRD INF-FR-003)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus

import orjson


class Code(Enum):
    """Error codes with their status. The name is what clients see; the text is what they are told by default."""

    VALIDATION_ERROR = (400, "The request is not valid.")
    AUTHENTICATION_REQUIRED = (401, "Authentication is required.")
    FORBIDDEN = (403, "You are not allowed to do this.")
    NOT_FOUND = (404, "There is no such resource.")
    METHOD_NOT_ALLOWED = (405, "This resource does not know that method.")
    REQUEST_TIMEOUT = (408, "The request did not arrive in time.")
    CONFLICT = (409, "The request conflicts with what is there.")
    PAYLOAD_TOO_LARGE = (413, "The body is too large.")
    UNSUPPORTED_MEDIA_TYPE = (415, "The body has a content type that is not accepted here.")
    UNPROCESSABLE_ENTITY = (422, "The request can be read, but not carried out.")
    RATE_LIMITED = (429, "Too many requests.")
    INTERNAL_ERROR = (500, "Something went wrong on our side.")
    BROKER_ERROR = (502, "The broker failed.")
    SERVICE_UNAVAILABLE = (503, "The service is not available just now. Please try again.")

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing that is wrong, by the name under which the client sent it."""

    field: str
    message: str


class ApiError(Exception):
    """An answer other than success. Its text is for the client: it never holds an internal."""

    def __init__(
        self,
        code: Code,
        message: str | None = None,
        *,
        details: Sequence[Detail] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or code.message)
        self.code = code
        self.message = message or code.message
        self.details = tuple(details)
        self.headers = dict(headers or {})


class InvalidToken(Exception):
    """A bearer token that proves nothing. The reason is for the log, not for the client."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the token is not valid: {reason}")
        self.reason = reason


def invalid(field: str, message: str) -> ApiError:
    """400 over one field."""
    return ApiError(Code.VALIDATION_ERROR, f"{field}: {message}", details=[Detail(field, message)])


def unavailable(retry_after_s: int, message: str | None = None) -> ApiError:
    """503 that says when to come again."""
    return ApiError(Code.SERVICE_UNAVAILABLE, message, headers={"Retry-After": str(retry_after_s)})


def code_of_status(status: int) -> Code:
    """The code for an error that the framework raised: its own if there is one, else that of its class."""
    for code in Code:
        if code.status == status:
            return code
    return Code.VALIDATION_ERROR if status < HTTPStatus.INTERNAL_SERVER_ERROR else Code.INTERNAL_ERROR


def envelope(error: ApiError, request_id: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps(
        {
            "error": {
                "code": error.code.name,
                "message": _encodable(error.message),
                "details": [
                    {"field": _encodable(one.field), "message": _encodable(one.message)} for one in error.details
                ],
                "request_id": request_id,
                "timestamp": utc_text(datetime.now(UTC)),
            }
        }
    )


def _encodable(text: str) -> str:
    """What a refusal quotes may hold lone surrogates, which UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z`, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
