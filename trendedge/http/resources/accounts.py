"""The settings of an account, which its owner changes."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response

from trendedge.http.bodies import read_model
from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code
from trendedge.http.exchange import current
from trendedge.http.resources.blueprint import user_blueprint, user_id
from trendedge.http.services import Services
from trendedge.storage.accounts import select_account, update_account_settings


class AccountSettings(BaseModel):
    """What may be changed. What is left out, or null, stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    default_quantity: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Contracts, for an alert that names none."""
    slippage_ticks: Annotated[int, Field(ge=0, le=1_000)] | None = None
    """Ticks by which a market order fills worse than the alert's price."""
    commission: Annotated[Decimal, Field(ge=0, le=1_000, decimal_places=4, strict=False)] | None = None
    """US dollars for one contract and one side."""
    any_hour: bool | None = None
    """Trade while the exchange is closed as well."""


def accounts(services: Services, doors: Doors) -> Blueprint:
    """`PATCH /api/v1/accounts/{id}`; reading is in `lists`."""
    blueprint = user_blueprint("account_settings", doors)

    @blueprint.patch("/accounts/<account_id>")
    async def change(account_id: str) -> Response:
        wanted = await read_model(current(), AccountSettings)
        changed = await update_account_settings(
            services.database, user_id(), account_id, **wanted.model_dump(exclude_none=True)
        )
        found = await select_account(services.database, user_id(), account_id) if changed else None
        if found is None:
            raise ApiError(Code.NOT_FOUND)
        return Response(found, content_type="application/json")

    return blueprint
