"""Mail of the dead that may not be delivered yet, since older mail may lie where nobody could look."""

from collections.abc import Sequence

from trendedge.runtime.journal import Entry
from trendedge.runtime.ownership import Claims, Owner


class HeldMail:
    """What the stores have given for one mailbox and nobody has got yet, and what that waits for.

    What was adopted from somebody in one store waits until it was adopted from in the other as well. Who has to be
    waited for and cannot be claimed any more lives on, or another node adopts its mail. Nothing waits for the first;
    for the second it waits until both stores say that nothing is left of it, so that the other node, which got the
    rest, is ahead of us, as far as can be told.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self.lines: list[list[Entry]] = []
        """What each store has given at each look. It gives nothing twice, also when the look is cut off."""
        self.unfinished: list[Owner] = []
        """Whose mail was about to be adopted from both stores. What they had may be of anybody."""

    def begin(self, silent: Sequence[Owner], claims: Claims) -> None:
        """A look adopts from those who were granted.

        :param silent: what both stores have answered to that look
        """
        gone = {owner.node for owner in claims.granted}
        left = {owner.node for owner in (*silent, *claims.unanswered)} - gone
        before = {owner.node: owner for owner in (*self.unfinished, *claims.begun) if owner.node in left}
        self.unfinished = [*claims.granted, *before.values()]

    def finish(self, gone: Sequence[Owner]) -> None:
        """Both stores have given what they had of these."""
        self.unfinished = [owner for owner in self.unfinished if owner not in gone]

    def release(self, lines: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
        """What of these lines may be delivered now; the rest is held."""
        held = [[one for one in line if self._waits(one)] for line in lines]
        self.lines = [line for line in held if line]
        return [[one for one in line if not self._waits(one)] for line in lines]

    def _waits(self, one: Entry) -> bool:
        """Our own does not, nor what an earlier release has adopted from nobody knows whom."""
        return bool(self.unfinished) and one.sent_by not in ("", self._node)
