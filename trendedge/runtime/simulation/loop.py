"""An asyncio event loop that does nothing but what its seed says: no real time, no threads, no descriptors."""

import asyncio
import heapq
import math
import random
import threading
from asyncio import events
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import count
from typing import Any, NoReturn

from trendedge.runtime.simulation.errors import Deadlocked, Livelocked, NotSimulated
from trendedge.runtime.simulation.process import SimulatedProcess, owner
from trendedge.runtime.simulation.trace import Trace

MOST_STEPS = 5_000_000
"""After so many a run is taken for endless."""


class SimulatedTask(asyncio.Task[Any]):
    """A task with a number of its own: what happens must not depend on where in memory it lies."""

    def __init__(self, number: int, coro: Any, **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    def discard(self) -> None:
        """Dispose of a task that will never run again, whatever its `finally` has to say about that."""
        self._log_destroy_pending = False
        coro = self.get_coro()
        for _ in range(100):  # each round ends at one `await` within a `finally`
            try:
                self.get_context().run(coro.close)  # type: ignore[union-attr]  # never None: the task is not done
            except BaseException:  # noqa: S112 - the process is dead: nothing it does now is of interest
                continue
            return


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one ready task at a time, chosen by the seed; when none is ready, the clock jumps to the next timer.

    Plain callbacks keep their order among themselves, as asyncio promises; each task is independent of all others.
    Begins at time 0. Its methods for threads, sockets, descriptors, processes and signals raise `NotSimulated`.
    """

    def __init__(self, seed: int = 0, *, verbose: bool = False, most_steps: int = MOST_STEPS) -> None:
        super().__init__()
        self.random = random.Random(seed)  # noqa: S311 - the point is that it can be foretold
        self.steps = 0
        self.trace = Trace(self.time, verbose=verbose)
        self.tasks: list[SimulatedTask] = []
        """All that were ever started, in that order: nothing is collected in the middle of a run."""
        self.outside = copy_context()
        """A context that belongs to no simulated process: what is started in it survives them all."""
        self._now = 0.0
        self._most_steps = most_steps
        self._callbacks: list[events.Handle] = []
        self._turns: dict[int, events.Handle] = {}
        self._generators: list[Any] = []
        self._at_steps: list[tuple[int, int, Callable[[], object], Context]] = []
        """A heap: at which step, and which of those that are to come then."""
        self._numbers = count()

    # -- time and choice ----------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **options: Any
    ) -> SimulatedTask:
        """As asyncio's; the number of the task is the order of its creation."""
        self._check_closed()  # type: ignore[attr-defined]  # of BaseEventLoop
        number = len(self.tasks) + 1
        task = SimulatedTask(number, coro, loop=self, name=str(name or f"task-{number}"), context=context, **options)
        self.tasks.append(task)
        return task

    def call_at_step(self, steps: int, callback: Callable[[], object]) -> None:
        """Call it among what is ready at the `steps`-th step from now (from 1).

        A moment of the clock lies between two bursts of work; a step lies within one, between any two awaits.
        """
        heapq.heappush(self._at_steps, (self.steps + steps, next(self._numbers), callback, copy_context()))

    def _run_once(self) -> None:
        while self._at_steps and self._at_steps[0][0] <= self.steps + 1:
            *_, callback, context = heapq.heappop(self._at_steps)
            self.call_soon(callback, context=context)
        self._sort_ready()
        while not (self._callbacks or self._turns):
            if self._stopping:  # type: ignore[attr-defined]  # of BaseEventLoop
                return
            self._jump()
        handle, number = self._choose()
        if handle.cancelled() or not self._may_run(handle):
            return
        self.steps += 1
        if self.steps > self._most_steps:
            raise Livelocked(self.steps, self._now)
        self.trace.step(self._now, number, lambda: self._name(handle, number))
        handle._run()

    def _sort_ready(self) -> None:
        """Take over what asyncio has queued. A task has at most one turn in the queue."""
        ready = self._ready  # type: ignore[attr-defined]  # of BaseEventLoop
        while ready:
            handle = ready.popleft()
            task = getattr(handle._callback, "__self__", None)
            if isinstance(task, SimulatedTask) and task.number not in self._turns:
                self._turns[task.number] = handle
            else:
                self._callbacks.append(handle)

    def _choose(self) -> tuple[events.Handle, int]:
        turns = len(self._turns)
        if self._callbacks and (not turns or self.random.randrange(turns + 1) == turns):
            return self._callbacks.pop(0), 0
        # By number: in which order they became ready may depend on the order of a set within anyio.
        number = sorted(self._turns)[self.random.randrange(turns)] if turns > 1 else next(iter(self._turns))
        return self._turns.pop(number), number

    def _jump(self) -> None:
        scheduled: list[events.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # of BaseEventLoop
        while scheduled and (scheduled[0].cancelled() or not _alive(scheduled[0])):
            heapq.heappop(scheduled)
        if not scheduled or scheduled[0].when() == math.inf:  # as `anyio.sleep_forever` sets one
            raise Deadlocked(self._now, [task.get_name() for task in self.unfinished() if _lives(task)])
        self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            self._ready.append(heapq.heappop(scheduled))  # type: ignore[attr-defined]  # of BaseEventLoop
        self._sort_ready()

    @property
    def busy(self) -> bool:
        """There is something to do before time may pass."""
        due = self.next_timer()
        waiting = self._callbacks or self._turns or self._ready  # type: ignore[attr-defined]  # of BaseEventLoop
        return bool(waiting) or (due is not None and due <= self._now)

    def next_timer(self) -> float | None:
        """When time must jump to at the latest, seconds; None when no timer is set."""
        scheduled: list[events.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # of BaseEventLoop
        due = [handle.when() for handle in scheduled if not handle.cancelled() and _alive(handle)]
        return min(due, default=None)

    def put_back(self, handles: list[events.Handle]) -> None:
        """Let callbacks run that were taken out of the queue."""
        self._ready.extend(handles)  # type: ignore[attr-defined]  # of BaseEventLoop

    @staticmethod
    def _may_run(handle: events.Handle) -> bool:
        process = owner(handle._context)  # type: ignore[attr-defined]  # of asyncio.Handle
        return process is None or process.may_step(handle)

    def _name(self, handle: events.Handle, number: int) -> str:
        if number:
            return self.tasks[number - 1].get_name()
        callback: Any = handle._callback  # type: ignore[attr-defined]  # of asyncio.Handle
        return str(getattr(callback, "__qualname__", type(callback).__name__))

    def unfinished(self) -> list[SimulatedTask]:
        """The tasks that are not done, those of dead processes too."""
        return [task for task in self.tasks if not task.done()]

    def process(self, name: str) -> SimulatedProcess:
        """A new simulated process; nothing runs in it yet."""
        return SimulatedProcess(self, name)

    def dispose(self) -> None:
        """Close the loop, and what dead processes have left lying about. Nothing of that comes into the trace."""
        self.trace.close()
        for task in self.unfinished():
            task.discard()
        self._generators.clear()
        if not self.is_closed():
            self._ready.clear()  # type: ignore[attr-defined]  # of BaseEventLoop
            self._scheduled.clear()  # type: ignore[attr-defined]  # of BaseEventLoop
            self.close()

    # -- the world outside --------------------------------------------------------------------------------------

    def call_soon_threadsafe[*Ts](
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.Handle:
        """As `call_soon`, from the loop's own thread.

        :raises NotSimulated: called from another one
        """
        if self._thread_id not in (None, threading.get_ident()):  # type: ignore[attr-defined]  # of BaseEventLoop
            raise NotSimulated("a call from another thread")
        return self.call_soon(callback, *args, context=context)

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        self._generators.append(agen)  # kept: the collector's time of day must decide nothing

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """Leave an unfinished generator alone."""


def _alive(handle: events.Handle) -> bool:
    process = owner(handle._context)  # type: ignore[attr-defined]  # of asyncio.Handle
    return process is None or process.alive


def _lives(task: SimulatedTask) -> bool:
    process = owner(task.get_context())
    return process is None or process.alive


def _refuse(name: str, what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NotSimulated(f"{what} (loop.{name})")

    return refuse


_REFUSED = {
    "a thread": ["run_in_executor", "set_default_executor"],
    "a socket": [
        "create_connection",
        "create_datagram_endpoint",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "connect_accepted_socket",
        "getaddrinfo",
        "getnameinfo",
        "sendfile",
        "sock_accept",
        "sock_connect",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendfile",
        "sock_sendto",
        "start_tls",
    ],
    "a descriptor": [
        "add_reader",
        "add_writer",
        "connect_read_pipe",
        "connect_write_pipe",
        "remove_reader",
        "remove_writer",
    ],
    "a process": ["subprocess_exec", "subprocess_shell"],
    "a signal": ["add_signal_handler", "remove_signal_handler"],
}
for _what, _names in _REFUSED.items():
    for _each in _names:
        setattr(SimulatedLoop, _each, _refuse(_each, _what))
