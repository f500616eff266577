"""Every message that crosses between actors. Commands are imperative, events past tense; all are frozen."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trendedge.actors.keyring import KeyOwner
from trendedge.domain.alerts import ParsedAlert
from trendedge.domain.signals import Signal
from trendedge.runtime import Request


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to an alert: it is durable under this id, or the first one with the same meaning is."""

    signal_id: str
    status: Literal["accepted", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveAlert(Request[Receipt]):
    """To intake: an authenticated alert that reads as a signal. Answered once it is durable.

    Declared errors: `MailboxFull`, `JournalUnavailable`, `UnknownAccountName`.
    """

    owner: KeyOwner
    alert: ParsedAlert
    received_at: datetime
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteSignal:
    """To the executor, durable: trade this, exactly once."""

    signal_id: str
    user_id: str
    account_id: str
    received_at: datetime
    request_id: str
    signal: Signal
    raw: str
    """The body as text, secrets replaced: for the decision trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushEvents:
    """To the hub: show these to a user's sockets, in this order. The frames are ready JSON texts."""

    user_id: str
    channel: str
    frames: tuple[str, ...]
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Purge:
    """To the housekeeper: remove what has become too old. While it is doing so, another one changes nothing."""

    due_at: datetime
    """The age of everything is counted back from here."""
