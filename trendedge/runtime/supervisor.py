"""Supervision as OTP defines it: ordered start, restart by strategy, bounded intensity, reverse stop, escalation."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.abc

from trendedge.runtime.cell import Cell
from trendedge.runtime.child import Child, Exit, Process, ServiceProcess, outlast
from trendedge.runtime.entity import Entity
from trendedge.runtime.errors import (
    ActorStopped,
    DuplicateChild,
    DuplicateRef,
    IntensityExceeded,
    RuntimeFault,
    StartFailed,
    UnknownChild,
    first_error,
    said,
)
from trendedge.runtime.intensity import Intensity
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.ref import ActorRef, DurableRef
from trendedge.runtime.specs import ChildSpec, Restart, ServiceSpec, Spec, Strategy, SupervisorSpec
from trendedge.runtime.voice import log

type OnGivenUp = Callable[[Entity, Envelope, Exception], None]

KINDS = {ChildSpec: "actor", ServiceSpec: "service", SupervisorSpec: "supervisor"}


@dataclass(eq=False, slots=True)
class RestartOrder:
    """Somebody wants a child restarted; obeyed in turn with the children's exits."""

    child: Child
    refusal: RuntimeFault | None
    """What its giver is told; until it is obeyed, that nobody will."""
    settled: anyio.Event = field(default_factory=anyio.Event)
    replaced_by: "RestartOrder | None" = None
    """A later one, for which what it had begun was given up."""


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
    ) -> None:
        """:param parent: path of its own supervisor, which says whether its end is one for good
        :param former: the one that this one takes the place of, with all that is known of its children
        :param on_given_up: is called with each message that an actor below, spawned ones too, gives up, in its instance
        :raises DuplicateChild: two children have one id
        :raises DuplicateRef: two actors below have one address
        """
        self.spec = spec
        self.on_given_up = on_given_up
        self._nested = bool(parent)
        self.path: str = path or (f"{parent}/{spec.id}" if parent else spec.id)
        for id, count in Counter(child.id for child in spec.children).items():
            if count > 1:
                raise DuplicateChild(f"{self.path}/{id}")
        _check_refs(self.path, spec.children)
        self.intensity = Intensity(spec.intensity, spec.period_s)
        self._make = self._process  # one object for all children: a closure for each would cost as much as its mailbox
        known = [] if former is None else former.children
        self.children: list[Child] = [
            self._child(child, next((one for one in known if one.spec is child), None)) for child in spec.children
        ]
        self.status = "starting"
        self.culprit: str | None = None
        """Type of the message over which the last of too many restarts was; None when it was none."""
        self.begun = anyio.Event()
        """Set when all children were ready for the first time, or `run` is over."""
        self.ended = anyio.Event()
        """Set when `run` is over."""
        self.missed: Child | None = None
        """The significant child whose end was this one's too."""
        self._leaving: list[Child] = []
        """Removed, and perhaps not ended yet."""
        self._tasks: anyio.abc.TaskGroup | None = None
        """What runs beside the children."""
        self._starting: set[anyio.CancelScope] = set()
        """Around the starts that are under way."""
        self._orders: dict[Child, RestartOrder] = {}
        """Those whose starts have not begun yet."""
        self._forgotten: set[Child] = set()
        """Those who are here still, and are not started again unless somebody orders it."""
        self._restarting: dict[Child, anyio.CancelScope] = {}
        """Around the pauses and starts of those who are restarted alone."""
        self._turns: dict[Child, deque[Exit | RestartOrder]] = {}
        """What each child has still to come to, while it is restarted by itself."""
        self._context = Context()
        """What its children run in copies of: that of whoever runs it, and not of those who add children."""
        self._host: asyncio.Task[Any] | None = None
        """What runs it, and then its stop."""
        self._cancelled_before = 0
        """Cancellations that its host had swallowed before it became that."""
        self._stop = anyio.Event()
        self._exits: asyncio.Queue[Exit | RestartOrder] = asyncio.Queue()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Start the children in order, keep them alive, stop them in reverse. Cancelled, it returns after the stop.

        :raises StartFailed: a child did not become ready at the first start
        :raises IntensityExceeded: too many restarts; the children have been stopped
        """
        self.status = "starting"
        self._context = copy_context()
        self._take_host()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    if await self._start_all():
                        self.status = "running"
                        self.begun.set()
                        on_ready()
                        await self._watch()
                finally:
                    self.request_stop()  # also when it gives up: nobody waits for a start any more
                    self._refuse_orders()
                    stop = asyncio.get_running_loop().create_task(self._end(), name=f"{self.path} stops")
                    await outlast(stop)
                    stop.result()
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = first_error(group)
            raise error from error.__cause__
        finally:
            self._tasks = None
            self.begun.set()
            self.ended.set()

    def request_stop(self) -> None:
        """Begin the orderly stop; a start that is under way is given up."""
        self._stop.set()
        self._exits.put_nowait(Exit(None, None))
        for scope in self._starting:
            scope.cancel()

    async def _end(self) -> None:
        self._take_host()  # a cancellation of `run` has led to this stop, and says nothing about it
        await self._stop_all([*self.children, *self._leaving], for_good=not self._nested)
        self._let_go()

    def _take_host(self) -> None:
        self._host = asyncio.current_task()
        self._cancelled_before = 0 if self._host is None else self._host.cancelling()

    @property
    def is_cancelled(self) -> bool:
        """Whether its host is to end. While it is, nobody below crashes for being cancelled."""
        if self._host is None or any(one.cancel_called for one in (*self._starting, *self._restarting.values())):
            return False  # only a start or a pause is given up
        return self._host.cancelling() > self._cancelled_before

    def _let_go(self) -> None:
        """Those who are in no spec do not come back with a restart."""
        for child in [*self.children, *self._leaving]:
            if child.dynamic or child not in self.children:
                child.terminate(None)

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
            child.process.terminate(child.died_of or cause)

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
        order = self._orders.get(child)
        if order is None:
            order = self._orders[child] = RestartOrder(child, ActorStopped(self.path))
            self._exits.put_nowait(order)
        if child in self._restarting:
            self._restarting[child].cancel()
        await order.settled.wait()
        while order.replaced_by is not None:
            order = order.replaced_by
            await order.settled.wait()
        if order.refusal is not None:
            raise order.refusal

    def _refuse_orders(self) -> None:
        """Those that wait and those that are still to come."""
        self.status = "stopping"
        self._orders.clear()
        while not self._exits.empty():
            _refuse([self._exits.get_nowait()])

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str, inherits: bool = True) -> None:
        """Run work of a child beside its mailbox. It must not raise, and be cancelled by whoever began it.

        :param inherits: it runs in the context of whoever begins it, and not in the supervisor's
        :raises ActorStopped: the supervisor is not running
        """
        if self._tasks is None:
            raise ActorStopped(self.path)
        begin = partial(self._tasks.start_soon, work, name=name)
        if inherits:
            begin()
        else:
            self._context.copy().run(begin)

    def nursery(self, path: str) -> "Supervisor":
        """The supervisor of what an actor of its at `path` spawns: one for one, with OTP's defaults."""
        return Supervisor(SupervisorSpec("children", ()), path=path, on_given_up=self.on_given_up)

    async def start_child(self, spec: Spec) -> None:
        """Add a child to a running supervisor (OTP's `start_child`); returns when it is ready.

        :raises StartFailed: it did not become ready, and was not added
        :raises DuplicateChild: there is a child of this id, or one that was removed has not ended yet
        :raises DuplicateRef: its address is that of such a child, or of an actor below one
        :raises ActorStopped: the supervisor is not running, or was stopped before the child was ready
        """
        if self._tasks is None or self._stop.is_set() or self.status == "stopping":
            raise ActorStopped(self.path)
        there = [child.spec for child in [*self.children, *self._leaving]]
        if any(one.id == spec.id for one in there):
            raise DuplicateChild(f"{self.path}/{spec.id}")
        if others := {ref: way for way, ref in _refs([spec], (self.path,))}:
            _check_refs(self.path, [spec])
            # A plain child first: there may be thousands, and looking up its ref costs next to nothing.
            same = [one for one in there if not isinstance(one, ChildSpec) or one.ref in others]
            for way, ref in _refs(same, (self.path,)):
                if ref in others:
                    raise DuplicateRef("/".join(others[ref]), ref.name, "/".join(way))
        child = self._child(spec)
        child.dynamic = True
        self.children.append(child)
        error: BaseException | None = None
        try:
            with self._given_up_at_the_stop() as scope:
                error = await child.start(self._exits.put_nowait, context=self._context)
        except BaseException:
            if child.generation == 1:
                self._forget(child, None)
            raise
        if child.generation > 1:
            return  # somebody has restarted it: it is the supervisor's
        if scope.cancelled_caught:
            self._forget(child, None)
            raise ActorStopped(self.path)
        if error is not None:
            self._forget(child, error)
            raise StartFailed(child.path, error) from error

    async def stop_child(self, child_id: str) -> None:
        """Stop a child in good order, within its `shutdown_s`, and remove it (OTP's `terminate_child`, `delete_child`).

        :raises UnknownChild: there is none of this id
        """
        child = next((one for one in self.children if one.spec.id == child_id), None)
        if child is None:
            raise UnknownChild(f"{self.path}/{child_id}")
        self.children.remove(child)  # first: its end is no reason to restart it
        self._leaving.append(child)
        left = anyio.Event()

        async def leave() -> None:
            try:
                await child.stop(for_good=True)
                self._leaving.remove(child)
            finally:
                left.set()

        if self._tasks is None:
            await leave()
            return
        self._tasks.start_soon(leave, name=f"{child.path} leaves")
        await left.wait()

    def unready(self, child_id: str | None = None) -> Iterator[Cell]:
        """The actors below that are starting; of one child, or of all."""
        for child in self.children:
            if child.status in ("starting", "restarting") and child_id in (None, child.spec.id):
                if isinstance(child.process, Supervisor):
                    yield from child.process.unready()
                elif isinstance(child.process, Cell):
                    yield child.process

    def ending(self, child_id: str | None = None) -> Iterator[Cell]:
        """The actors below that have not ended; of one child, or of all."""
        for child in [*self.children, *self._leaving]:
            if child_id in (None, child.spec.id) and child.status not in ("stopped", "crashed"):
                if isinstance(child.process, Supervisor):
                    yield from child.process.ending()
                elif isinstance(child.process, Cell):
                    yield child.process

    def is_done(self, child: Child) -> bool:
        """Whether a child of its has ended in good order, and is not started again unless somebody orders it."""
        return child in self._forgotten and child.died_of is None

    def _forget(self, child: Child, error: BaseException | None) -> None:
        """A child has ended and is not started again."""
        child.terminate(error)
        if not child.dynamic:
            self._forgotten.add(child)
        elif child in self.children:
            self.children.remove(child)

    @contextmanager
    def _given_up_at_the_stop(self) -> Iterator[anyio.CancelScope]:
        """Around a start."""
        with anyio.CancelScope() as scope:
            self._starting.add(scope)
            try:
                yield scope
            finally:
                self._starting.remove(scope)

    @contextmanager
    def _given_up_for_an_order(self, children: Sequence[Child]) -> Iterator[anyio.CancelScope]:
        """Around a pause and starts: who orders the restart of the same child wants it now, and not after them."""
        with anyio.CancelScope() as scope:
            if len(children) > 1:  # with others: those are not left half started for one of them
                yield scope
                return
            (child,) = children
            if child in self._orders:
                scope.cancel()
            self._restarting[child] = scope
            try:
                yield scope
            finally:
                del self._restarting[child]

    async def _start_all(self) -> bool:
        for child in tuple(self.children):
            if self._stop.is_set():
                break
            if child not in self.children:
                continue
            with self._given_up_at_the_stop():
                if child.generation:
                    child.will_restart(f"with {self.path}")
                error = await child.start(self._exits.put_nowait, context=self._context)
                if error is not None:
                    raise StartFailed(child.path, error) from error
        return not self._stop.is_set()

    async def _watch(self) -> None:
        """Return at the stop, or when a significant child has ended. Who gives up gives up the restarts of all."""
        async with anyio.create_task_group() as restarts:
            while not self._stop.is_set():
                news = await self._exits.get()
                if news.child is None:
                    continue
                if self.spec.strategy is not Strategy.ONE_FOR_ONE:
                    await self._attend_to(news.child, news)
                elif news.child in self._turns:
                    self._turns[news.child].append(news)
                else:
                    self._turns[news.child] = deque([news])
                    restarts.start_soon(self._take_turns, news.child, name=f"{news.child.path} restarts")

    async def _take_turns(self, child: Child) -> None:
        """Attend to one child beside the others: a start that hangs, or a pause, is no business of theirs."""
        turns = self._turns[child]
        try:
            while turns:
                await self._attend_to(child, turns.popleft())
        finally:
            del self._turns[child]
            _refuse(turns)

    async def _attend_to(self, child: Child, news: Exit | RestartOrder) -> None:
        if isinstance(news, RestartOrder):
            await self._obey(news)
            return
        if self._stop.is_set() or child.generation != news.generation or child not in self.children:
            return  # it is over, or the end of an incarnation that was already replaced, or of a child that was removed
        if self._restarts(child, news.error):
            if news.error is None:
                await child.leave()
                if self._stop.is_set() or child.generation != news.generation or child not in self.children:
                    return  # stopped or removed meanwhile: it may have begun to drain
                child.close()
            await self._restart(child, news.error)
            return
        await self._lose(child, news.error)

    async def _lose(self, child: Child, error: BaseException | None) -> None:
        """A child has ended by itself and is not started again."""
        await child.leave()
        if child not in self.children:
            return  # removed meanwhile
        self._forget(child, error)
        if child.spec.significant:
            self.missed = child
            self.request_stop()

    @staticmethod
    def _restarts(child: Child, error: BaseException | None) -> bool:
        match child.spec.restart:
            case Restart.PERMANENT:
                return True
            case Restart.TRANSIENT:
                return error is not None
            case Restart.TEMPORARY:
                return False

    async def _restart(self, child: Child, error: BaseException | None) -> RestartOrder | None:
        """Restart what the strategy says; a start that fails counts like a crash and is tried again.

        Answers the order for which that was given up, if it was.
        """
        while True:
            recent = 1
            if child.crash_counts:
                recent = self._count(child)
            delay_s = self.spec.backoff.delay_s(max(recent, 1))
            log.error(
                "restarting",
                actor=child.path,
                cause=_cause(error),
                restarts_in_period=recent,
                backoff_s=round(delay_s, 3),
            )
            affected = self._affected(child)
            await self._stop_all([other for other in affected if other is not child], for_good=False)
            with self._given_up_for_an_order(affected) as scope:
                with self._given_up_at_the_stop() as pause:
                    pause.deadline = anyio.current_time() + delay_s
                    await self._stop.wait()
                if self._stop.is_set():
                    return None
                failed = await self._start_again(affected, child, _cause(error))
            if scope.cancel_called:
                return self._orders[child]
            if failed is None:
                return None
            child, error = failed

    def _count(self, child: Child) -> int:
        try:
            return self.intensity.record(self.path, child.path, anyio.current_time())
        except IntensityExceeded:
            self.culprit = child.culprit
            raise

    async def _start_again(
        self, children: Sequence[Child], culprit: Child, cause: str
    ) -> tuple[Child, BaseException] | None:
        """Start children in order, up to the first that does not become ready; answers that one and its error."""
        for child in children:
            if child not in self.children:
                continue  # removed in the meantime
            if self._stop.is_set():
                break
            if child.spec.restart is Restart.TEMPORARY and child is not culprit:
                self._forget(child, None)  # stopped with the others: never is never
                continue
            self._forgotten.discard(child)
            child.will_restart(cause if child is culprit else f"with {culprit.path}")
            with self._given_up_at_the_stop():
                error = await child.start(self._exits.put_nowait, context=self._context)
                if error is not None and child in self.children:
                    child.report(error)
                    return child, error
        return None

    async def _obey(self, order: RestartOrder) -> None:
        try:
            if self._stop.is_set():
                return
            if order.child not in self.children:
                order.refusal = ActorStopped(order.child.path)
                return
            affected = self._affected(order.child)
            log.warning("restarting", actor=order.child.path, cause="ordered", restarted=[one.path for one in affected])
            await self._stop_all(affected, for_good=False)
            del self._orders[order.child]
            order.refusal = await self._start_as_ordered(affected, order)
            gone = order.child not in self.children or order.child in self._forgotten  # since the stop, or the start
            if order.refusal is None and order.replaced_by is None and gone:
                order.refusal = ActorStopped(order.child.path)
        finally:
            if self._orders.get(order.child) is order:
                del self._orders[order.child]
            order.settled.set()

    async def _start_as_ordered(self, children: Sequence[Child], order: RestartOrder) -> RuntimeFault | None:
        """Answers why the child that was to be restarted does not run then."""
        refusal: RuntimeFault | None = None
        with self._given_up_for_an_order(children) as scope:
            failed = await self._start_again(children, order.child, "ordered")
            while failed is not None and not self._restarts(*failed):
                child, error = failed
                await self._lose(child, error)
                refusal = StartFailed(child.path, error)
                refusal.__cause__ = error
                failed = await self._start_again(children[children.index(child) + 1 :], order.child, "ordered")
        if scope.cancel_called:
            order.replaced_by = self._orders[order.child]
        elif failed is not None:
            order.replaced_by = await self._restart(*failed)
        return ActorStopped(self.path) if refusal is None and self._stop.is_set() else refusal

    def _affected(self, child: Child) -> list[Child]:
        match self.spec.strategy:
            case Strategy.ONE_FOR_ONE:
                return [child]
            case Strategy.ONE_FOR_ALL:
                return list(self.children)
            case Strategy.REST_FOR_ONE:
                return self.children[self.children.index(child) :]

    @staticmethod
    async def _stop_all(children: Sequence[Child], *, for_good: bool) -> None:
        for child in reversed(children):
            await child.stop(for_good=for_good)

    def _child(self, spec: Spec, former: Child | None = None) -> Child:
        return Child(spec, f"{self.path}/{spec.id}", self._make, kind=KINDS[type(spec)], former=former)

    def _process(self, spec: Spec, path: str, before: Process | None) -> Process:
        match spec:
            case SupervisorSpec():
                former = before if isinstance(before, Supervisor) else None
                return Supervisor(spec, parent=self.path, former=former, on_given_up=self.on_given_up)
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


def _check_refs(path: str, specs: Iterable[Spec]) -> None:
    """Raise `DuplicateRef` when two actors in the trees of these specs have one address."""
    taken: dict[ActorRef[Any] | DurableRef[Any], tuple[str, ...]] = {}
    for way, ref in _refs(specs, (path,)):
        if taken.setdefault(ref, way) is not way:
            raise DuplicateRef("/".join(way), ref.name, "/".join(taken[ref]))


def _refs(
    specs: Iterable[Spec], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], ActorRef[Any] | DurableRef[Any]]]:
    for spec in specs:
        if isinstance(spec, SupervisorSpec):
            yield from _refs(spec.children, (*above, spec.id))
        elif isinstance(spec, ChildSpec):
            yield (*above, spec.id), spec.ref


def _refuse(waiting: Iterable[Exit | RestartOrder]) -> None:
    for one in waiting:
        if isinstance(one, RestartOrder):
            one.settled.set()


def _cause(error: BaseException | None) -> str:
    return "it ended by itself" if error is None else said(error)
