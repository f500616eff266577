"""The circuit breakers."""

from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.resources.blueprint import json_response, operator_blueprint
from trendedge.http.services import Services


def breakers(services: Services, doors: Doors, trail: AuditTrail) -> Blueprint:
    """`GET /ops/breakers` and `POST /ops/breakers/{name}/reset`; a name is `path` of an actor or `path[key]`."""
    blueprint = operator_blueprint("breakers", doors, trail)

    @blueprint.get("/breakers")
    async def list_items() -> Response:
        return json_response({"items": services.tree.breakers(), "next_cursor": None})

    @blueprint.post("/breakers/<path:name>/reset")
    async def reset(name: str) -> Response:
        services.controls.reset_breaker(name)
        remaining = [one for one in services.tree.breakers() if name in (one["name"], one["actor"])]
        return json_response({"name": name, "status": "reset", "breakers": remaining})

    return blueprint
