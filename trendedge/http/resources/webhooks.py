"""Where TradingView's alerts come in. Answers only after the alert is durable, and never says more than it must."""

from dataclasses import replace

from quart import Blueprint, Response

from trendedge.actors.keyring import KeyOwner
from trendedge.actors.messages import ReceiveAlert
from trendedge.domain.alerts import AlertRefused, Fields, interpret, read_alert, redact
from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code
from trendedge.http.exchange import Exchange, current
from trendedge.http.resources.blueprint import PREFIX, json_response
from trendedge.http.services import Services
from trendedge.http.signatures import check_signature

MEDIA_TYPES = frozenset({b"", b"application/json", b"text/plain"})
"""What TradingView sends; it names a body that is valid JSON the first, every other the second."""
_LONGEST_KEY = 512


def webhooks(services: Services, doors: Doors) -> Blueprint:
    """`POST /api/v1/webhooks/tradingview`, the key in the path, in `X-API-Key` or in the body."""
    blueprint = Blueprint("webhooks", __name__, url_prefix=f"{PREFIX}/webhooks")
    gate = _Gate(services, doors)

    @blueprint.post("/tradingview")
    @blueprint.post("/tradingview/<path_key>")
    async def receive(path_key: str | None = None) -> Response:
        exchange = current()
        check_media_type(exchange)
        body = await exchange.read_body()
        now = services.clock()
        owner, key, fields = await gate.open(exchange, body, path_key)
        check_signature(exchange, body, key=key, now=now)
        receipt = await services.intake.ask(
            ReceiveAlert(
                owner=owner,
                alert=interpret(fields, today=now.date()),
                received_at=now,
                request_id=exchange.request_id,
            ),
            timeout_s=services.settings.answer_timeout_s,
            deadline_s=services.settings.begin_within_s,
        )
        return json_response(
            {"signal_id": receipt.signal_id, "status": receipt.status, "request_id": exchange.request_id}, 202
        )

    return blueprint


class _Gate:
    """Whose alert it is. Until that is known, nothing is said about what the body means."""

    def __init__(self, services: Services, doors: Doors) -> None:
        self._keyring = services.keyring
        self._doors = doors

    async def open(self, exchange: Exchange, body: bytes, path_key: str | None) -> tuple[KeyOwner, str, Fields]:
        """The owner, the key that proved it, and the body as fields.

        A key outside of the body is checked before the body is read at all.

        :raises ApiError: 401, 429
        :raises AlertRefused: no dialect can read the body
        """
        key = path_key or exchange.header(b"x-api-key")
        if key:
            owner = await self._owner(exchange, key)
            return owner, key, _without(key, read_alert(body))
        try:
            fields = read_alert(body)
        except AlertRefused:
            self._doors.admit_stranger(exchange)
            raise
        if fields.secret is None:
            self._doors.admit_stranger(exchange)
            raise ApiError(Code.AUTHENTICATION_REQUIRED, "A webhook key is required.")
        return await self._owner(exchange, fields.secret), fields.secret, fields

    async def _owner(self, exchange: Exchange, key: str) -> KeyOwner:
        # Our keys are ASCII; anything else cannot be one, and may not even be encodable (a lone surrogate).
        plausible = key.isascii() and 0 < len(key) <= _LONGEST_KEY
        owner = await self._keyring.owner_of(key) if plausible else None
        if owner is None:
            self._doors.count_failure(exchange)
            raise ApiError(Code.AUTHENTICATION_REQUIRED, "The webhook key is not valid.")
        exchange.user_id = owner.user_id
        self._doors.admit_webhook(exchange, owner.key_id)
        return owner


def _without(key: str, fields: Fields) -> Fields:
    """The fields, the key blanked out of the text too: it may stand in the body under a name that is no secret's."""
    return replace(fields, raw=redact(fields.raw, (key,))) if key in fields.raw else fields


def check_media_type(exchange: Exchange) -> None:
    """Only JSON, plain text, or no word about it.

    :raises ApiError: 415
    """
    declared = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if declared not in MEDIA_TYPES:
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "Send application/json or text/plain.")
