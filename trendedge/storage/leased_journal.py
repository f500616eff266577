"""What a journal in one store is beside a `runtime.Journal`: the entries belong to a node for as long as that lives."""

from collections.abc import Sequence
from typing import Protocol

from trendedge.runtime.journal import Entry, Journal, Settlement
from trendedge.runtime.ownership import Owner


class LeasedJournal(Journal, Protocol):
    """A journal whose entries belong to a node as long as it says that it is alive."""

    async def look(self, mailbox: str) -> list[Owner]:
        """The others that have mail here and have said nothing for the length of their lease, or have given it up."""
        ...

    async def recover(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """As `Journal.recover`, with the mail of those who are gone: whoever calls it has fenced them, and whether they
        hold a lease here is not asked. Unless they are given, they are looked for."""
        ...

    async def adopt(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """As `Journal.adopt`, likewise."""
        ...

    async def settle(
        self,
        mailbox: str,
        settlements: Sequence[Settlement],
        *,
        begin: Sequence[str] = (),
        turn: int | None = None,
    ) -> None:
        """:param turn: of `begin`, by `Ownership.next_turn`, taken when it was called for; None for now"""
        ...

    async def uncount(self, mailbox: str, entry_ids: Sequence[str], *, turn: int | None = None) -> None:
        """:param turn: as of `settle`"""
        ...

    async def keep_lease(self) -> None:
        """Renew the lease while there is unsettled mail, until cancelled."""
        ...


class ProbedJournal(LeasedJournal, Protocol):
    """A journal that can be asked whether its store is back."""

    async def probe(self) -> None:
        """Write something that is nobody's: a store may answer and not be able to. As cheap as that can be.

        When it can, the leases are renewed before anybody may take them for run out.
        """
        ...
