"""Where the load goes: the URLs of CONTRACT, with the credentials of one user."""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, urlsplit

WEBHOOK_PATH = "/api/v1/webhooks/tradingview"
TRADES_PATH = "/api/v1/trades?limit=50"
HEALTH_PATH = "/health"
POSITIONS_PATH = "/api/v1/positions"
SOCKET_PATH = "/api/v1/ws"


class Match(StrEnum):
    """The field of a trade event's data that names the alert which caused it."""

    SIGNAL_ID = "signal_id"
    """The product: the id that the POST was answered with."""
    ALERT_ID = "alert_id"
    """Implementations that only echo the sender's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One server and one user of it. Builds whole requests, so that sending one costs a single write."""

    base: str
    """Scheme, host and port: `http://127.0.0.1:8000`."""
    api_key: str
    jwt: str
    match: Match = Match.SIGNAL_ID

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        parts = urlsplit(self.base)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def alert(self, alert_id: str, *, action: str, quantity: int = 1) -> bytes:
        """The POST of one market alert for micro contracts.

        One contract each, bought and sold in turn: whatever the order of execution, a position then grows or
        shrinks by one and never crosses zero, so that each alert causes exactly one trade event.
        """
        body = (
            f'{{"api_key":"{self.api_key}","symbol":"MNQ1!","action":"{action}","quantity":{quantity},'
            f'"price":18250.25,"alert_id":"{alert_id}"}}'
        ).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return self._request("POST", WEBHOOK_PATH, head) + body

    def get(self, path: str) -> bytes:
        """A GET as this user."""
        return self._request("GET", path, f"authorization: Bearer {self.jwt}\r\n")

    def handshake(self, key: str) -> bytes:
        """The opening request of a WebSocket, without extensions: compression would be measured too."""
        head = f"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n"
        return self._request("GET", f"{SOCKET_PATH}?token={quote(self.jwt)}", head)

    def _request(self, method: str, path: str, head: str) -> bytes:
        host, port = self.address
        return f"{method} {path} HTTP/1.1\r\nhost: {host}:{port}\r\n{head}\r\n".encode()
