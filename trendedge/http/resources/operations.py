"""What operators see of the running process."""

from quart import Blueprint, Response

from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code
from trendedge.http.resources.blueprint import json_response, operator_blueprint
from trendedge.http.services import Services


def operations(services: Services, doors: Doors) -> Blueprint:
    """`GET /ops/actors`, the supervision tree as a flat list, and `GET /ops/actors/{path}`, one of it."""
    blueprint = operator_blueprint("operations", doors, prefix="/ops")

    @blueprint.get("/actors")
    async def list_actors() -> Response:
        return json_response({"actors": services.tree.actors()})

    @blueprint.get("/actors/<path:path>")
    async def show_actor(path: str) -> Response:
        found = services.tree.find(path)
        if found is None:
            raise ApiError(Code.NOT_FOUND, "There is no such actor.")
        return json_response(found)

    return blueprint
