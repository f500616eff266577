"""A trader with a webhook key and a token, and what they do over HTTP."""

from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

WEBHOOK = "/api/v1/webhooks/tradingview"


@dataclass(frozen=True, slots=True)
class Person:
    """Credentials, as the command line printed them."""

    email: str
    key: str = field(repr=False)
    token: str = field(repr=False)

    @property
    def id(self) -> str:
        """The user's id, as the token names it."""
        subject: str = jwt.decode(self.token, options={"verify_signature": False})["sub"]
        return subject

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def alert(self, client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
        """Post a JSON alert with the key in its body, as TradingView does."""
        return await client.post(WEBHOOK, json={**fields, "api_key": self.key})

    async def accepted(self, client: httpx.AsyncClient, **fields: Any) -> str:
        """Post an alert that must be accepted; the id of its signal."""
        answer = await self.alert(client, **fields)
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "accepted", answer.text
        signal_id: str = answer.json()["signal_id"]
        return signal_id

    async def get(self, client: httpx.AsyncClient, path: str, **query: Any) -> Any:
        """Read something of one's own that must be there."""
        answer = await client.get(f"/api/v1/{path}", params=query, headers=self.bearer)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def items(self, client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
        """All of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(client, path, **query, **cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}
