"""The schedules: what runs by the clock, when it ran last and will next, and now if an operator wants it."""

from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.resources.blueprint import json_response, operator_blueprint
from trendedge.http.services import Services


def schedules(services: Services, doors: Doors, trail: AuditTrail) -> Blueprint:
    """`GET /ops/schedules` and `POST /ops/schedules/{id}/run`, answered with what the schedule is then like."""
    blueprint = operator_blueprint("schedules", doors, trail)
    declared = services.schedules

    @blueprint.get("/schedules")
    async def list_items() -> Response:
        return json_response({"items": declared.snapshot(), "next_cursor": None})

    @blueprint.post("/schedules/<schedule_id>/run")
    async def run(schedule_id: str) -> Response:
        await declared.run_now(schedule_id)
        return json_response(next(one for one in declared.snapshot() if one["id"] == schedule_id), 202)

    return blueprint
