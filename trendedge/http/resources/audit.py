"""What operators did."""

from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.exchange import current
from trendedge.http.queries import Query
from trendedge.http.resources.blueprint import operator_blueprint
from trendedge.http.resources.lists import page_response
from trendedge.http.services import Services
from trendedge.storage.audit import list_acts

OUTCOMES = ("begun", "done", "refused", "failed")


def audit(services: Services, doors: Doors, trail: AuditTrail) -> Blueprint:
    """`GET /ops/audit`: `?limit= &cursor= &since= &until=` as every list, and `?status=` of the outcome."""
    blueprint = operator_blueprint("audit", doors, trail)

    @blueprint.get("/audit")
    async def list_items() -> Response:
        query = Query(current())
        filters = query.filters(statuses=OUTCOMES)
        page = await list_acts(services.database, filters=filters, limit=query.limit(), cursor=query.cursor())
        return page_response(page)

    return blueprint
