"""The dead letters: what was given up, with its cause, and a second chance for it."""

from quart import Blueprint, Response

from trendedge.http.audit import AuditTrail
from trendedge.http.doors import Doors
from trendedge.http.errors import invalid
from trendedge.http.exchange import current
from trendedge.http.queries import Query
from trendedge.http.resources.blueprint import json_response, operator_blueprint
from trendedge.http.services import Services
from trendedge.runtime.errors import UnknownDeadLetter
from trendedge.storage.errors import InvalidCursor


def dead_letters(services: Services, doors: Doors, trail: AuditTrail) -> Blueprint:
    """`GET /ops/dead-letters` (`?mailbox= &limit= &cursor=`), `GET /ops/dead-letters/{id}`,
    `POST /ops/dead-letters/{id}/replay` (`?dry_run=true` shows what it would do) and `.../discard`.
    """
    blueprint = operator_blueprint("dead_letters", doors, trail)
    letters = services.dead_letters

    @blueprint.get("/dead-letters")
    async def list_items() -> Response:
        query = Query(current())
        mailbox, cursor = query.word("mailbox"), query.cursor()
        if mailbox is not None and mailbox not in letters.mailboxes():
            raise invalid("mailbox", f"must be one of {', '.join(sorted(letters.mailboxes()))}")
        try:
            items, after = await letters.page(mailbox=mailbox, after=cursor, limit=query.limit())
        except UnknownDeadLetter as error:
            raise InvalidCursor(cursor or "") from error
        return json_response({"items": items, "next_cursor": after})

    @blueprint.get("/dead-letters/<letter_id>")
    async def show(letter_id: str) -> Response:
        return json_response(await letters.find(letter_id))

    @blueprint.post("/dead-letters/<letter_id>/replay")
    async def replay(letter_id: str) -> Response:
        if Query(current()).flag("dry_run"):
            rehearsed = await services.rehearse(await letters.message(letter_id))
            return json_response({"id": letter_id, "dry_run": True, **rehearsed})
        await letters.replay(letter_id)
        return json_response({"id": letter_id, "dry_run": False, "status": "replayed"}, 202)

    @blueprint.post("/dead-letters/<letter_id>/discard")
    async def discard(letter_id: str) -> Response:
        await letters.discard(letter_id)
        return json_response({"id": letter_id, "status": "discarded"})

    return blueprint
