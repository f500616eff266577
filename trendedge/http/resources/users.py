"""The user's own account, and the webhook keys that speak for it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from quart import Blueprint, Response

from trendedge.actors.keyring import hash_key, new_key
from trendedge.http.bodies import read_model
from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code, utc_text
from trendedge.http.exchange import current
from trendedge.http.resources.blueprint import json_response, user_blueprint, user_id
from trendedge.http.services import Services
from trendedge.storage import api_keys
from trendedge.storage.api_keys import ApiKey
from trendedge.storage.users import select_user

_HINT_CHARS = 4
_MOST_KEYS = 50


class NewKey(BaseModel):
    """What is said about a key when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)] = Field(
        default="TradingView", description="For its owner to tell two keys apart."
    )


def users(services: Services, doors: Doors) -> Blueprint:
    """`/users/me` and `/users/me/api-keys`."""
    blueprint = user_blueprint("users", doors)
    database = services.database

    @blueprint.get("/users/me")
    async def me() -> Response:
        user = await select_user(database, user_id())
        if user is None:  # deleted since this process first met it
            raise ApiError(Code.NOT_FOUND)
        return json_response(
            {"id": user.id, "email": user.email, "role": user.role, "created_at": utc_text(user.created_at)}
        )

    @blueprint.get("/users/me/api-keys")
    async def list_keys() -> Response:
        keys = await api_keys.select_active_keys(database, user_id=user_id())
        return json_response({"items": [_wire(key) for key in keys], "next_cursor": None})

    @blueprint.post("/users/me/api-keys")
    async def create_key() -> Response:
        wanted = await read_model(current(), NewKey)
        if len(await api_keys.select_active_keys(database, user_id=user_id())) >= _MOST_KEYS:
            raise ApiError(Code.CONFLICT, f"A user has at most {_MOST_KEYS} keys. Revoke one first.")
        key = new_key()
        stored = await api_keys.insert_api_key(
            database, user_id=user_id(), name=wanted.name, key_hash=hash_key(key), hint=key[-_HINT_CHARS:]
        )
        # The only time that the key itself is shown: only its hash is kept.
        return json_response(_wire(stored) | {"key": key}, 201)

    @blueprint.delete("/users/me/api-keys/<key_id>")
    async def revoke_key(key_id: str) -> Response:
        if not await api_keys.revoke_api_key(database, user_id=user_id(), key_id=key_id):
            raise ApiError(Code.NOT_FOUND)
        await services.keyring.reload()  # or the key would open for another minute
        return Response(status=204)

    return blueprint


def _wire(key: ApiKey) -> dict[str, str]:
    return {"id": key.id, "name": key.name, "hint": key.hint, "created_at": utc_text(key.created_at)}
