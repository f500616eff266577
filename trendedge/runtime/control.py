"""What an operator may do to a running tree: hold an actor, let it go on, restart it."""

from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child
from trendedge.runtime.errors import RuntimeFault
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.walk import descendants
from trendedge.runtime.watchdog import cells


class UnknownActor(RuntimeFault):
    """Nothing in the tree has this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no actor {path[:256]!r}")
        self.path = path


class NotSuspendable(RuntimeFault):
    """Only what takes messages can be told to take none."""

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(f"{path} is a {kind}: it has no mailbox, so it cannot be suspended or resumed")
        self.path, self.kind = path, kind


class NotRestartable(RuntimeFault):
    """The root has no supervisor: its restart is that of the process."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is the root of the tree: restart the process instead")
        self.path = path


class UnknownBreaker(RuntimeFault):
    """No actor has a breaker of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no breaker {name[:256]!r}")
        self.name = name


class Controls:
    """Acts on the tree below `root`, by path as `Inspector` shows them. All raise `UnknownActor`."""

    def __init__(self, root: Supervisor) -> None:
        self._root = root

    def suspend(self, path: str) -> None:
        """Let the actor finish what it is handling, and then take no message until `resume`.

        Holds through restarts in this process. Mail goes on coming in, up to the capacity; what is durable is
        journalled as ever.

        :raises NotSuspendable: it has no mailbox
        """
        self._cell(path).suspend()

    def resume(self, path: str) -> None:
        """End a suspension; does nothing when there is none.

        :raises NotSuspendable: it has no mailbox
        """
        self._cell(path).resume()

    async def restart(self, path: str) -> None:
        """Have the supervisor stop the actor in good order and start it again, with whom its strategy takes along.

        Returns when they are ready. Not counted towards the intensity. Mail in memory is lost, as in any stop; what
        is durable comes back. Ends the pause before a restart of it alone, and gives up one that hangs.

        :raises NotRestartable: it is the root
        :raises ActorStopped: its supervisor is ending, and starts nothing any more
        :raises StartFailed: it is never restarted after a crash, and could not start: it has ended for good
        """
        if path == self._root.path:
            raise NotRestartable(path)
        supervisor, child = self._find(path)
        await supervisor.restart(child)

    def reset_breaker(self, name: str) -> None:
        """Close a circuit breaker by hand, so that what waits behind it is tried at once.

        A name is the path of an actor with the key of the instance, `a/b[key]`; the path alone is all of the actor's.

        :raises UnknownBreaker: there is none of this name
        """
        for cell in cells(self._root):
            if cell.breakers.spec is None:
                continue
            if cell.path == name:
                for breaker in list(cell.breakers.by_key.values()):
                    cell.reset_breaker(breaker.name)
                return
            if cell.reset_breaker(name):
                return
        raise UnknownBreaker(name)

    def _cell(self, path: str) -> Cell:
        if path == self._root.path:
            raise NotSuspendable(path, "supervisor")
        _, child = self._find(path)
        if not isinstance(child.process, Cell):
            raise NotSuspendable(path, child.kind)
        return child.process

    def _find(self, path: str) -> tuple[Supervisor, Child]:
        for supervisor, child in descendants(self._root):
            if child.path == path:
                return supervisor, child
        raise UnknownActor(path)
