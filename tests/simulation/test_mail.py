"""A durable mailbox over many seeds: nothing may break, everything must happen, and no safeguard is idle."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.mail import run_mail
from trendedge.runtime.delivery import Delivery
from trendedge.runtime.durable import DurableLog
from trendedge.runtime.simulation.campaign import run_seeds
from trendedge.runtime.underway import Underway

SEEDS = range(100)
MOST_SEEDS = 400
SOMETIMES = [
    *(f"store.{fault}" for fault in ("reply_lost", "late", "refused", "slow")),
    *(f"tell {how}" for how in ("done", "cancelled", "JournalUnavailable", "ActorStopped", "Fenced")),
    *(f"{what} {how}" for what in ("look", "replay") for how in ("done", "cancelled", "JournalUnavailable")),
    "restart done",
    "stashed",
    "stolen",
    "adopted",
    "buried",
]


def test_many_seeds_break_nothing_and_everything_happens_in_them() -> None:
    campaign = run_seeds(run_mail, SEEDS, processes=1)
    failures = [f'make simulate SEED={one.seed} ARGS="--scenario mail": {one.failure}' for one in campaign.failures]
    assert failures == []
    assert [kind for kind in SOMETIMES if not campaign.counts[kind]] == []


def test_a_seed_is_one_run() -> None:
    assert run_mail(5).digest == run_mail(5).digest
    assert run_mail(5).digest != run_mail(6).digest


# -- ablations ------------------------------------------------------------------------------------------------------


async def at_once(self: Underway) -> None:
    """A recovery waits for no answer."""


def never(self: DurableLog, other: DurableLog) -> bool:
    """The cell of a restarted supervisor knows nothing of what was under way."""
    return False


def always(self: Delivery, closings: int) -> bool:
    """What a restart has overtaken is delivered as well."""
    return True


def forget_doomed(real: Callable[..., Any]) -> Callable[..., Any]:
    """What is cut off while it is buried is not remembered."""

    async def bury(self: DurableLog, *args: Any) -> None:
        try:
            await real(self, *args)
        finally:
            self._burials.forget()

    return bury


ABLATIONS: dict[str, tuple[type, str, Any]] = {
    "waiting for what is under way": (Underway, "over", at_once),
    "handing on what is under way": (DurableLog, "is_of_the_same", never),
    "leaving to a recovery what it finds": (Delivery, "delivers", always),
    "remembering what is given up": (DurableLog, "bury", forget_doomed(DurableLog.bury)),
}


@pytest.mark.parametrize("safeguard", ABLATIONS)
def test_without_this_safeguard_some_seed_fails(safeguard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, change = ABLATIONS[safeguard]
    monkeypatch.setattr(owner, name, change)
    assert any(run_mail(seed).failure for seed in range(MOST_SEEDS))
