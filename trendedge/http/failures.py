"""Which answer an exception becomes. Handlers raise what they know; this is the only place that translates."""

from quart import Response
from werkzeug.exceptions import HTTPException

from trendedge.actors.intake import UnknownAccountName
from trendedge.domain.alerts import AlertRefused
from trendedge.http.errors import ApiError, Code, Detail, code_of_status, envelope, invalid, unavailable
from trendedge.http.exchange import Exchange
from trendedge.runtime.control import NotRestartable, NotSuspendable, UnknownActor, UnknownBreaker
from trendedge.runtime.errors import (
    ActorStopped,
    AskTimeout,
    DeadlineExceeded,
    JournalUnavailable,
    MailboxFull,
    StartFailed,
    UnknownDeadLetter,
    UnknownSchedule,
    UnreadableDeadLetter,
)
from trendedge.storage.errors import InvalidCursor, StoreUnavailable, UnknownAccount

_TRY_AGAIN = (StoreUnavailable, JournalUnavailable, MailboxFull, ActorStopped, AskTimeout, DeadlineExceeded)
_ACTS: dict[type[Exception], tuple[Code, str]] = {
    UnknownActor: (Code.NOT_FOUND, "There is no such actor."),
    UnknownBreaker: (Code.NOT_FOUND, "There is no such breaker."),
    UnknownDeadLetter: (Code.NOT_FOUND, "There is no such dead letter."),
    UnknownSchedule: (Code.NOT_FOUND, "There is no such schedule."),
    NotRestartable: (Code.CONFLICT, "This is the root of the tree: restart the process instead."),
    StartFailed: (Code.CONFLICT, "It did not start, and is not to be tried again."),
    UnreadableDeadLetter: (Code.CONFLICT, "This dead letter cannot be read: a replay would only bury it again."),
    UnknownAccount: (Code.CONFLICT, "The account that this is for is gone."),
}
_KEPT_HEADERS = ("Allow", "Location")


def translate(error: Exception, *, retry_after_s: int) -> ApiError | None:
    """The answer for an error that has a meaning for clients; None for one that nobody expected."""
    match error:
        case ApiError():
            return error
        case AlertRefused():
            return _refused(error)
        case UnknownAccountName():
            return ApiError(Code.UNPROCESSABLE_ENTITY, str(error), details=[Detail("account", str(error))])
        case InvalidCursor():
            return invalid("cursor", "it was not made by this server, or not for this list")
        case HTTPException():
            return _from_framework(error)
        case _ if isinstance(error, _TRY_AGAIN):
            return unavailable(retry_after_s)
        case _:
            return _of_an_act(error)


def _of_an_act(error: Exception) -> ApiError | None:
    """What can stand in the way of an operator."""
    if isinstance(error, NotSuspendable):
        return ApiError(Code.CONFLICT, f"A {error.kind} has no mailbox: it cannot be suspended or resumed.")
    for kind, (code, message) in _ACTS.items():
        if isinstance(error, kind):
            return ApiError(code, message)
    return None


def _refused(error: AlertRefused) -> ApiError:
    code = Code.VALIDATION_ERROR if error.status == Code.VALIDATION_ERROR.status else Code.UNPROCESSABLE_ENTITY
    return ApiError(code, error.message, details=[Detail(error.field or "body", error.message)])


def _from_framework(error: HTTPException) -> ApiError:
    code = code_of_status(error.code or Code.INTERNAL_ERROR.status)
    found = {name.title(): value for name, value in error.get_headers(None)}
    return ApiError(code, headers={name: found[name] for name in _KEPT_HEADERS if name in found})


def answer(error: ApiError, exchange: Exchange) -> Response:
    """The error in its envelope."""
    response = Response(envelope(error, exchange.request_id), error.code.status, content_type="application/json")
    response.headers.update(error.headers)
    return response
