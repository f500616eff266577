"""Supervision as OTP defines it: ordered start, restart by strategy, bounded intensity, reverse stop, escalation."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

import anyio

from trendedge.runtime.beside import Beside
from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child, Exit, Process, ServiceProcess
from trendedge.runtime.entity import Entity
from trendedge.runtime.errors import ActorStopped, StartFailed
from trendedge.runtime.intensity import Intensity
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.members import Members
from trendedge.runtime.outlast import outlast
from trendedge.runtime.restarts import Restarts
from trendedge.runtime.specs import ChildSpec, ServiceSpec, Spec, SupervisorSpec

type OnGivenUp = Callable[[Entity, Envelope, Exception], None]

KINDS = {ChildSpec: "actor", ServiceSpec: "service", SupervisorSpec: "supervisor"}


class Supervisor:
    """Runs the children of one `SupervisorSpec`. `run` returns after a stop and raises when it gives up."""

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        parent: str = "",
        path: str | None = None,
        former: "Supervisor | None" = None,
        on_given_up: OnGivenUp | None = None,
        tree: object = None,
    ) -> None:
        """:param parent: path of its own supervisor, which says whether its end is one for good
        :param former: the one that this one takes the place of, with all that is known of its children
        :param on_given_up: is called with each message that an actor below, spawned ones too, gives up, in its instance
        :param tree: what all supervisors below one root have in common
        :raises DuplicateChild: two children have one id
        :raises DuplicateRef: two actors below have one address
        """
        self.spec = spec
        self.on_given_up = on_given_up
        self.tree = tree or object()
        self._nested = bool(parent)
        self.path: str = path or (f"{parent}/{spec.id}" if parent else spec.id)
        self.intensity = Intensity(spec.intensity, spec.period_s)
        self._make = self._process  # one object for all children: a closure for each would cost as much as its mailbox
        known = None if former is None else former.members
        self.members: Members = Members(self.path, spec.children, self._child, known, comes_back=self._nested)
        self.status = "starting"
        self.begun = anyio.Event()
        """Set when all children were ready for the first time, or `run` is over."""
        self.ended = anyio.Event()
        """Set when `run` is over."""
        self.missed: Child | None = None
        """The significant child whose end was this one's too."""
        self._restarts = Restarts(self)
        self._beside: Beside | None = None
        """What runs beside the children; None while it does not run."""
        self._starting: dict[anyio.CancelScope, None] = {}
        """Around the starts that are under way, in order: a set's order would change from run to run."""
        self._context = Context()
        """What its children run in copies of: that of whoever runs it, and not of those who add children."""
        self._host: asyncio.Task[Any] | None = None
        """What runs it, and then its stop."""
        self._cancelled_before = 0
        """Cancellations that its host had swallowed before it became that."""
        self._cut_off = False
        """What runs it and its stop were cancelled together, as at the end of the event loop."""
        self._stop = anyio.Event()

    @property
    def children(self) -> list[Child]:
        """In the order of their start."""
        return self.members.children

    @property
    def culprit(self) -> str | None:
        """Type of the message over which the last of too many restarts was; None when it was none."""
        return self._restarts.culprit

    @property
    def stops(self) -> bool:
        """Whether it has begun to stop."""
        return self._stop.is_set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Start the children in order, keep them alive, stop them in reverse. Cancelled, it returns after the stop.

        :raises StartFailed: a child did not become ready at the first start
        :raises IntensityExceeded: too many restarts; the children have been stopped
        """
        self.status = "starting"
        self._context = copy_context()
        self._take_host()
        self._beside = Beside()
        try:
            if await self._start_all():
                self.status = "running"
                self.begun.set()
                on_ready()
                await self._restarts.attend()
        finally:
            self.request_stop()  # also when it gives up: nobody waits for a start any more
            self._refuse_orders()
            try:
                await self._outlast_end()
            finally:
                self._beside = None
                self.begun.set()
                self.ended.set()

    def request_stop(self) -> None:
        """Begin the orderly stop; a start that is under way is given up."""
        self._stop.set()
        self._restarts.report(Exit(None, None))
        for scope in self._starting:
            scope.cancel()

    async def _outlast_end(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while True:
            stop = asyncio.get_running_loop().create_task(self._end(), name=f"{self.path} stops")
            try:
                await outlast(stop)
            except asyncio.CancelledError as error:
                cancelled = error
            if not stop.cancelled():
                break
            # By somebody else: the children are still to be stopped. With what runs it, all has been cancelled.
            self._cut_off = cancelled is not None
        if cancelled is not None:
            raise cancelled
        stop.result()

    async def _end(self) -> None:
        self._take_host()  # a cancellation of `run` has led to this stop, and says nothing about it
        await self.stop_all(self.members.everybody, for_good=not self._nested, cut_off=self._cut_off)
        self.members.let_go()
        if self._beside is not None:
            await self._beside.ended()

    def _take_host(self) -> None:
        self._host = asyncio.current_task()
        self._cancelled_before = 0 if self._host is None else self._host.cancelling()

    @property
    def is_cancelled(self) -> bool:
        """Whether its host is to end. While it is, nobody below crashes for being cancelled."""
        if self._cut_off:
            return True
        if self._host is None or self._restarts.gives_up_a_start or any(one.cancel_called for one in self._starting):
            return False  # only a start or a pause is given up
        return self._host.cancelling() > self._cancelled_before

    def close(self) -> None:
        """It may be started again: settle what waits for its children. They have addresses from the beginning, so mail
        and orders may wait for them even when it was never started.
        """
        self._refuse_orders()
        for child in self.children:
            child.process.close()

    def terminate(self, cause: str | None) -> None:
        """It is not started again: as `close`, and whoever watches its children is told."""
        self._refuse_orders()
        for child in self.children:
            child.process.terminate(child.died_of if child.begun else cause)

    def release_address(self) -> None:
        """As `Process.release_address`: those of all below."""
        for child in (*self.members.everybody, *self.members.removed):
            child.process.release_address()

    async def restart(self, child: Child) -> None:
        """Stop a child in good order and start it again, with those whom the strategy says.

        Not counted towards the intensity. Returns when all of them are ready; a start that fails is a crash, and
        goes on as one. A restart of the child alone that pauses, or has begun to start it, is given up for this one; an
        order that has not come so far is the same one.

        :raises ActorStopped: this supervisor is about to end, or has ended; or the child was removed, or given up by
            whoever added it
        :raises StartFailed: the child did not become ready, and is none that is started again after a crash
        """
        if self.status == "stopping":
            raise ActorStopped(self.path)
        await self._restarts.order(child)

    def _refuse_orders(self) -> None:
        """Those that wait and those that are still to come."""
        self.status = "stopping"
        self._restarts.refuse()

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> asyncio.Task[None]:
        """Run work of a child beside its mailbox. It must not raise, and be cancelled by whoever began it.

        :raises ActorStopped: the supervisor is not running
        """
        if self._beside is None:
            raise ActorStopped(self.path)
        return self._beside.begin(work, name=name)

    def foster(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> asyncio.Task[None]:
        """As `beside`, in a copy of the supervisor's context.

        :raises ActorStopped: the supervisor is not running
        """
        if self._beside is None:
            raise ActorStopped(self.path)
        return self._beside.begin(work, name=name, context=self._context.copy())

    def nursery(self, path: str) -> "Supervisor":
        """The supervisor of what an actor of its at `path` spawns: one for one, with OTP's defaults."""
        return Supervisor(SupervisorSpec("children", ()), path=path, on_given_up=self.on_given_up, tree=self.tree)

    async def start_child(self, spec: Spec) -> None:
        """Add a child to a running supervisor (OTP's `start_child`); returns when it is ready.

        :raises StartFailed: it did not become ready, and was not added
        :raises DuplicateChild: there is a child of this id, or one that was removed has not ended yet
        :raises DuplicateRef: its address, or one below it, is that of an actor of the tree
        :raises ActorStopped: the supervisor is not running, or it or the child was stopped before that was ready
        """
        if self._beside is None or self._stop.is_set() or self.status == "stopping":
            raise ActorStopped(self.path)
        child = self.members.add(spec, self.tree)
        error: BaseException | None = None
        try:
            with self.given_up_at_the_stop() as scope:
                error = await self.begin(child)
        except BaseException:
            if child.generation == 1:
                self.members.forget(child, None)
            raise
        if child.generation > 1:
            return  # somebody has restarted it: it is the supervisor's
        if scope.cancelled_caught:
            self.members.forget(child, None)
            raise ActorStopped(self.path)
        if error is not None:
            self.members.forget(child, error)
            raise StartFailed(child.path, error) from error
        if child not in self.members:
            raise ActorStopped(child.path)

    async def stop_child(self, child_id: str) -> None:
        """Stop a child in good order, within its `shutdown_s`, and remove it (OTP's `terminate_child`, `delete_child`).

        :raises UnknownChild: there is none of this id
        """
        child = self.members.remove(child_id)  # first: its end is no reason to restart it
        if self._beside is None:
            await child.leave()
            child.terminate(None)
            self.members.release(child)
            return

        async def leave() -> None:
            await child.stop(for_good=True)
            self.members.release(child)

        await self._beside.insist(leave, name=f"{child.path} leaves")

    def unready(self, child_id: str | None = None) -> Iterator[Cell]:
        """The actors below that are starting; of one child, or of all."""
        for child in self.members.starting(child_id):
            if isinstance(child.process, Supervisor):
                yield from child.process.unready()
            elif isinstance(child.process, Cell):
                yield child.process

    def ending(self, child_id: str | None = None) -> Iterator[Cell]:
        """The actors below that have not ended; of one child, or of all."""
        for child in self.members.ending(child_id):
            if isinstance(child.process, Supervisor):
                yield from child.process.ending()
            elif isinstance(child.process, Cell):
                yield child.process

    def is_done(self, child: Child) -> bool:
        """Whether a child of its has ended in good order, and is not started again unless somebody orders it."""
        return self.members.is_forgotten(child) and child.died_of is None

    # -- for the restarts of its children -----------------------------------------------------------------------

    async def begin(self, child: Child) -> BaseException | None:
        """Begin an incarnation of a child; see `Child.start`."""
        return await child.start(self._restarts.report, context=self._context)

    @contextmanager
    def given_up_at_the_stop(self) -> Iterator[anyio.CancelScope]:
        """Around a start."""
        with anyio.CancelScope() as scope:
            self._starting[scope] = None
            try:
                yield scope
            finally:
                del self._starting[scope]

    async def pause(self, delay_s: float) -> None:
        """Return after so many seconds, or at the stop."""
        with self.given_up_at_the_stop() as scope:
            scope.deadline = anyio.current_time() + delay_s
            await self._stop.wait()

    async def lose(self, child: Child, error: BaseException | None) -> None:
        """A child has ended by itself and is not started again."""
        await child.leave()
        if child not in self.members:
            return  # removed meanwhile
        self.members.forget(child, error)
        if child.spec.significant:
            self.missed = child
            self.request_stop()

    @staticmethod
    async def stop_all(children: Sequence[Child], *, for_good: bool, cut_off: bool = False) -> None:
        """Stop children in reverse order; see `Child.stop`."""
        for child in reversed(children):
            await child.stop(for_good=for_good, cut_off=cut_off)

    async def _start_all(self) -> bool:
        for child in tuple(self.children):
            if self._stop.is_set():
                break
            if child not in self.members:
                continue
            with self.given_up_at_the_stop():
                if child.generation:
                    child.will_restart(f"with {self.path}")
                error = await self.begin(child)
                if error is not None and child in self.members:  # or else it was removed meanwhile
                    raise StartFailed(child.path, error) from error
        return not self._stop.is_set()

    def _child(self, spec: Spec, former: Child | None = None) -> Child:
        return Child(spec, f"{self.path}/{spec.id}", self._make, kind=KINDS[type(spec)], former=former)

    def _process(self, spec: Spec, path: str, before: Process | None) -> Process:
        match spec:
            case SupervisorSpec():
                former = before if isinstance(before, Supervisor) else None
                return Supervisor(spec, parent=self.path, former=former, on_given_up=self.on_given_up, tree=self.tree)
            case ServiceSpec():
                return ServiceProcess(path, spec.start)
            case ChildSpec():
                cell = self._cell(spec, path)
                if isinstance(before, Cell):
                    cell.succeed(before)
                spec.ref.bind(cell)
                return cell

    def _cell(self, spec: ChildSpec[Any], path: str) -> Cell:
        return Cell(
            path,
            spec.start,
            spec=spec.mailbox,
            retry=spec.retry,
            durability=spec.durability,
            intensity=Intensity(self.spec.intensity, self.spec.period_s),
            breaker=spec.breaker,
            supervisor=self,
        )
