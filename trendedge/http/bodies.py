"""Bodies of writes: JSON, small, and exactly the fields that are known."""

from pydantic import BaseModel, ValidationError

from trendedge.http.errors import ApiError, Code, Detail
from trendedge.http.exchange import Exchange

_MEDIA_TYPES = frozenset({b"", b"application/json"})


async def read_model[M: BaseModel](exchange: Exchange, model: type[M]) -> M:
    """The body as a model; an empty body counts as an object without fields.

    :raises ApiError: 415 for another media type, 413 and 408 as `Exchange.read_body`, 400 with a detail per wrong field
    """
    if exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() not in _MEDIA_TYPES:
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
    body = await exchange.read_body()
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        details = [
            Detail(".".join(str(part) for part in one["loc"]) or "body", one["msg"])
            for one in error.errors(include_url=False, include_input=False, include_context=False)[:20]
        ]
        raise ApiError(Code.VALIDATION_ERROR, f"{details[0].field}: {details[0].message}", details=details) from None
