"""What a supervisor does when a child has ended, and when somebody orders a restart."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio

from trendedge.runtime.child import Child, Exit
from trendedge.runtime.errors import ActorStopped, IntensityExceeded, RuntimeFault, StartFailed, StrayCancellation, said
from trendedge.runtime.outlast import outlast
from trendedge.runtime.specs import Restart, Strategy
from trendedge.runtime.voice import log

if TYPE_CHECKING:
    from trendedge.runtime.supervisor import Supervisor


@dataclass(eq=False, slots=True)
class RestartOrder:
    """Somebody wants a child restarted; obeyed in turn with the children's exits."""

    child: Child
    refusal: RuntimeFault | None
    """What its giver is told; until it is obeyed, that nobody will."""
    settled: anyio.Event = field(default_factory=anyio.Event)
    replaced_by: "RestartOrder | None" = None
    """A later one, for which what it had begun was given up."""


class Restarts:
    """Attends to exits and orders, for one supervisor. One for one it does so for each child by itself: a start that
    hangs, or a pause, is no business of the others.
    """

    __slots__ = (
        "_counted",
        "_failure",
        "_gives_up",
        "_news",
        "_orders",
        "_restarting",
        "_supervisor",
        "_tasks",
        "_turns",
        "culprit",
    )

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self.culprit: str | None = None
        """Type of the message over which the last of too many restarts was; None when it was none."""
        self._news: asyncio.Queue[Exit | RestartOrder] = asyncio.Queue()
        self._orders: dict[Child, RestartOrder] = {}
        """Those whose starts have not begun yet."""
        self._restarting: dict[Child, anyio.CancelScope] = {}
        """Around the pauses and starts of those who are restarted alone."""
        self._turns: dict[Child, deque[Exit | RestartOrder]] = {}
        """What each child has still to come to, while it is restarted by itself; the first is under way."""
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._counted: dict[Child, int] = {}
        """The generations whose ends have counted, while they are attended to, which may begin again."""
        self._failure: BaseException | None = None
        """What one of them has raised."""
        self._gives_up = False

    def report(self, exit: Exit) -> None:
        """An incarnation has ended, or it is time to look whether the supervisor is to stop."""
        self._news.put_nowait(exit)

    @property
    def gives_up_a_start(self) -> bool:
        """Whether a pause or a start that is under way is given up for an order."""
        return any(scope.cancel_called for scope in self._restarting.values())

    # -- orders -------------------------------------------------------------------------------------------------

    async def order(self, child: Child) -> None:
        """Order the restart of a child, and wait until it is obeyed; see `Supervisor.restart`."""
        order = self._orders.get(child)
        if order is None:
            order = self._orders[child] = RestartOrder(child, ActorStopped(self._supervisor.path))
            self._news.put_nowait(order)
        if child in self._restarting:
            self._restarting[child].cancel()
        await order.settled.wait()
        while order.replaced_by is not None:
            order = order.replaced_by
            await order.settled.wait()
        if order.refusal is not None:
            raise order.refusal

    def refuse(self) -> None:
        """Refuse the orders that wait; nobody will obey them."""
        while not self._news.empty():
            self._settle(self._news.get_nowait())
        self._orders.clear()

    def _settle(self, news: Exit | RestartOrder) -> None:
        """Somebody has come to it, or nobody will."""
        if isinstance(news, RestartOrder):
            if self._orders.get(news.child) is news:
                del self._orders[news.child]
            news.settled.set()

    async def _obey(self, order: RestartOrder) -> None:
        supervisor, child = self._supervisor, order.child
        if supervisor.stops:
            return
        if child not in supervisor.members:
            order.refusal = ActorStopped(child.path)
            return
        latest = self._orders.setdefault(child, order)
        if latest is not order:  # it has come while this one was obeyed, which somebody else has cancelled
            order.replaced_by = latest
            return
        affected = self._affected(child)
        log.warning("restarting", actor=child.path, cause="ordered", restarted=[one.path for one in affected])
        await supervisor.stop_all(affected, for_good=False)
        del self._orders[child]
        order.refusal = await self._start_as_ordered(affected, order)
        gone = child not in supervisor.members or supervisor.members.is_forgotten(child)  # since the stop, or the start
        if order.refusal is None and order.replaced_by is None and gone:
            order.refusal = ActorStopped(child.path)

    async def _start_as_ordered(self, children: Sequence[Child], order: RestartOrder) -> RuntimeFault | None:
        """Answers why the child that was to be restarted does not run then."""
        refusal: RuntimeFault | None = None
        with self._given_up_for_an_order(children) as scope:
            failed = await self._start_again(children, order.child, "ordered")
            while failed is not None and not _restarts(*failed):
                child, error = failed
                await self._supervisor.lose(child, error)
                refusal = StartFailed(child.path, error)
                refusal.__cause__ = error
                failed = await self._start_again(children[children.index(child) + 1 :], order.child, "ordered")
        if scope.cancel_called:
            order.replaced_by = self._orders[order.child]
        elif failed is not None:
            order.replaced_by = await self._restart(*failed)
        return ActorStopped(self._supervisor.path) if refusal is None and self._supervisor.stops else refusal

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

    # -- exits --------------------------------------------------------------------------------------------------

    async def attend(self) -> None:
        """Return when the supervisor is to stop. When it gives up, it gives up the restarts of all.

        :raises IntensityExceeded: too many restarts
        """
        try:
            await self._hear()
            while self._tasks:
                await asyncio.wait(self._tasks)
            self._raise_failure()
        except BaseException:
            self._gives_up = True
            for task in tuple(self._tasks):
                task.cancel()
                with suppress(asyncio.CancelledError):  # something is being raised already
                    await outlast(task)
            raise

    async def _hear(self) -> None:
        supervisor = self._supervisor
        while not supervisor.stops:
            news = await self._news.get()
            self._raise_failure()
            if news.child is None:
                continue
            if supervisor.spec.strategy is not Strategy.ONE_FOR_ONE:
                try:
                    await self._attend_to(news.child, news)
                finally:
                    self._settle(news)
            elif news.child in self._turns:
                self._turns[news.child].append(news)
            else:
                self._turns[news.child] = deque([news])
                self._begin_turns(news.child)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _begin_turns(self, child: Child) -> None:
        turns = self._take_turns(child, self._turns[child])
        task = asyncio.get_running_loop().create_task(turns, name=f"{child.path} restarts")
        self._tasks[task] = None
        task.add_done_callback(partial(self._turns_over, child))

    async def _take_turns(self, child: Child, turns: deque[Exit | RestartOrder]) -> None:
        while turns:
            news = turns[0]
            try:
                await self._attend_to(child, news)
            except asyncio.CancelledError:
                if isinstance(news, Exit) and child.generation != news.generation:  # its next start was given up
                    turns[0] = Exit(child, StrayCancellation(), child.generation)
                raise
            self._settle(turns.popleft())

    def _turns_over(self, child: Child, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        turns = self._turns[child]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failure = self._failure or error
            self.report(Exit(None, None))
        elif turns and not (task.cancelled() and self._gives_up):
            # Something has come since, or somebody else has cancelled it: what it was about is begun again.
            self._begin_turns(child)
            return
        del self._turns[child]
        self._counted.pop(child, None)
        for news in turns:
            self._settle(news)

    async def _attend_to(self, child: Child, news: Exit | RestartOrder) -> None:
        if isinstance(news, RestartOrder):
            await self._obey(news)
            return
        if self._is_outdated(news):
            return
        if not _restarts(child, news.error):
            await self._supervisor.lose(child, news.error)
            return
        if news.error is None:
            await child.leave()
            if self._is_outdated(news):
                return  # stopped or removed meanwhile: it may have begun to drain
            child.close()
        await self._restart(child, news.error)

    def _is_outdated(self, exit: Exit) -> bool:
        """Whether it is over, or the incarnation was already replaced, or the child removed."""
        child, supervisor = exit.child, self._supervisor
        return (
            supervisor.stops or child is None or child.generation != exit.generation or child not in supervisor.members
        )

    async def _restart(self, child: Child, error: BaseException | None) -> RestartOrder | None:
        """Restart what the strategy says; a start that fails counts like a crash and is tried again.

        Answers the order for which that was given up, if it was.
        """
        supervisor = self._supervisor
        while True:
            recent = self._count(child) if child.crash_counts else 1
            delay_s = supervisor.spec.backoff.delay_s(max(recent, 1))
            log.error(
                "restarting",
                actor=child.path,
                cause=_cause(error),
                restarts_in_period=recent,
                backoff_s=round(delay_s, 3),
            )
            affected = self._affected(child)
            await supervisor.stop_all([other for other in affected if other is not child], for_good=False)
            with self._given_up_for_an_order(affected) as scope:
                await supervisor.pause(delay_s)
                if supervisor.stops:
                    return None
                failed = await self._start_again(affected, child, _cause(error))
            if scope.cancel_called:
                return self._orders[child]
            if failed is None:
                return None
            child, error = failed

    def _count(self, child: Child) -> int:
        supervisor, now = self._supervisor, anyio.current_time()
        if self._counted.get(child) == child.generation:
            return supervisor.intensity.recent(now)
        try:
            recent = supervisor.intensity.record(supervisor.path, child.path, now)
        except IntensityExceeded:
            self.culprit = child.culprit
            raise
        if child in self._turns:
            self._counted[child] = child.generation
        return recent

    async def _start_again(
        self, children: Sequence[Child], culprit: Child, cause: str
    ) -> tuple[Child, BaseException] | None:
        """Start children in order, up to the first that does not become ready; answers that one and its error."""
        members = self._supervisor.members
        for child in children:
            if child not in members:
                continue  # removed in the meantime
            if self._supervisor.stops:
                break
            if child.spec.restart is Restart.TEMPORARY and child is not culprit:
                members.forget(child, None)  # stopped with the others: never is never
                continue
            members.remember(child)
            child.will_restart(cause if child is culprit else f"with {culprit.path}")
            with self._supervisor.given_up_at_the_stop():
                error = await self._supervisor.begin(child)
                if error is not None and child in members:
                    child.report(error)
                    return child, error
        return None

    def _affected(self, child: Child) -> list[Child]:
        children = self._supervisor.children
        match self._supervisor.spec.strategy:
            case Strategy.ONE_FOR_ONE:
                return [child]
            case Strategy.ONE_FOR_ALL:
                return list(children)
            case Strategy.REST_FOR_ONE:
                return children[children.index(child) :]


def _restarts(child: Child, error: BaseException | None) -> bool:
    """Whether a child that has ended is started again; `error` is None when it has ended in good order."""
    match child.spec.restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return error is not None
        case Restart.TEMPORARY:
            return False


def _cause(error: BaseException | None) -> str:
    return "it ended by itself" if error is None else said(error)
