"""Worker processes for functions that compute: beside the event loop, and killed when nobody wants the result any more.

The standard library's process pool cannot end a function that runs: cancelling its future frees nobody, and killing
one of its processes breaks the whole pool. Here a process belongs to one call at a time, so a kill costs that call
alone. Processes are spawned, not forked: they inherit no event loop, no socket and no lock.
"""

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import anyio
import anyio.to_thread

from trendedge.runtime.errors import FailedElsewhere, WorkerDied, said

NICENESS = 10
"""The event loop goes first: what computes in the background must not delay it."""
IDLE_S = 60.0
"""A process that has nothing to do for this long is ended: it costs some 40 MB."""


class ProcessPool:
    """At most `size` processes, started when they are first needed. Belongs to one event loop at a time."""

    def __init__(self, size: int, *, idle_s: float = IDLE_S) -> None:
        self._slots = anyio.CapacityLimiter(size)
        self._idle_s = idle_s
        self._idle: list[tuple[_Worker, asyncio.TimerHandle]] = []
        self._workers: set[_Worker] = set()

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        return [worker.pid for worker in self._workers]

    async def run[T](self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` in a process. It, the arguments and the result are pickled, beside the event loop.

        When the wait is cancelled, the process is killed at once: a function that computes cannot be asked to stop.

        :raises WorkerDied: the process ended (out of memory, a crash in C); the next call gets a new one
        :raises Exception: what the function raised, with the worker's traceback as a note
        """
        async with self._slots:
            worker = self._take() or await self._start()
            try:
                # The thread that waits for the answer is abandoned; it ends when it sees that the process has.
                return await anyio.to_thread.run_sync(worker.call, function, args, abandon_on_cancel=True)
            except anyio.get_cancelled_exc_class():
                worker.kill()
                raise
            finally:
                self._put_back(worker)

    def close(self) -> None:
        """Kill all processes; the pool can be used again."""
        for _, timer in self._idle:
            timer.cancel()
        self._idle.clear()
        for worker in list(self._workers):
            self._end(worker)

    async def _start(self) -> "_Worker":
        worker = await anyio.to_thread.run_sync(_Worker)
        self._workers.add(worker)
        return worker

    def _take(self) -> "_Worker | None":
        while self._idle:
            worker, timer = self._idle.pop()
            timer.cancel()
            if worker.alive:
                return worker
            self._end(worker)
        return None

    def _put_back(self, worker: "_Worker") -> None:
        if worker in self._workers and worker.alive:
            timer = asyncio.get_running_loop().call_later(self._idle_s, self._retire, worker)
            self._idle.append((worker, timer))
        else:
            self._end(worker)

    def _retire(self, worker: "_Worker") -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not worker]
        self._end(worker)

    def _end(self, worker: "_Worker") -> None:
        self._workers.discard(worker)
        worker.kill()
        threading.Thread(target=worker.bury, name="bury worker", daemon=True).start()


class _Worker:
    """One process. `call` and `bury` block, and run in threads; the rest does not."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="lane worker", daemon=True)
        self._process.start()
        theirs.close()
        self._killed = False
        self.pid: int = self._process.pid or 0

    @property
    def alive(self) -> bool:
        return not self._killed and self._process.is_alive()

    def call(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        request = pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)  # fails before anything was sent
        try:
            self._pipe.send_bytes(request)
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            self._process.join()
            raise WorkerDied(name_of(function), self._process.exitcode) from error
        succeeded, value = pickle.loads(answer)  # noqa: S301  # from our own process
        if not succeeded:
            raise value
        return value

    def kill(self) -> None:
        self._killed = True
        self._process.kill()

    def bury(self) -> None:
        self._process.join()
        self._pipe.close()


def name_of(function: Any) -> str:
    """A name of something callable, for people."""
    function = getattr(function, "func", function)
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def _serve(pipe: Connection) -> None:
    """The worker's whole life: it ends when the other side of the pipe does, be that by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides when we end
    os.nice(NICENESS)
    while True:
        try:
            request = pipe.recv_bytes()
            pipe.send_bytes(_answer(request))
        except (EOFError, OSError):
            return


def _answer(request: bytes) -> bytes:
    try:
        function, args = pickle.loads(request)  # noqa: S301  # from our own process
        return pickle.dumps((True, function(*args)), pickle.HIGHEST_PROTOCOL)
    except (Exception, SystemExit) as error:
        return _failure(error)


def _failure(error: BaseException) -> bytes:
    note = "in a worker process:\n" + "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, Exception):
        error.add_note(note)
        try:
            pickled = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
            pickle.loads(pickled)  # noqa: S301  # many an exception can be pickled and not unpickled
        except Exception as unpicklable:
            note += f"\n({type(unpicklable).__name__}: {unpicklable})"
        else:
            return pickled
    stand_in = FailedElsewhere(said(error))
    stand_in.add_note(note)
    return pickle.dumps((False, stand_in), pickle.HIGHEST_PROTOCOL)
