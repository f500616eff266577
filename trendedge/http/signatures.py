"""`X-Signature`: a sender proves that it holds the webhook key, over the raw bytes of the body."""

import hashlib
import hmac
from datetime import datetime

from trendedge.http.errors import ApiError, Code
from trendedge.http.exchange import Exchange

MAX_AGE_S = 300


def check_signature(exchange: Exchange, body: bytes, *, key: str, now: datetime) -> None:
    """Check the signature if the request carries one.

    Without `X-Timestamp` it is over the body; with it over timestamp, a full stop and the body, and then the
    timestamp (Unix seconds) may differ by five minutes at most.

    :raises ApiError: 401, the signature is wrong or its timestamp too old
    """
    signature = exchange.headers.get(b"x-signature")
    if signature is None:
        return
    timestamp = exchange.headers.get(b"x-timestamp")
    signed = body
    if timestamp is not None:
        if not timestamp.isdigit() or len(timestamp) > 12 or abs(now.timestamp() - int(timestamp)) > MAX_AGE_S:
            raise _refused("X-Timestamp is not within five minutes of now.")
        signed = timestamp + b"." + body
    expected = hmac.new(key.encode("utf-8", "surrogatepass"), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.strip().lower(), expected.encode("ascii")):
        raise _refused("X-Signature does not match the body.")


def _refused(message: str) -> ApiError:
    return ApiError(Code.AUTHENTICATION_REQUIRED, message)
