"""Work that an incarnation lets run beside its mailbox, and whose result it gets as a message."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio

from trendedge.runtime.crashes import crash_of, in_errors
from trendedge.runtime.errors import ActorStopped, StrayCancellation
from trendedge.runtime.voice import log

if TYPE_CHECKING:
    from trendedge.runtime.actor import Context
    from trendedge.runtime.entity import Entity


class PipedWork:
    """One piece of it; see `Context.pipe_to_self`. `scope` is around it, and cancelled at the incarnation's end."""

    __slots__ = ("_context", "_entity", "_on_error", "_to_message", "_work", "scope")

    def __init__(
        self,
        entity: "Entity",
        context: "Context",
        work: Awaitable[Any],
        to_message: Callable[[Any], Any],
        on_error: Callable[[Exception], Any] | None,
    ) -> None:
        self._entity = entity
        self._context = context
        self._work = work
        self._to_message = to_message
        self._on_error = on_error
        self.scope = anyio.CancelScope()
        if context.ended:
            self.scope.cancel()  # else nobody would any more

    def begin(self) -> None:
        """Begin it, in the context of whoever runs.

        :raises ActorStopped: the actor's supervisor does not run; the work is closed
        """
        try:
            task = self._entity.cell.supervisor.beside(self._run, name=f"{self._entity.name} pipe")
        except ActorStopped:
            self._give_up()
            raise
        task.add_done_callback(self._unless_it_ran)

    async def _run(self) -> None:
        try:
            try:
                with self.scope:
                    self._entity.deliver(self._to_message(await in_errors(self._work)), self._context)
            except Exception as error:
                self._deliver_error(error)
        except BaseException as error:
            self._crash(crash_of(error))
        finally:
            self._context.pipe_ended(self.scope)

    def _deliver_error(self, error: Exception) -> None:
        if self._on_error is None:
            raise error
        self._entity.deliver(self._on_error(error), self._context)

    def _crash(self, crash: Exception) -> None:
        if self._context.ended:
            log.warning("piped work failed late", actor=self._entity.name, exc_info=crash)
        else:
            self._entity.escalate(crash)

    def _give_up(self) -> None:
        self._context.pipe_ended(self.scope)
        if isinstance(self._work, Coroutine):
            self._work.close()

    def _unless_it_ran(self, _: asyncio.Task[None]) -> None:
        """Its task was cancelled before its first step, by somebody else: an error like any other."""
        if self._context.has_piped(self.scope):
            self._give_up()
            try:
                self._deliver_error(StrayCancellation())
            except Exception as error:
                self._crash(error)
