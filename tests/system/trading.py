"""A good alert, to see that all is well."""

import json
from itertools import count

import httpx

from tests.system.person import Person
from tests.system.product import Product
from tests.system.waiting import eventually

ALERT = {"ticker": "NQ1!", "action": "buy", "price": "18250.25"}
_numbers = count(1)


async def trades(product: Product, client: httpx.AsyncClient, person: Person) -> str:
    """The probe answers, and an alert is filled; the id of its signal."""
    assert (await client.get("/health")).status_code == 200
    signal_id = await person.accepted(client, **ALERT, id=f"good-{next(_numbers)}")
    await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "a good alert is worked off")
    assert (await product.ledger.outcomes(person.id))[signal_id] == "filled"
    return signal_id


def with_alert(extra: str) -> bytes:
    """A good alert with something more in it."""
    return f"{json.dumps(ALERT)[:-1]},{extra}}}".encode("utf-8", "surrogatepass")
