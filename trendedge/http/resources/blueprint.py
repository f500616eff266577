"""The kinds of blueprint: who may come in is decided once for all routes of one, so that none can forget it."""

from typing import Any

import orjson
from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError
from trendedge.http.exchange import current

PREFIX = "/api/v1"


def user_blueprint(name: str, doors: Doors) -> Blueprint:
    """Routes under `/api/v1` for users; `current().user_id` is set in each."""
    blueprint = Blueprint(name, __name__, url_prefix=PREFIX)

    async def admit() -> None:
        exchange = current()
        if exchange.method != "OPTIONS":
            await doors.admit_user(exchange)

    blueprint.before_request(admit)
    return blueprint


def operator_blueprint(name: str, doors: Doors, audit: AuditTrail, *, prefix: str = "/ops") -> Blueprint:
    """Routes for operators. Every route that changes something is audited, before it is entered and after."""
    blueprint = Blueprint(name, __name__, url_prefix=prefix)

    async def admit() -> None:
        exchange = current()
        if exchange.method == "OPTIONS":
            return
        try:
            exchange.operator = who = doors.admit_operator(exchange)
        except ApiError as refusal:
            await audit.refused(exchange, refusal)
            raise
        await audit.begin(exchange, who)

    async def complete(response: Response) -> Response:
        await audit.complete(current(), response.status_code)
        return response

    blueprint.before_request(admit)
    blueprint.after_request(complete)
    return blueprint


def user_id() -> str:
    """The user whom the blueprint's door let in."""
    found = current().user_id
    if found is None:  # a route outside of `user_blueprint`: never serve it as anybody
        raise LookupError("no user was admitted to this request")
    return found


def operator() -> str:
    """The operator whom the blueprint's door let in."""
    found = current().operator
    if found is None:  # a route outside of `operator_blueprint`
        raise LookupError("no operator was admitted to this request")
    return found


def json_response(content: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(content), status, content_type="application/json")
