import pytest

from benchmarks.errors import NoTradeEvent, UnexpectedAnswer
from benchmarks.flatten import flatten
from benchmarks.session import Patience
from benchmarks.target import POSITIONS_PATH, Match
from benchmarks.warm_up import first_trade, warm_up
from tests.benchmarks.fake_server import Faults, fake_server


@pytest.mark.parametrize("match", list(Match))
async def test_the_first_trade_comes_with_the_first_alert(match: Match) -> None:
    async with fake_server(match=match) as (fake, target):
        await first_trade(target)
        assert len(fake.alerts) == 1


async def test_a_probe_is_repeated_until_an_event_comes_back() -> None:
    """The first is executed before anybody listens, the second refused: what a system does that is still starting."""
    patience = Patience(quiet_s=0.1, linger_s=0.0)
    async with fake_server(Faults(lose=frozenset({0}), refuse=frozenset({1}))) as (fake, target):
        await first_trade(target, patience=patience)
        assert len(fake.alerts) == 3


async def test_without_an_event_the_signals_own_story_is_told() -> None:
    async with fake_server(Faults(lose=frozenset(range(10)))) as (fake, target):
        fake.trace = {"status": "rejected", "rejection": {"code": "SESSION_CLOSED"}}
        with pytest.raises(NoTradeEvent, match=r"'rejected', rejection .*SESSION_CLOSED"):
            await first_trade(target, timeout_s=0.3)


async def test_without_an_event_or_a_story_the_answer_is_told() -> None:
    async with fake_server(Faults(refuse=frozenset(range(10)))) as (_, target):
        with pytest.raises(NoTradeEvent, match="answered 503"):
            await first_trade(target, timeout_s=0.3)


async def test_nobody_there_is_told() -> None:
    async with fake_server() as (_, target):
        pass
    with pytest.raises(NoTradeEvent, match=r"refused|Connect call failed"):
        await first_trade(target, timeout_s=0.1)


async def test_the_warm_up_sends_what_was_asked_for_and_ends_flat() -> None:
    async with fake_server() as (fake, target):
        await warm_up(target, alerts=16)
        assert len(fake.alerts) == 1 + 1 + 16  # the probe, what closes it, and the warm-up itself
        assert fake.position == 0


@pytest.mark.parametrize(("position", "action"), [(2, "sell"), (-5, "buy")])
async def test_a_position_is_closed_by_one_alert(position: int, action: str) -> None:
    async with fake_server() as (fake, target):
        fake.position = position
        await flatten(target)
        assert [(alert["action"], alert["quantity"]) for alert in fake.alerts] == [(action, abs(position))]
        assert fake.position == 0


async def test_positions_that_are_not_served_are_nobodys_business() -> None:
    async with fake_server() as (fake, target):
        fake.position, fake.hidden = 2, POSITIONS_PATH
        await flatten(target)
        assert fake.alerts == []


async def test_a_closing_alert_that_is_refused_ends_the_measurement() -> None:
    async with fake_server() as (fake, target):
        fake.position, fake.closed_for_business = 2, True
        with pytest.raises(UnexpectedAnswer, match="503"):
            await flatten(target)
