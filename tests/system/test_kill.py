"""SIGKILL at random moments: what was acknowledged happens exactly once, and nothing blocks the next start."""

import os
import signal
from contextlib import suppress
from random import Random

import anyio
import psutil
import pytest

from tests.system.load import loading
from tests.system.product import Product
from tests.system.waiting import eventually

ROUNDS = 3


@pytest.mark.parametrize("seed", [20260211, 7])
async def test_killed_at_random_moments_each_alert_has_one_outcome(own_product: Product, seed: int) -> None:
    dice = Random(seed)  # noqa: S311  # which moment is hit need not be a secret
    product = own_product
    await product.start()
    person = await product.person("trader")
    async with loading(product, person) as load:
        for _ in range(ROUNDS):
            await load.acknowledges(dice.randrange(1, 120))
            await anyio.sleep(dice.uniform(0, 0.02))  # not always just after an answer
            product.kill()
            assert await product.ended() == -signal.SIGKILL
            await product.start()
            await load.post_again()
        await load.acknowledges(1)
    await load.settled()
    assert await product.ledger.faults(person.id) == []
    assert await load.disorder() == []


async def test_killed_together_with_its_servers_it_has_lost_nothing(own_product: Product) -> None:
    product = own_product
    await product.start()
    person = await product.person("trader")
    async with loading(product, person) as load:
        await load.acknowledges(60)
        family = [product.process.pid, *(child.pid for child in psutil.Process(product.process.pid).children(True))]
        assert len(family) > 2, "its servers are children of the process"
        for pid in family:
            with suppress(ProcessLookupError):  # it has ended with its parent
                os.kill(pid, signal.SIGKILL)
        await product.ended()
        await product.start()
        await load.post_again()
        await load.acknowledges(1)
    await load.settled()
    assert await product.ledger.faults(person.id) == []
    assert await load.disorder() == []


async def test_killed_it_leaves_no_server_behind_and_the_next_start_finds_the_trades(own_product: Product) -> None:
    product = own_product
    await product.start()
    person = await product.person("trader")
    async with product.client() as client:
        signal_id = await person.accepted(client, ticker="NQ1!", action="buy", price="18250.25")
        await eventually(lambda: product.ledger.have_outcomes(person.id, [signal_id]), "the signal is worked off")
        before = await person.items(client, "trades")
    servers = psutil.Process(product.process.pid).children(recursive=True)
    product.kill()
    await product.ended()
    await product.start()
    assert not [server for server in servers if is_alive(server)]
    async with product.client() as client:
        assert await person.items(client, "trades") == before
        assert len(before) == 1
        await person.accepted(client, ticker="NQ1!", action="sell", price="18260.25")


def is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: whoever became its parent has only not asked yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
