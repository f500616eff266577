"""One blueprint per resource."""

from typing import Final

from quart import Blueprint

from trendedge.domain.orders import OrderStatus
from trendedge.domain.trades import TradeStatus
from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.request_counts import RequestCounts
from trendedge.http.resources.accounts import accounts as account_settings
from trendedge.http.resources.audit import audit
from trendedge.http.resources.breakers import breakers
from trendedge.http.resources.dead_letters import dead_letters
from trendedge.http.resources.halt import halt
from trendedge.http.resources.health import health
from trendedge.http.resources.lists import Resource, readable
from trendedge.http.resources.metrics import metrics
from trendedge.http.resources.operations import operations
from trendedge.http.resources.schedules import schedules
from trendedge.http.resources.signals import signals
from trendedge.http.resources.users import users
from trendedge.http.resources.webhooks import webhooks
from trendedge.http.services import Services
from trendedge.storage import accounts, journal_entries, orders, positions, trades
from trendedge.storage.paging import Filters, Page
from trendedge.storage.postgres import Database


async def list_accounts(db: Database, user_id: str, *, filters: Filters, limit: int, cursor: str | None) -> Page:
    """The user's accounts; there is nothing to filter them by."""
    del filters
    return await accounts.list_accounts(db, user_id, limit=limit, cursor=cursor)


ORDER_STATUSES: Final = tuple(OrderStatus)
TRADE_STATUSES: Final = tuple(TradeStatus)

READABLE: Final = (
    Resource(name="orders", list_items=orders.list_orders, select_item=orders.select_order, statuses=ORDER_STATUSES),
    Resource(name="trades", list_items=trades.list_trades, select_item=trades.select_trade, statuses=TRADE_STATUSES),
    Resource(name="positions", list_items=positions.list_positions),
    Resource(name="accounts", list_items=list_accounts, select_item=accounts.select_account),
    Resource(name="journal", list_items=journal_entries.list_journal_entries),
)


def blueprints(services: Services, doors: Doors, requests: RequestCounts) -> tuple[Blueprint, ...]:
    """All of them."""
    made = [make(services, doors) for make in (health, webhooks, users, account_settings)]
    trail = AuditTrail(services.database, retry_after_s=services.settings.retry_after_s)
    made += [make(services, doors, trail) for make in (operations, dead_letters, breakers, schedules, halt, audit)]
    made.append(metrics(services, doors, requests))
    resources = (signals(services), *READABLE)
    return (*made, *(readable(resource, services, doors) for resource in resources))
