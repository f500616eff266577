"""The log of a whole session: JSON lines that tell what happened to whom, and not one secret."""

import json
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import httpx

from tests.system.conftest import stopping
from tests.system.listener import listening
from tests.system.person import WEBHOOK, Person
from tests.system.product import JWT_SECRET, OPERATOR_KEY, Product
from tests.system.waiting import eventually

ALERT = {"ticker": "NQ1!", "action": "buy", "price": "18250.25"}
ACCESS_FIELDS = {"request_id", "method", "path", "status_code", "duration_ms", "user_id", "ip", "user_agent"}


async def alerts_in_every_way(client: httpx.AsyncClient, person: Person) -> list[str]:
    """Valid ones, with the key in each of its places; the ids of their signals."""
    key = person.key
    text = f"SYMBOL=NQ1!\nSIGNAL=SELL\nPRICE=18250.25\nTOKEN={key}"
    answers = [
        *[
            await client.post(WEBHOOK, json=ALERT | {"id": name, name: key})
            for name in ("api_key", "token", "secret", "passphrase")
        ],
        await client.post(WEBHOOK, json=ALERT | {"id": "header"}, headers={"X-API-Key": key}),
        await client.post(f"{WEBHOOK}/{key}", json=ALERT | {"id": "path"}),
        await client.post(WEBHOOK, json=ALERT | {"id": "comment", "api_key": key, "comment": f"my key is {key}"}),
        await client.post(WEBHOOK, content=text),
    ]
    assert [answer.status_code for answer in answers] == [202] * len(answers), [answer.text for answer in answers]
    return [answer.json()["signal_id"] for answer in answers]


async def mistakes_in_every_way(client: httpx.AsyncClient, person: Person) -> None:
    """Requests that are refused, with secrets wherever people put them by mistake."""
    key, token = person.key, person.token
    assert (await client.post(WEBHOOK, json=ALERT | {"id": key, "api_key": key})).status_code in range(400, 500)
    for body in (
        f'{{"ticker":"{key}","action":"buy","api_key":"{key}"}}',
        f'{{"api_key":"{key}","ticker":',
        f"TOKEN={key}",
    ):
        assert (await client.post(WEBHOOK, content=body)).status_code in range(400, 500)
    for path in (
        f"/{key}",
        f"/api/v1/webhook/{key}",
        f"{WEBHOOK}/{key}/",
        f"{WEBHOOK}/{key}/more",
        f"{WEBHOOK}?key={key}",
    ):
        assert (await client.put(path)).status_code in range(400, 500)
    for header in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": token}, {"Authorization": f"Bearer {token}x"}):
        assert (await client.get("/api/v1/trades", headers=header)).status_code == 401
        assert (await client.get("/ops/actors", headers=header)).status_code == 401
    assert (await client.get(f"/api/v1/trades?token={token}")).status_code == 401
    assert (await client.get(f"/api/v1/signals/{token}", headers=person.bearer)).status_code in range(400, 500)
    assert (await client.get("/health", headers={"User-Agent": "curl/8", "Referer": f"https://x/?k={key}"})).is_success


async def sockets_in_every_way(product: Product, client: httpx.AsyncClient, person: Person) -> None:
    """The token as query, header and first message, right and wrong."""
    url = product.socket_url
    async with (
        listening(f"{url}?token={person.token}") as by_query,
        listening(url, additional_headers=person.bearer) as by_header,
        listening(url, token=person.token) as by_message,
    ):
        for socket in (by_query, by_header, by_message):
            await socket.heard()
            await socket.say({"type": "auth", "token": person.token})
        signal_id = await person.accepted(client, **ALERT, id="sockets")
        for socket in (by_query, by_header, by_message):
            await socket.event("trade.updated", signal_id=signal_id)
    async with listening(f"{url}?token={person.token}x") as refused:
        assert await refused.close_code() == 4401


