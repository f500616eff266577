"""Every act of an operator is written down: who, what, on what, when, from where, and how it ended.

An act that cannot be written down is not done, and answered 503. That holds for all of them, the suspension of an actor
included: the record is in PostgreSQL, and while PostgreSQL is down nothing is traded, so there is nothing that would
have to be stopped unrecorded. Whoever must act then has the process manager.
"""

from typing import Final
from urllib.parse import parse_qsl

import structlog

from trendedge.http.errors import ApiError, Code, unavailable
from trendedge.http.exchange import Exchange
from trendedge.storage.audit import Act, Outcome, complete_act, insert_act
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.postgres import Database

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST = 1024
_MOST_PARAMETERS = 64


class AuditTrail:
    """Audits requests that change something. What merely reads passes through all of its methods."""

    def __init__(self, database: Database, *, prefix: str = "/ops", retry_after_s: int = 5) -> None:
        self._database = database
        self._prefix = prefix
        self._retry_after_s = retry_after_s
        self._log = structlog.get_logger().bind(logger="trendedge.audit")

    async def begin(self, exchange: Exchange, who: str) -> None:
        """Write down what an operator is about to do.

        :raises ApiError: 503 when that is not possible; the request must not be carried out
        """
        if exchange.method in READING:
            return
        act = self._act(exchange, who)
        try:
            exchange.act_id = await insert_act(self._database, act)
        except StoreUnavailable as error:
            self._say("Act refused: it cannot be audited", act, reason=error.reason)
            message = "This would have to be audited, which is not possible just now. Nothing was done."
            raise unavailable(self._retry_after_s, message) from error
        self._say("Act begun", act)

    async def complete(self, exchange: Exchange, status: int) -> None:
        """Write down how an act that was begun has ended. Never raises: it is done, and was recorded."""
        if exchange.act_id is None:
            return
        try:
            await complete_act(self._database, exchange.act_id, outcome=_outcome(status), status=status)
        except StoreUnavailable as error:
            self._log.error("End of an act not recorded", act_id=str(exchange.act_id), status=status, reason=str(error))

    async def refused(self, exchange: Exchange, refusal: ApiError) -> None:
        """Write down that somebody who is known, and no operator, tried to act.

        Nobody else's attempts are kept: those without credentials are anybody's, and those over a limit are too many.
        Never raises: nothing is done either way.
        """
        if refusal.code is not Code.FORBIDDEN or exchange.user_id is None or exchange.method in READING:
            return
        act = self._act(exchange, exchange.user_id)
        self._say("Act refused: not an operator", act)
        try:
            await insert_act(self._database, act, outcome="refused", status=refusal.code.status)
        except StoreUnavailable as error:
            self._log.error("Refused act not recorded", reason=str(error))

    def _act(self, exchange: Exchange, who: str) -> Act:
        action, target = named(exchange.path[:_LONGEST].removeprefix(self._prefix))
        return Act(
            who=who,
            action=action,
            target=target,
            address=exchange.client,
            request_id=exchange.request_id,
            parameters=_parameters(exchange),
        )

    def _say(self, text: str, act: Act, **facts: str) -> None:
        self._log.warning(
            text,
            who=act.who,
            action=act.action,
            target=act.target,
            address=act.address,
            request_id=act.request_id,
            **facts,
        )


def named(path: str) -> tuple[str, str | None]:
    """(action, target) of a path below the prefix: `/actors/a/b/suspend` is `actors.suspend` of `a/b`."""
    words = path.strip("/").split("/")
    if len(words) == 1:
        return words[0], None
    return f"{words[0]}.{words[-1]}", "/".join(words[1:-1]) or None


def _outcome(status: int) -> Outcome:
    if status < Code.VALIDATION_ERROR.status:
        return "done"
    return "refused" if status < Code.INTERNAL_ERROR.status else "failed"


def _parameters(exchange: Exchange) -> dict[str, str]:
    raw: str = exchange.scope.get("query_string", b"").decode("latin-1")[:_LONGEST]
    try:
        return dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError:
        return {"query": raw}
