"""One blueprint per resource."""

from quart import Blueprint

from trendedge.http.doors import Doors
from trendedge.http.resources.health import health
from trendedge.http.resources.lists import Resource, readable
from trendedge.http.resources.operations import operations
from trendedge.http.resources.users import users
from trendedge.http.resources.webhooks import webhooks
from trendedge.http.services import Services
from trendedge.storage.trades import list_trades, select_trade

READABLE = (Resource(name="trades", list_items=list_trades, select_item=select_trade, statuses=("open", "closed")),)


def blueprints(services: Services, doors: Doors) -> tuple[Blueprint, ...]:
    """All of them."""
    made = [make(services, doors) for make in (health, webhooks, operations, users)]
    return (*made, *(readable(resource, services, doors) for resource in READABLE))
