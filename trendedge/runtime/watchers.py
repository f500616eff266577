"""Who wants to know of an actor's end."""

from collections.abc import Callable

from trendedge.runtime.actor import Terminated


class Watchers:
    """Those who watch one actor. It ends once; a restart is no end."""

    __slots__ = ("_notice", "_waiting")

    def __init__(self) -> None:
        self._notice: Terminated | None = None
        self._waiting: dict[object, Callable[[Terminated], None]] | None = None
        """None until somebody does."""

    def add(self, watcher: object, notify: Callable[[Terminated], None]) -> None:
        """Call `notify` at the end; now, when that was before."""
        if self._notice is not None:
            notify(self._notice)
        else:
            if self._waiting is None:
                self._waiting = {}
            self._waiting[watcher] = notify

    def remove(self, watcher: object) -> None:
        """Forget a watcher."""
        if self._waiting is not None:
            self._waiting.pop(watcher, None)

    def tell(self, notice: Terminated) -> None:
        """The actor has ended for good. The first notice stays: later ones know no more."""
        if self._notice is not None:
            return
        self._notice = notice
        waiting, self._waiting = self._waiting, None
        for notify in (waiting or {}).values():
            notify(notice)

    def revive(self) -> None:
        """It runs again after all: somebody has started its supervisor anew."""
        self._notice = None
