"""Each safeguard is taken away in turn, and some seed must notice: otherwise the simulation would prove nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.bank import Bank
from tests.simulation.trading import run_seed
from tests.simulation.world import Parts
from trendedge.domain.accounts import Account
from trendedge.domain.book import ExecutionRequest
from trendedge.runtime import (
    Appended,
    ChildSpec,
    DeadLetter,
    Duplicate,
    Entry,
    Settlement,
    SupervisorSpec,
    Unique,
    crashes,
)
from trendedge.runtime.ownership import Owner
from trendedge.runtime.simulation import MemoryJournal, MemoryServer
from trendedge.storage.failover_journal import FailoverJournal

MOST_SEEDS = 400


class ForgetfulBank(Bank):
    """The signal's primary key is gone."""

    def known(self, signal_id: str) -> bool:
        return False


class UnversionedBank(Bank):
    """The account's version is no fence."""

    def stale(self, account: Account) -> bool:
        return False


class UnmarkedBank(Bank):
    """The unique key on the meaning of an alert is gone."""

    def holder(self, mark: str, request: ExecutionRequest) -> str | None:
        return None


class UnfencedBank(Bank):
    """The commit does not look at the owner's epoch."""

    def fenced(self, owner: Owner) -> bool:
        return False


class HastyServer(MemoryServer):
    """An entry is settled when it is taken, and not after the commit."""

    def append(self, owner: Owner, payload: bytes, unique: Unique | None) -> tuple[bool, str]:
        taken, text = super().append(owner, payload, unique)
        if taken:
            self.settle(owner, [Settlement(text)])
        return taken, text


class UncountingServer(MemoryServer):
    """What a process may die of is in its memory alone."""

    def mark(self, owner: Owner, entry_id: str, said: int) -> None:
        pass


class HalfBuryingServer(MemoryServer):
    """Moving an entry to the dead letters is two steps, of which the second may fail to come."""

    def bury(self, owner: Owner, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        if letter.attempts % 2:
            super().bury(owner, entry_id, payload, letter)
        else:
            self._remove(owner, entry_id)


class HalfAdoptingServer(MemoryServer):
    """Two adopters may both copy what one node has left."""

    def adopt(self, them: Owner, us: Owner) -> int:
        before, lease = dict(self.streams[them.mailbox, them.node]), self.leases.get((them.mailbox, them.node))
        moved = super().adopt(them, us)
        if moved and lease is not None:
            self.streams[them.mailbox, them.node].update(before)
            self.leases[them.mailbox, them.node] = lease
        return moved


class UnorderedJournal(FailoverJournal):
    """Recovery and adoption give the newest first."""

    async def recover(self, mailbox: str) -> list[Entry]:
        return (await super().recover(mailbox))[::-1]


class EagerJournal(MemoryJournal):
    """The answer is given before the message is in the journal: while the store is down, it never comes there."""

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        try:
            return await super().append(mailbox, payload, unique=unique)
        except Exception:
            return Appended("0000000000000-000000")


class TrustingJournal(MemoryJournal):
    """An append whose answer never came is taken for one that never was."""

    async def adopt(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Any]:
        return [entry for entry in await super().adopt(mailbox, gone) if self._adopted(mailbox, entry.entry_id)]

    def _adopted(self, mailbox: str, entry_id: str) -> bool:
        return self.server.streams[mailbox, self.ownership.node][entry_id].moved


class LonelyJournal(MemoryJournal):
    """Nobody adopts the mail of the dead."""

    async def _adopt_from(self, them: Owner, us: Owner) -> None:
        pass


class SilentJournal(MemoryJournal):
    """Settlements are forgotten."""

    async def settle(
        self,
        mailbox: str,
        settlements: Sequence[Settlement],
        *,
        begin: Sequence[str] = (),
        turn: int | None = None,
    ) -> None:
        await super().settle(mailbox, [], begin=begin, turn=turn)


def executor(**changes: Any) -> Callable[[SupervisorSpec], SupervisorSpec]:
    """Change the executor's place in the tree."""

    def change(spec: SupervisorSpec) -> SupervisorSpec:
        return replace(spec, children=[_changed(child, changes) for child in spec.children])

    return change


def _changed(child: Any, changes: dict[str, Any]) -> Any:
    if isinstance(child, SupervisorSpec):
        return replace(child, children=[_changed(inner, changes) for inner in child.children])
    if not isinstance(child, ChildSpec) or child.id != "executor":
        return child
    return replace(child, **{name: change(getattr(child, name)) for name, change in changes.items()})


ABLATIONS = {
    "the signal's primary key": (Parts(bank=ForgetfulBank), "each acknowledged signal has exactly one outcome"),
    "the account's version as a fence": (Parts(bank=UnversionedBank), "no commit on a stale book"),
    "the unique meaning in the bank": (Parts(bank=UnmarkedBank), "two alerts of one meaning trade once"),
    "the epoch in the commit": (Parts(bank=UnfencedBank), "no commit by a fenced process"),
    "settling after the commit": (Parts(server=HastyServer), "each acknowledged signal has exactly one outcome"),
    "the delivery counter": (Parts(server=UncountingServer), "everything comes to its end"),
    "burying in one step": (Parts(server=HalfBuryingServer), "accepted = settled + dead + pending"),
    "adopting in one step": (Parts(server=HalfAdoptingServer), "accepted = settled + dead + pending"),
    "order at the recovery": (Parts(failover=UnorderedJournal), "order per key"),
    "journalling before the answer": (
        Parts(journal=EagerJournal),
        "each acknowledged signal has exactly one outcome",
    ),
    "doubt about appends without an answer": (Parts(journal=TrustingJournal), "everything comes to its end"),
    "adoption": (Parts(journal=LonelyJournal), "everything comes to its end"),
    "settling at all": (Parts(journal=SilentJournal), "everything comes to its end"),
    "one mailbox for all signals of an account": (
        Parts(tree=executor(mailbox=lambda spec: replace(spec, key=lambda message: message.signal_id))),
        "one handler per key at a time",
    ),
    "the difference between an outage and a failure": (
        Parts(tree=executor(retry=lambda policy: replace(policy, outage=(), delays_s=(0.1, 0.1)))),
        "only the guilty are given up",
    ),
    "giving up what always fails": (
        Parts(tree=executor(retry=lambda policy: replace(policy, delays_s=(5.0,) * 10_000))),
        "everything comes to its end",
    ),
}


@pytest.mark.parametrize("safeguard", ABLATIONS)
def test_without_this_safeguard_some_seed_fails(safeguard: str) -> None:
    parts, expected = ABLATIONS[safeguard]
    assert any(expected in run_seed(seed, parts=parts).broken for seed in range(MOST_SEEDS))


def test_without_telling_a_stray_cancellation_from_an_end_some_seed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "_is_cancelled", lambda: True)
    assert any("everything comes to its end" in run_seed(seed).broken for seed in range(MOST_SEEDS))
