"""Headers that every answer carries, and those that browsers of other origins need.

PRD INF-SEC-007 (security), INF-FR-016 (version), INF-FR-017 (CORS).
"""

from collections.abc import Iterable

from trendedge.http.exchange import Exchange

type Header = tuple[bytes, bytes]

API_VERSION = b"v1"

SECURITY: tuple[Header, ...] = (
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"x-xss-protection", b"0"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"x-api-version", API_VERSION),
)
DEFAULTS: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; object-src 'none'; base-uri 'self'"),
    (b"cache-control", b"no-store"),
)
"""Only where a handler has not set its own."""

_EXPOSED = b"X-Request-ID, X-API-Version, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After"
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Request-ID, X-API-Key"),
    (b"access-control-max-age", b"600"),
)


class Cors:
    """Cross-origin access for the origins of the configuration; all others get no header, and browsers stop there."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode("latin-1") for origin in origins)

    def headers(self, exchange: Exchange) -> list[Header]:
        """What the answer to this request carries."""
        origin = exchange.headers.get(b"origin")
        if origin is None:
            return []
        # Also for a refused origin: a cache must not give its answer to an origin that is allowed.
        found: list[Header] = [(b"vary", b"Origin")]
        if origin in self._origins:
            found += [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", _EXPOSED),
            ]
        return found

    def preflight(self, exchange: Exchange) -> list[Header] | None:
        """The answer to a browser that asks before it sends, or None when this is no such question."""
        headers = exchange.headers
        if exchange.method != "OPTIONS" or b"access-control-request-method" not in headers or b"origin" not in headers:
            return None
        return list(_PREFLIGHT) if headers[b"origin"] in self._origins else []
