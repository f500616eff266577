"""Who belongs to a supervisor: its children, those who were removed, and those who are not started again."""

from collections.abc import Callable, Iterator, Sequence

from trendedge.runtime.addresses import check_added_refs, check_ids, check_refs
from trendedge.runtime.child import Child
from trendedge.runtime.errors import DuplicateChild, UnknownChild
from trendedge.runtime.specs import Spec


class Members:
    """The records of one supervisor's children."""

    __slots__ = ("_comes_back", "_forgotten", "_make", "_path", "children", "leaving", "removed")

    def __init__(
        self,
        path: str,
        specs: Sequence[Spec],
        make: Callable[[Spec, Child | None], Child],
        former: "Members | None",
        *,
        comes_back: bool,
    ) -> None:
        """:param make: is given a child's spec, and its record below the supervisor that was restarted
        :param comes_back: a restart of the supervisor brings back those of its spec who were removed
        :raises DuplicateChild: two children have one id
        :raises DuplicateRef: two actors below have one address
        """
        check_ids(path, specs)
        check_refs(path, specs)
        self._path = path
        self._make = make
        known = [] if former is None else former.children
        self.children: list[Child] = [
            make(spec, next((one for one in known if one.spec is spec), None)) for spec in specs
        ]
        """In the order of their start."""
        self.leaving: list[Child] = []
        """Removed, and perhaps not ended yet."""
        self.removed: list[Child] = []
        """Those of them who have ended, and come back with a restart of the supervisor: they keep their addresses."""
        self._comes_back = comes_back
        self._forgotten: set[Child] = set()
        """Those who are here still, and are not started again unless somebody orders it."""

    def __contains__(self, child: Child) -> bool:
        return child in self.children

    @property
    def everybody(self) -> list[Child]:
        """Also those who are leaving."""
        return [*self.children, *self.leaving]

    def add(self, spec: Spec, tree: object) -> Child:
        """Add the record of a child that is in no supervisor's spec.

        :param tree: as of `Supervisor`
        :raises DuplicateChild: there is a child of this id, or one that was removed has not ended yet
        :raises DuplicateRef: its address, or one below it, is that of an actor of the tree
        """
        if any(one.spec.id == spec.id for one in self.everybody):
            raise DuplicateChild(f"{self._path}/{spec.id}")
        check_added_refs(self._path, spec, tree, [one.process for one in self.removed])
        child = self._make(spec, None)
        child.dynamic = True
        self.children.append(child)
        return child

    def remove(self, child_id: str) -> Child:
        """Take a child out, which is leaving then.

        :raises UnknownChild: there is none of this id
        """
        child = next((one for one in self.children if one.spec.id == child_id), None)
        if child is None:
            raise UnknownChild(f"{self._path}/{child_id}")
        self.children.remove(child)
        self.leaving.append(child)
        return child

    def forget(self, child: Child, error: BaseException | None) -> None:
        """A child has ended and is not started again."""
        child.terminate(error)
        if not child.dynamic:
            self._forgotten.add(child)
        elif child in self.children:
            self.children.remove(child)
            child.process.release_address()

    def release(self, child: Child) -> None:
        """One that was removed has ended."""
        self.leaving.remove(child)
        self._release(child)

    def _release(self, child: Child) -> None:
        if child.dynamic or not self._comes_back:
            child.process.release_address()
        else:
            self.removed.append(child)

    def remember(self, child: Child) -> None:
        """A child is started again all the same."""
        self._forgotten.discard(child)

    def is_forgotten(self, child: Child) -> bool:
        """Whether a child is not started again unless somebody orders it."""
        return child in self._forgotten

    def let_go(self) -> None:
        """All have ended: those who are in no spec do not come back with a restart of the supervisor."""
        for child in self.everybody:
            if child.dynamic or child not in self.children:
                child.terminate(None)
                self._release(child)

    def starting(self, child_id: str | None) -> Iterator[Child]:
        """Those who have not come up yet; of one id, or of all."""
        for child in self.children:
            if child.status in ("starting", "restarting") and child_id in (None, child.spec.id):
                yield child

    def ending(self, child_id: str | None) -> Iterator[Child]:
        """Those who have not ended; of one id, or of all."""
        for child in self.everybody:
            if child_id in (None, child.spec.id) and child.status not in ("stopped", "crashed"):
                yield child
