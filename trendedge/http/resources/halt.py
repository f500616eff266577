"""The kill switch of the whole system."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.bodies import read_model
from trendedge.http.doors import Doors
from trendedge.http.errors import utc_text
from trendedge.http.exchange import current
from trendedge.http.resources.blueprint import json_response, operator, operator_blueprint
from trendedge.http.services import Services
from trendedge.storage.halt import Halt, select_halt, set_halt


class Reason(BaseModel):
    """Why, for whoever looks later. May be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Annotated[str, Field(max_length=500)] | None = None


def halt(services: Services, doors: Doors, trail: AuditTrail) -> Blueprint:
    """`POST /ops/halt`, `POST /ops/resume` and `GET /ops/halt`. A halt lets exits pass and refuses entries.

    It holds for all accounts and processes, and through restarts. Once it is answered no entry passes.
    """
    blueprint = operator_blueprint("halt", doors, trail)
    database = services.database

    @blueprint.get("/halt")
    async def show() -> Response:
        return _shown(await select_halt(database))

    @blueprint.post("/halt")
    async def stop() -> Response:
        given = await read_model(current(), Reason)
        return _shown(await set_halt(database, halted=True, who=operator(), reason=given.reason))

    @blueprint.post("/resume")
    async def go_on() -> Response:
        given = await read_model(current(), Reason)
        return _shown(await set_halt(database, halted=False, who=operator(), reason=given.reason))

    return blueprint


def _shown(state: Halt) -> Response:
    facts = {"halted": state.halted, "reason": state.reason, "who": state.who, "since": utc_text(state.since)}
    return json_response(facts)
