"""The reading side of a resource: its list, page by page, and one of its items. PostgreSQL makes the JSON."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import orjson
from quart import Blueprint, Response

from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code
from trendedge.http.exchange import current
from trendedge.http.queries import Query
from trendedge.http.resources.blueprint import user_blueprint, user_id
from trendedge.http.services import Services
from trendedge.storage.paging import Filters, Page
from trendedge.storage.postgres import Database


class ListItems(Protocol):
    """A query of `storage` for one page."""

    async def __call__(self, db: Database, user_id: str, *, filters: Filters, limit: int, cursor: str | None) -> Page:
        """Raises `InvalidCursor`."""
        ...


type SelectItem = Callable[[Database, str, str], Awaitable[bytes | None]]
"""A query of `storage` for one item of a user by its id: JSON, or None when the user has no such item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What can be read of one kind of thing."""

    name: str
    """As in the path."""
    list_items: ListItems
    select_item: SelectItem | None = None
    statuses: Collection[str] = ()
    """What `?status=` may say; empty for a list without it."""


def readable(resource: Resource, services: Services, doors: Doors) -> Blueprint:
    """`GET /api/v1/{name}` and `GET /api/v1/{name}/{id}`."""
    blueprint = user_blueprint(resource.name, doors)

    @blueprint.get(f"/{resource.name}")
    async def list_items() -> Response:
        query = Query(current())
        page = await resource.list_items(
            services.database,
            user_id(),
            filters=query.filters(statuses=resource.statuses),
            limit=query.limit(),
            cursor=query.cursor(),
        )
        return page_response(page)

    select_item = resource.select_item
    if select_item is not None:

        @blueprint.get(f"/{resource.name}/<item_id>")
        async def show_item(item_id: str) -> Response:
            found = await select_item(services.database, user_id(), item_id)
            if found is None:
                raise ApiError(Code.NOT_FOUND)
            return Response(found, content_type="application/json")

    return blueprint


def page_response(page: Page) -> Response:
    """`{"items": [...], "next_cursor": ...}` around items that are JSON already."""
    body = b'{"items":%b,"next_cursor":%b}' % (page.items, orjson.dumps(page.next_cursor))
    return Response(body, content_type="application/json")
