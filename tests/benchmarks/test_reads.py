import pytest

from benchmarks.errors import TooFewTrades, UnexpectedAnswer
from benchmarks.reads import TRADES_WANTED, ensure_trades, run_reads
from benchmarks.target import HEALTH_PATH, TRADES_PATH
from tests.benchmarks.fake_server import fake_server


async def test_reads_are_counted_and_timed() -> None:
    async with fake_server() as (_, target):
        run = await run_reads(target, HEALTH_PATH, connections=4, seconds=0.2)
    assert run.latency is not None
    assert run.answers == {"200": run.latency.count}
    assert run.per_second > 0
    assert run.problems == []


async def test_answers_other_than_200_are_no_throughput_and_a_problem() -> None:
    async with fake_server() as (_, target):
        run = await run_reads(target, "/nowhere", connections=2, seconds=0.1)
    assert run.per_second == 0
    assert run.latency is None
    assert run.problems == [f"GET /nowhere: {run.answers}"]
    assert list(run.answers) == ["404"]


async def test_the_list_is_filled_to_a_page_before_it_is_read() -> None:
    async with fake_server() as (fake, target):
        await ensure_trades(target)
        assert fake.trades >= TRADES_WANTED
        alerts = len(fake.alerts)
        await ensure_trades(target)
        assert len(fake.alerts) == alerts


async def test_a_list_that_stays_short_ends_the_measurement() -> None:
    async with fake_server() as (fake, target):
        fake.page = 7
        with pytest.raises(TooFewTrades, match="7 entries"):
            await ensure_trades(target)


async def test_a_list_that_cannot_be_read_ends_the_measurement() -> None:
    async with fake_server() as (fake, target):
        fake.hidden = TRADES_PATH
        with pytest.raises(UnexpectedAnswer, match="404"):
            await ensure_trades(target)
