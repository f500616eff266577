"""The running process as operators see it, and what they may do to its actors."""

import anyio
from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code
from trendedge.http.resources.blueprint import json_response, operator_blueprint
from trendedge.http.services import Services


def operations(services: Services, doors: Doors, trail: AuditTrail) -> Blueprint:
    """`GET /ops/actors`, the supervision tree as a flat list, with the lanes beside it, `GET /ops/actors/{path}`, one
    of the tree, and `POST /ops/actors/{path}/suspend|resume|restart`, answered with what it is then like.
    """
    blueprint = operator_blueprint("operations", doors, trail)
    controls = services.controls

    @blueprint.get("/actors")
    async def list_actors() -> Response:
        tree, lanes = services.tree, services.lanes.snapshot()
        journal = "degraded" if services.journal.degraded else "ok"
        shown = {"actors": tree.actors(), "lanes": lanes, "journal": journal, "loop_lag_ms": tree.loop_lag_ms()}
        return json_response(shown)

    @blueprint.get("/actors/<path:path>")
    async def show_actor(path: str) -> Response:
        return _shown(services, path)

    @blueprint.post("/actors/<path:path>/suspend")
    async def suspend(path: str) -> Response:
        controls.suspend(path)
        return _shown(services, path)

    @blueprint.post("/actors/<path:path>/resume")
    async def resume(path: str) -> Response:
        controls.resume(path)
        return _shown(services, path)

    @blueprint.post("/actors/<path:path>/restart")
    async def restart(path: str) -> Response:
        # What is not over within the wait goes on; 202 says so.
        with anyio.move_on_after(services.settings.restart_wait_s) as waited:
            await controls.restart(path)
        return _shown(services, path, status=202 if waited.cancelled_caught else 200)

    return blueprint


def _shown(services: Services, path: str, *, status: int = 200) -> Response:
    found = services.tree.find(path)
    if found is None:
        raise ApiError(Code.NOT_FOUND, "There is no such actor.")
    return json_response(found, status)
