"""What operators do to the running product: hold, restart, halt; and that each act is recorded."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from tests.storage.support import own
from tests.system.envelope import error_of
from tests.system.listener import listening
from tests.system.person import Person
from tests.system.product import OPERATOR_KEY, Product
from tests.system.trading import ALERT, trades
from tests.system.waiting import eventually
from trendedge.actors.codec import encode_execute
from trendedge.actors.messages import ExecuteSignal
from trendedge.actors.tree import EXECUTOR_MAILBOX
from trendedge.domain.alerts import parse_alert
from trendedge.runtime import Appended, DeadLetter
from trendedge.storage.postgres import open_database
from trendedge.storage.redis import open_redis

OPERATOR = {"X-API-Key": OPERATOR_KEY}
EXECUTOR = "/ops/actors/trendedge/trading/executor"


async def act(client: httpx.AsyncClient, path: str, expected: int = 200) -> Any:
    answer = await client.post(path, headers=OPERATOR)
    assert answer.status_code == expected, answer.text
    return answer.json()


async def trace(client: httpx.AsyncClient, person: Person, signal_id: str) -> Any:
    return await person.get(client, f"signals/{signal_id}")


async def test_a_held_executor_takes_alerts_and_trades_them_when_it_is_let_go(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    try:
        assert (await act(client, f"{EXECUTOR}/suspend"))["status"] == "suspended"
        held = await person.accepted(client, **ALERT, id="held")
        restarted = await act(client, f"{EXECUTOR}/restart")
        assert (restarted["status"], restarted["restart_history"][0]["cause"]) == ("suspended", "ordered")
        waits = (await client.get(EXECUTOR, headers=OPERATOR)).json()
        assert (waits["mailbox"]["depth"], waits["durable"]["pending"]) == (1, 1)
        assert (await trace(client, person, held))["status"] == "accepted"
    finally:
        assert (await act(client, f"{EXECUTOR}/resume"))["status"] == "running"
    await eventually(lambda: product.ledger.have_outcomes(person.id, [held]), "what was held is traded")
    assert (await trace(client, person, held))["status"] == "filled"


async def test_a_halt_lets_exits_pass_and_refuses_entries(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    await trades(product, client, person)
    try:
        assert (await act(client, "/ops/halt"))["halted"]
        entry = await person.accepted(client, **ALERT, id="entry")
        exit_ = await person.accepted(client, **ALERT | {"action": "close"}, id="exit")
        await eventually(lambda: product.ledger.have_outcomes(person.id, [entry, exit_]), "both have an outcome")
    finally:
        assert not (await act(client, "/ops/resume"))["halted"]
    refused, passed = [await trace(client, person, signal_id) for signal_id in (entry, exit_)]
    assert (refused["status"], refused["rejection"]["code"], passed["status"]) == ("rejected", "HALTED", "filled")
    await trades(product, client, person)


async def test_the_front_restarts_itself_and_serves_requests_and_sockets_again(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    pid = product.process.pid
    await act(client, "/ops/actors/trendedge/front/restart", 202)

    async def back() -> bool:
        answer = await product.get_or_none("/ops/actors/trendedge/front")
        return answer is not None and answer.status_code == 401

    await eventually(back, "the front is back")
    async with product.client() as again, listening(product.socket_url, token=person.token) as listener:
        front = (await again.get("/ops/actors/trendedge/front", headers=OPERATOR)).json()
        assert front["status"] == "running"
        assert front["incarnation"] >= 2
        await trades(product, again, person)
        await listener.event("trade.created")
    assert product.process.pid == pid


async def test_each_act_is_recorded_and_what_is_none_is_refused(client: httpx.AsyncClient, person: Person) -> None:
    error_of(await client.post("/ops/actors/trendedge/nobody/restart", headers=OPERATOR), 404)
    error_of(await client.post("/ops/actors/trendedge/front/suspend", headers=OPERATOR), 409)
    error_of(await client.post("/ops/halt", headers=person.bearer), 403)
    error_of(await client.post("/ops/halt"), 401)
    items = (await client.get("/ops/audit", params={"limit": 3}, headers=OPERATOR)).json()["items"]
    assert [(one["who"], one["action"], one["status"], one["address"]) for one in items] == [
        (person.id, "halt", 403, "127.0.0.1"),
        ("operator-key", "actors.suspend", 409, "127.0.0.1"),
        ("operator-key", "actors.restart", 404, "127.0.0.1"),
    ]


async def test_a_dead_signal_is_shown_rehearsed_and_traded_from_the_command_line(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    letter = await dead_letter(product, person)
    listed = await product.command("deadletters", "list")
    assert [line.split()[0] for line in listed.splitlines()] == [letter]
    shown = json.loads(await product.command("deadletters", "show", letter))
    assert shown["cause"] == "ValueError: no"
    signal_id = shown["payload"]["signal_id"]
    rehearsed = json.loads(await product.command("deadletters", "replay", letter, "--dry-run"))
    assert (rehearsed["trades"], rehearsed["decision"]["status"]) == (True, "filled")
    assert await product.ledger.outcomes(person.id) == {}
    assert await product.command("deadletters", "replay", letter) == f"{letter} replayed\n"
    await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "it is worked off")
    assert (await trace(client, person, signal_id))["status"] == "filled"
    assert await product.command("deadletters", "list") == ""


async def dead_letter(product: Product, person: Person) -> str:
    """Bury a good signal in the product's journal, as a process would that has died over it; the letter's id."""
    async with open_database(product.database_url, pool_size=1) as database:
        account_id = await database.fetchval("select id::text from accounts where user_id::text = $1", person.id)
    alert = parse_alert(json.dumps(ALERT).encode(), today=datetime.now(UTC).date())
    message = ExecuteSignal(
        signal_id=str(uuid4()),
        user_id=person.id,
        account_id=account_id,
        received_at=datetime.now(UTC),
        request_id=str(uuid4()),
        signal=alert.signal,
        raw=alert.raw,
    )
    async with open_redis(product.redis_url) as redis, open_database(product.database_url, pool_size=1) as database:
        journal = (await own(database, redis, EXECUTOR_MAILBOX, node=uuid4().hex)).redis
        payload = encode_execute(message)
        entry = await journal.append(EXECUTOR_MAILBOX, payload)
        assert isinstance(entry, Appended)
        await journal.bury(EXECUTOR_MAILBOX, entry.entry_id, payload, DeadLetter("ValueError: no", "Trace", 3))
        [letter] = await journal.dead_letters(EXECUTOR_MAILBOX)
    return f"{EXECUTOR_MAILBOX}:1:{letter.dead_id}"


async def test_lists_for_operators_and_metrics_are_there(client: httpx.AsyncClient, person: Person) -> None:
    for path in ("/ops/dead-letters", "/ops/breakers", "/ops/schedules", "/ops/audit"):
        answer = await client.get(path, headers=OPERATOR)
        assert answer.status_code == 200, answer.text
        assert answer.json().keys() == {"items", "next_cursor"}
        error_of(await client.get(path), 401)
        error_of(await client.get(path, headers=person.bearer), 403)
    scraped = await client.get("/metrics")
    assert scraped.status_code == 200
    assert 'trendedge_actor_handled_total{actor="trendedge/trading/executor"}' in scraped.text
