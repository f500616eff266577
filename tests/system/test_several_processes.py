"""Several processes on one PostgreSQL and one Redis: an alert has one outcome, whoever dies, sleeps or is replaced."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import pytest
from redis.asyncio import Redis

from tests.system.cluster import LEASE_S, Cluster, Crowd, cluster, crowding, logged, until_logged
from tests.system.load import real_alert
from tests.system.person import WEBHOOK, Person
from tests.system.product import OPERATOR_KEY, STOP_WITHIN_S, Product
from tests.system.waiting import eventually

SOME = 15
"""Alerts of each trader to be acknowledged before the next thing happens."""
TWINS = 40
"""Alerts that come to two processes at once."""
ROUNDS = 2


@asynccontextmanager
async def nothing_commits(cluster: Cluster) -> AsyncIterator[None]:
    """What is acknowledged meanwhile is in hand or waits behind it."""
    async with AsyncExitStack() as stack:
        for person in cluster.people:
            await stack.enter_async_context(cluster.ledger.holding_account(person.id))
        yield


async def without_outcome(crowd: Crowd, product: Product) -> set[str]:
    """The signals that a process has acknowledged and that nobody has committed."""
    ledger = crowd.cluster.ledger
    return {
        signal_id
        for load in crowd.on(product)
        for signal_id in set(load.acknowledged.values()) - (await ledger.outcomes(load.person.id)).keys()
    }


async def test_the_mail_of_one_that_never_comes_back_is_worked_off_by_the_other(tmp_path: Path) -> None:
    async with cluster(tmp_path, processes=2) as both:
        dead, heir = both.products
        async with crowding(both, dead, heir) as crowd:
            async with nothing_commits(both):
                await crowd.acknowledged_by(dead, SOME)
                dead.kill()
                assert await dead.ended() == -signal.SIGKILL
            await until_logged(heir, "mail adopted")
            await crowd.post_again(heir)
            await crowd.acknowledged_by(heir, SOME)
        await crowd.settled()
        assert await crowd.faults() == []
        if not logged(dead, "mailbox fenced"):  # nobody promises an order over an adoption from the living
            assert await crowd.disorder(dead, heir) == []


async def test_one_that_slept_through_its_lease_commits_nothing_that_was_adopted_and_works_on(tmp_path: Path) -> None:
    async with cluster(tmp_path, processes=2, lease_s=3 * LEASE_S) as both:
        sleeper, heir = both.products
        async with crowding(both, sleeper, heir) as crowd:
            # The heir takes the mail and lies on it: whatever of it is committed, the sleeper has committed.
            await control(heir, "suspend")
            async with nothing_commits(both):
                await crowd.acknowledged_by(sleeper, SOME)
                sleeper.process.send_signal(signal.SIGSTOP)
            # The commits that it had under way are done by PostgreSQL alone, and whoever adopts waits for them.
            await until_logged(heir, "mail adopted")
            adopted = await without_outcome(crowd, sleeper)
            assert adopted, "it was stopped with mail in hand"
            await forget_fences(both)
            sleeper.process.send_signal(signal.SIGCONT)
            await until_logged(sleeper, "mailbox fenced")
            await crowd.acknowledged_by(sleeper, SOME)
            later = await without_outcome(crowd, sleeper) - adopted

            async def works_on() -> bool:
                left = await without_outcome(crowd, sleeper)
                assert left >= adopted, "it has committed what was adopted"
                return not left & later

            await eventually(works_on, "the sleeper works off what is its own")
            await control(heir, "resume")
        await crowd.settled()
        assert sleeper.running
        assert await crowd.faults() == []


async def control(product: Product, act: str) -> None:
    """Suspend or resume the executor."""
    async with product.client() as client:
        answer = await client.post(f"/ops/actors/trendedge/trading/executor/{act}", headers={"X-API-Key": OPERATOR_KEY})
    assert answer.status_code == 200, answer.text


async def forget_fences(cluster: Cluster) -> None:
    """Leave nothing in Redis that could stop a late owner: what counts is what the transaction in PostgreSQL finds."""
    async with Redis.from_url(cluster[0].redis_url) as redis:
        fences = [key async for key in redis.scan_iter("fence:*")]
        assert fences
        await redis.delete(*fences)


async def test_while_a_new_process_takes_over_from_an_old_one_no_alert_is_traded_twice(tmp_path: Path) -> None:
    # Nothing has to be adopted here, and over an adoption nobody promises an order.
    async with cluster(tmp_path, processes=2, running=1, lease_s=5 * LEASE_S) as deploy:
        old, new = deploy.products
        async with crowding(deploy, old) as on_old:
            await on_old.acknowledged_by(old, SOME)
            await deploy.start(new)
            async with crowding(deploy, new) as on_new:
                for number in range(TWINS):
                    await at_both(deploy.people[number % 2], number, old, new)
                old.terminate()
                assert await old.ended(within_s=STOP_WITHIN_S) == 0, old.last_words()
                await on_old.post_again(new)
                await on_new.acknowledged_by(new, SOME)
        for crowd, product in ((on_old, old), (on_new, new)):
            await crowd.settled()
            assert {status for load in crowd.loads for status in load.refused} <= {503}
            assert await crowd.disorder(product) == []
        assert await on_new.faults() == []
        stored = [await deploy.ledger.alerts(person.id) for person in deploy.people]
        assert all(f"twin-{number}" in stored[number % 2] for number in range(TWINS))


async def at_both(person: Person, number: int, *products: Product) -> None:
    """Post one alert to several processes at the same moment; each of them takes it, or knows it already."""
    body, content_type = real_alert(number, f"twin-{number}", person.key)

    async def post(product: Product) -> None:
        async with product.client() as client:
            answer = await client.post(WEBHOOK, content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 202, answer.text

    async with anyio.create_task_group() as tasks:
        for product in products:
            tasks.start_soon(post, product)


async def test_what_a_stopping_process_cannot_finish_is_worked_off_by_the_other_without_waiting(tmp_path: Path) -> None:
    # So long a lease that nobody would see the end of it.
    async with cluster(tmp_path, processes=2, lease_s=3600) as both:
        leaver, heir = both.products
        await control(leaver, "suspend")
        async with crowding(both, leaver) as crowd:
            await crowd.acknowledged_by(leaver, SOME)
            leaver.terminate()
            assert await leaver.ended(within_s=STOP_WITHIN_S) == 0, leaver.last_words()
            await until_logged(heir, "mail adopted")
            await crowd.post_again(heir)
        await crowd.settled()
        assert await crowd.faults() == []
        assert await crowd.disorder(leaver, heir) == []


@pytest.mark.parametrize("seed", [20261124])
async def test_three_processes_that_are_killed_stopped_and_replaced_at_random_lose_nothing(
    tmp_path: Path, seed: int
) -> None:
    async with cluster(tmp_path, processes=3) as three:
        async with crowding(three, *three.products) as crowd:
            async with anyio.create_task_group() as tasks:
                for place, product in enumerate(three.products):
                    tasks.start_soon(disturb, Random(seed + place), crowd, product)  # noqa: S311  # no secret
            await crowd.post_again(three[0])
            for product in three.products:
                await crowd.acknowledged_by(product, 1)
        await crowd.settled()
        assert await crowd.faults() == []


async def disturb(dice: Random, crowd: Crowd, product: Product) -> None:
    """Do something to a process at a random moment, and see to it that it runs again; `ROUNDS` times."""
    for _ in range(ROUNDS):
        await crowd.acknowledged_by(product, dice.randrange(1, 40))
        await anyio.sleep(dice.uniform(0, 0.02))  # not always just after an answer
        match dice.choice(("kill", "stop", "replace")):
            case "kill":
                product.kill()
                assert await product.ended() == -signal.SIGKILL
                await anyio.sleep(dice.uniform(0, 3) * LEASE_S)  # its mail is adopted before it is back, or not
            case "stop":
                product.process.send_signal(signal.SIGSTOP)
                await anyio.sleep(dice.uniform(0.5, 3) * LEASE_S)
                product.process.send_signal(signal.SIGCONT)
            case _:
                product.terminate()
                assert await product.ended(within_s=STOP_WITHIN_S) == 0, product.last_words()
        if not product.running:
            await product.start()
