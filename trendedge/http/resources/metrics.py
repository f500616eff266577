"""What Prometheus scrapes."""

from prometheus_client import CONTENT_TYPE_LATEST
from quart import Blueprint, Response

from trendedge.http.doors import Doors
from trendedge.http.exchange import current
from trendedge.http.metrics import ProcessMetrics
from trendedge.http.request_counts import RequestCounts
from trendedge.http.services import Services


def metrics(services: Services, doors: Doors, requests: RequestCounts) -> Blueprint:
    """`GET /metrics`: open in development, with the operator's key elsewhere. Not rate limited."""
    blueprint = Blueprint("metrics", __name__)
    collected = ProcessMetrics(services, requests)
    is_open = services.settings.environment == "development"

    @blueprint.get("/metrics")
    async def scrape() -> Response:
        if not is_open:
            doors.operator(current())
        return Response(collected.text(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
