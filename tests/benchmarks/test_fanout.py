import pytest

from benchmarks.errors import SocketRefused, UnexpectedAnswer
from benchmarks.events import TradeEvent
from benchmarks.fanout import Delivery, FanoutRun, run_fanout, sum_up
from benchmarks.session import Patience
from benchmarks.target import Match
from tests.benchmarks.fake_server import Faults, fake_server

SOON = Patience(answer_s=2.0, quiet_s=0.5, limit_s=5.0, linger_s=0.1)


async def fan_out(faults: Faults, *, match: Match = Match.SIGNAL_ID) -> FanoutRun:
    async with fake_server(faults, match=match) as (_, target):
        return await run_fanout(target, sockets=60, events=6, rate=50.0, patience=SOON)


@pytest.mark.parametrize("match", list(Match))
async def test_every_event_reaches_every_socket(match: Match) -> None:
    run = await fan_out(Faults(), match=match)
    assert (run.expected, run.received, run.doubled, run.problems) == (360, 360, 0, [])
    assert run.each is not None
    assert run.last is not None
    assert (run.each.count, run.last.count) == (360, 6)


async def test_a_socket_that_is_left_out_is_lost_for_each_event() -> None:
    run = await fan_out(Faults(not_on_socket=17))
    assert run.problems == ["fan-out to 60 sockets: 6 lost"]
    assert run.last is None


async def test_a_lost_and_a_doubled_event_count_for_each_socket() -> None:
    run = await fan_out(Faults(lose=frozenset({2}), double=frozenset({4})))
    assert run.problems == ["fan-out to 60 sockets: 60 lost", "fan-out to 60 sockets: 60 doubled"]
    assert run.last is not None
    assert run.last.count == 5


async def test_a_delay_shows_in_each_delivery() -> None:
    run = await fan_out(Faults(event_delay_s=0.2))
    assert run.each is not None
    assert run.each.p50_ms >= 200
    assert run.problems == []


async def test_an_alert_that_is_refused_ends_the_measurement() -> None:
    with pytest.raises(UnexpectedAnswer, match="503"):
        await fan_out(Faults(refuse=frozenset({3})))


async def test_sockets_that_are_not_let_in_end_the_measurement() -> None:
    async with fake_server() as (fake, target):
        fake.refuse_sockets = True
        with pytest.raises(SocketRefused, match="403"):
            await run_fanout(target, sockets=3, events=1)


def test_the_sum_takes_the_first_of_each_and_ignores_what_others_caused() -> None:
    def at(socket: int, key: str, seconds: float) -> Delivery:
        return Delivery(socket, TradeEvent(key=key, mark=("trade.created", "t")), seconds)

    deliveries = [at(0, "a", 1.1), at(1, "a", 1.3), at(0, "a", 1.9), at(0, "other", 9.0), at(0, "b", 2.5)]
    run = sum_up(deliveries, due_at={"a": 1.0, "b": 2.0}, sockets=2)
    assert (run.expected, run.received, run.doubled) == (4, 3, 1)
    assert run.last is not None
    assert run.last.max_ms == pytest.approx(300)
    assert run.each is not None
    assert run.each.max_ms == pytest.approx(500)
