"""Intake: gives an alert its id and its account, and makes it durable before anybody is told that it was accepted."""

import uuid
from collections.abc import Callable
from typing import ClassVar

from trendedge.actors.keyring import KeyOwner
from trendedge.actors.messages import ExecuteSignal, Receipt, ReceiveAlert
from trendedge.domain.signals import Signal
from trendedge.runtime import Actor, ActorStopped, Duplicate, DurableRef, JournalUnavailable, MailboxFull, Unique

DEDUP_WINDOW_S = 60
"""Seconds within which a second alert of the same meaning trades nothing (PRD INF-NFR-019)."""


class UnknownAccountName(Exception):
    """The alert names an account that this user does not have."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no account {name[:64]!r}; this user has {', '.join(known) or 'none'}")
        self.name, self.known = name, known


class Intake(Actor[ReceiveAlert]):
    """Keyed by user, so that one trader's alerts are journalled in the order in which they came."""

    declared: ClassVar[tuple[type[Exception], ...]] = (
        UnknownAccountName,
        MailboxFull,
        JournalUnavailable,
        ActorStopped,
    )

    def __init__(self, executor: DurableRef[ExecuteSignal], *, new_id: Callable[[], uuid.UUID] = uuid.uuid4) -> None:
        self._executor = executor
        self._new_id = new_id

    async def receive(self, message: ReceiveAlert) -> Receipt:
        """Journal the alert for the executor, unless one with the same meaning came within the window."""
        signal = message.alert.signal
        command = ExecuteSignal(
            signal_id=str(self._new_id()),
            user_id=message.owner.user_id,
            account_id=account_of(message.owner, signal),
            received_at=message.received_at,
            request_id=message.request_id,
            signal=signal,
            raw=message.alert.raw,
        )
        unique = Unique(signal.meaning(command.user_id), command.signal_id, DEDUP_WINDOW_S)
        outcome = await self._executor.tell(command, unique=unique)
        if isinstance(outcome, Duplicate):
            return Receipt(outcome.value, "duplicate")
        return Receipt(command.signal_id, "accepted")


def account_of(owner: KeyOwner, signal: Signal) -> str:
    """Id of the account that the signal is for: the one it names, else the user's default.

    :raises UnknownAccountName: the user has no such account, or none at all
    """
    for account in owner.accounts:
        wanted = account.is_default if signal.account is None else _names(account.id, account.name, signal.account)
        if wanted:
            return account.id
    raise UnknownAccountName(signal.account or "default", tuple(account.name for account in owner.accounts))


def _names(account_id: str, name: str, wanted: str) -> bool:
    return account_id == wanted.lower() or name.casefold() == wanted.casefold()
