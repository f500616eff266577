"""The line that each request leaves (PRD INF-FR-018). Never a query string, a body, a token or a key."""

import re
import time
from typing import Any

import structlog

from trendedge.http.exchange import Exchange
from trendedge.http.request_counts import RequestCounts

WEBHOOK_PATH = "/api/v1/webhooks/tradingview/"
_QUIET = frozenset({"/health", "/health/ready", "/metrics"})
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONGEST_WORD = 24


class AccessLog:
    """Writes one line per answer and per closed WebSocket, and counts the answers."""

    def __init__(self) -> None:
        self.requests = RequestCounts()
        # Bound once: a lazy logger would be assembled anew for each line.
        self._log: Any = structlog.get_logger().bind(logger="trendedge.api")

    def answered(self, exchange: Exchange, status: int) -> None:
        """A request was answered. Probes that succeed are for DEBUG: they come every few seconds."""
        write = self._log.debug if status == 200 and exchange.path in _QUIET else self._log.info
        write("Request completed", method=exchange.method, status_code=status, **_facts(exchange))
        self.requests.count(exchange.method, status, time.perf_counter() - exchange.started)

    def failed(self, exchange: Exchange, error: BaseException) -> None:
        """A handler raised what nobody expected: the one line that carries a traceback."""
        self._log.error("Request failed", exc_info=error, method=exchange.method, **_facts(exchange))

    def closed(self, exchange: Exchange, code: int) -> None:
        """A WebSocket ended."""
        self._log.info("WebSocket closed", close_code=code, **_facts(exchange))


def _facts(exchange: Exchange) -> dict[str, Any]:
    return {
        "request_id": exchange.request_id,
        "path": logged_path(exchange.path),
        "duration_ms": round((time.perf_counter() - exchange.started) * 1000, 3),
        "user_id": exchange.user_id,
        "ip": exchange.client,
        "user_agent": (exchange.header(b"user-agent") or "")[:200],
    }


def logged_path(path: str) -> str:
    """The path without secrets: the webhook key, and any long word that is no id (a key sent to a mistyped address)."""
    if path.startswith(WEBHOOK_PATH):
        rest = path[len(WEBHOOK_PATH) :]
        return path if rest in {"", "preview"} else f"{WEBHOOK_PATH}***"
    if len(path) <= _LONGEST_WORD:
        return path
    words = path[:1024].split("/")
    return "/".join("***" if len(word) > _LONGEST_WORD and not _UUID.fullmatch(word) else word for word in words)