async def test_the_log_of_a_session_holds_no_secret(tmp_path: Path) -> None:
    async with stopping(Product(tmp_path / "product", LOG_LEVEL="DEBUG")) as product:
        await product.start()
        person = await product.person_by_hand("trader")
        async with product.client() as client:
            signals = await alerts_in_every_way(client, person)
            await mistakes_in_every_way(client, person)
            await eventually(lambda: product.ledger.have_outcomes(person.id, signals), "the signals are worked off")
            await sockets_in_every_way(product, client, person)
            for path in ("/ops/actors", "/health/detailed"):
                assert (await client.get(path, headers={"X-API-Key": OPERATOR_KEY})).is_success
            for path in ("signals", "trades", "positions", f"signals/{signals[0]}"):
                shown = json.dumps(await person.get(client, path))
                assert person.key not in shown, f"{path} shows the key"
        passwords = [urlsplit(url).password for url in (product.database_url, product.redis_url)]
        product.terminate()
        await product.ended()
    written = "".join(path.read_text("utf-8", "replace") for path in product.home.rglob("*.log"))
    assert "Request completed" in written
    secrets = {"webhook key": person.key, "token": person.token, "JWT secret": JWT_SECRET, "operator key": OPERATOR_KEY}
    secrets |= {f"password {number}": password for number, password in enumerate(passwords) if password}
    for name, secret in secrets.items():
        for spelling in {secret, quote(secret, safe="")}:
            found = [line for line in written.splitlines() if spelling in line]
            assert not found, f"the {name} is in the log: {found[0][:1000]}"


async def test_outside_of_development_every_line_is_json_with_the_fields_asked_for(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    """Whatever is on the standard output is forwarded to a log store, which reads nothing but JSON."""
    stores = {"DATABASE_URL": database_url, "UPSTASH_REDIS_URL": redis_url}
    async with stopping(Product(tmp_path / "product", APP_ENV="staging", **stores)) as product:
        await product.start()
        person = await product.person("trader")
        async with product.client() as client:
            signal_id = await person.accepted(client, **ALERT)
            await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "the signal is worked off")
            await client.post(WEBHOOK, content=b"{", headers={"X-API-Key": person.key, "User-Agent": "TradingView/1.0"})
        product.terminate()
        assert await product.ended() == 0
    text = product.log.read_text("utf-8").splitlines()
    assert [line for line in text if not line.startswith("{")] == []
    records = product.records()
    for record in records:
        assert record.keys() >= {"timestamp", "level", "logger", "message"}, record
        assert record["timestamp"].endswith("Z")
        assert record["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    access = [record for record in records if record["message"] == "Request completed"]
    assert all(record.keys() >= ACCESS_FIELDS for record in access)
    refused = next(record for record in access if record["status_code"] in (400, 422))
    assert (refused["method"], refused["path"]) == ("POST", WEBHOOK)
    assert (refused["user_id"], refused["user_agent"]) == (person.id, "TradingView/1.0")
    assert refused["ip"] == "127.0.0.1"
    assert person.email not in product.log.read_text("utf-8"), "who it is, is nobody's business"


async def test_a_request_id_goes_from_the_front_through_the_executor_to_the_answer(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    own = str(uuid4())
    answer = await client.post(WEBHOOK, json=ALERT | {"api_key": person.key}, headers={"X-Request-ID": own})
    assert answer.status_code == 202
    assert answer.headers["X-Request-ID"] == own
    assert answer.json()["request_id"] == own

    async def loggers() -> set[str] | None:
        found = {record["logger"] for record in product.records() if record.get("request_id") == own}
        return found if any("executor" in name for name in found) else None

    assert "trendedge.api" in await eventually(loggers, f"the executor logs {own}")


async def test_a_request_id_that_is_no_uuid_is_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"X-Request-ID": "'; drop table signals --"})
    assert str(UUID(answer.headers["X-Request-ID"])) == answer.headers["X-Request-ID"]
