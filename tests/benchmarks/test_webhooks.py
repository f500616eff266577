"""The open-loop load against a server whose faults are known: what the tool says has to be what was done to it."""

import pytest

from benchmarks.errors import SocketRefused
from benchmarks.session import Patience
from benchmarks.target import Match, Target
from benchmarks.webhooks import WebhookRun, run_webhooks
from tests.benchmarks.fake_server import Faults, fake_server

SOON = Patience(answer_s=2.0, quiet_s=0.5, limit_s=5.0, linger_s=0.1)
NONE: frozenset[int] = frozenset()


async def load(faults: Faults, *, match: Match = Match.SIGNAL_ID, alerts: int = 60) -> WebhookRun:
    async with fake_server(faults, match=match) as (_, target):
        return await run_webhooks(target, rate=200.0, seconds=alerts / 200, patience=SOON)


@pytest.mark.parametrize("match", list(Match))
@pytest.mark.parametrize("answer_after_event", [False, True])
async def test_a_faultless_server_delivers_everything_once(match: Match, answer_after_event: bool) -> None:
    run = await load(Faults(answer_after_event=answer_after_event), match=match)
    counts = run.counts
    assert (counts.sent, counts.accepted, counts.delivered) == (60, 60, 60)
    assert (counts.refused, counts.failed, counts.lost, counts.doubled, counts.stray) == (0, 0, 0, 0, 0)
    assert run.problems == []


@pytest.mark.parametrize("match", list(Match))
async def test_lost_and_doubled_events_are_counted_one_by_one(match: Match) -> None:
    faults = Faults(lose=frozenset({3, 4, 59}), double=frozenset({0, 7}), execute_twice=frozenset({11}))
    run = await load(faults, match=match)
    assert (run.counts.accepted, run.counts.delivered) == (60, 57)
    assert run.problems == ["webhooks at 200/s: 3 lost", "webhooks at 200/s: 3 doubled"]
    assert not run.holds(1e9)


async def test_refusals_and_broken_connections_are_told_apart() -> None:
    faults = Faults(refuse=frozenset({1, 2}), hang_up=frozenset({5}), call_duplicate=frozenset({8}))
    run = await load(faults)
    counts = run.counts
    assert (counts.accepted, counts.refused, counts.failed, counts.delivered) == (56, 3, 1, 56)
    assert counts.answers == {"202": 56, "503": 2, "duplicate": 1}
    assert run.problems == []
    assert not run.holds(1e9)


async def test_late_events_are_late_and_not_lost() -> None:
    run = await load(Faults(event_delay_s=0.3))
    assert (run.counts.delivered, run.counts.lost) == (60, 0)
    assert run.event is not None
    assert run.event.p50_ms >= 300
    assert not run.holds(100.0)


async def test_a_stall_shows_in_every_alert_that_was_due_meanwhile() -> None:
    """A tool that waits for its answers would see one slow alert of 100: p95 would hide it (coordinated omission)."""
    run = await load(Faults(stall={20: 0.4}), alerts=100)
    assert run.post is not None
    assert run.counts.delivered == 100
    # 80 alerts were due after the stall began, 5 ms apart: the fifth worst of 100 waited 0.4 s less 5 steps, or more.
    assert run.post.p95_ms >= 370


async def test_a_server_that_refuses_everything_was_not_measured() -> None:
    run = await load(Faults(refuse=frozenset(range(60))))
    assert run.problems == ["webhooks at 200/s: nothing accepted ({'503': 60})"]
    assert run.event is None


async def test_nobody_there_is_an_error() -> None:
    async with fake_server() as (_, target):
        pass
    with pytest.raises(OSError, match=r"Connect call failed|refused"):
        await run_webhooks(target, rate=50.0, seconds=0.1, patience=SOON)


async def test_a_server_without_a_websocket_is_an_error() -> None:
    async with fake_server() as (fake, target):
        fake.refuse_sockets = True
        with pytest.raises(SocketRefused, match="403"):
            await run_webhooks(target, rate=50.0, seconds=0.1, patience=SOON)


async def test_a_position_that_is_left_over_is_closed_before_the_load() -> None:
    async with fake_server() as (fake, target):
        fake.position = 3
        run = await run_webhooks(target, rate=200.0, seconds=0.1, patience=SOON)
        assert [fake.alerts[0]["action"], fake.alerts[0]["quantity"]] == ["sell", 3]
        assert (run.counts.sent, run.counts.stray, fake.position) == (20, 0, 0)


async def test_buys_and_sells_take_turns_and_each_alert_has_its_own_id() -> None:
    async with fake_server() as (fake, target):
        await run_webhooks(target, rate=200.0, seconds=0.1, patience=SOON)
        assert len({alert["alert_id"] for alert in fake.alerts}) == 20
        assert sorted(alert["action"] for alert in fake.alerts) == ["buy"] * 10 + ["sell"] * 10


def test_the_credentials_go_where_the_contract_has_them() -> None:
    target = Target(base="http://localhost:81", api_key="k", jwt="j+/=")
    assert target.address == ("localhost", 81)
    assert b'"api_key":"k"' in target.alert("a", action="buy")
    assert b"authorization: Bearer j+/=\r\n" in target.get("/health")
    assert b"GET /api/v1/ws?token=j%2B/%3D HTTP/1.1" in target.handshake("x")
