"""What a journal was asked, and has not answered."""

from trendedge.runtime.latch import Latch


class Underway:
    """What was asked that may give an entry to deliver.

    Whoever recovers meanwhile waits for the answers.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._answered = Latch()

    def __enter__(self) -> None:
        self._asked += 1

    def __exit__(self, *_: object) -> None:
        self._asked -= 1
        if not self._asked:
            self._answered.set()
            self._answered = Latch()

    async def over(self) -> None:
        """Return when all is answered."""
        while self._asked:
            await self._answered.wait()
