"""What becomes of a message whose handler has crashed, and of an incarnation that has: data of its cell decide it."""

from typing import TYPE_CHECKING

from trendedge.runtime.errors import HandlerCrashed, IntensityExceeded, said, text_of
from trendedge.runtime.mailbox import Envelope
from trendedge.runtime.stats import describe
from trendedge.runtime.voice import log

if TYPE_CHECKING:
    from trendedge.runtime.cell import Cell
    from trendedge.runtime.entity import Entity


async def start_failed(cell: "Cell", entity: "Entity", error: Exception) -> None:
    """`on_start` raised: a keyed instance was started for the message at the head of its line, which is charged."""
    entity.crash_counts = True
    entity.culprit = None
    if entity.key is not None and entity.mail:
        await failed(cell, entity, entity.mail[0], error)
    elif isinstance(error, cell.retry.outage) and (entity.key is not None or entity.outages or cell.was_ready):
        entity.outage = True
        entity.outages += 1
        entity.not_before = cell.now() + cell.retry.outage_delay_s(entity.outages)
    elif cell.breakers.failed_probe(entity.key, error, cell.now()):
        entity.crash_counts = False  # it was started for the message that probes, and that still waits


async def failed(cell: "Cell", entity: "Entity", envelope: Envelope, error: Exception) -> None:
    """A handler crashed: leave the message at the head of its line with a delay, or give it up."""
    if cell.is_fenced(error):
        return  # it says nothing about the message, which is another process's by now
    if cell.log is not None:
        cell.log.survived(envelope, outage=isinstance(error, cell.retry.outage))
    cell.stats.failed += 1
    entity.culprit = describe(envelope.message)
    cell.stats.note_failure(cell.now(), f"{describe(envelope.message)}: {said(error)}")
    if isinstance(error, cell.retry.outage):
        entity.outage = True
        entity.outages += 1
        envelope.not_before = cell.now() + cell.retry.outage_delay_s(entity.outages)
        log.warning("outage", actor=cell.path, key=entity.key, failures=entity.outages, error=text_of(error))
        return
    if cell.breakers.tripped(entity.key, entity.name, error, cell.now()):
        entity.crash_counts = False  # behind an open breaker neither attempts nor restarts are used up
        _log_failure(cell, entity, envelope, error, cell.breakers.delay_s(entity.key, cell.now()))
        return
    entity.crash_counts = not envelope.failed_once
    envelope.failed_once = True
    envelope.attempts += 1
    delay_s = None if isinstance(error, cell.retry.hopeless) else cell.retry.delay_s(envelope.attempts)
    if delay_s is not None:
        envelope.not_before = cell.now() + delay_s
    try:
        _log_failure(cell, entity, envelope, error, delay_s)
    finally:  # whatever becomes of the line in the log
        if delay_s is None:
            await _give_up(cell, entity, envelope, error)


async def _give_up(cell: "Cell", entity: "Entity", envelope: Envelope, error: Exception) -> None:
    cell.breakers.given_up(entity.key)
    if cell.supervisor.on_given_up is not None:
        cell.supervisor.on_given_up(entity, envelope, error)
    try:
        if cell.log is not None:
            await cell.log.bury(envelope, error)  # it stays in its place meanwhile: nobody may miss it
    finally:
        if entity.mail and entity.mail[0] is envelope:
            entity.mail.popleft()
            cell.release()
        cell.taken(envelope)  # also when its instance died before it could begin: nothing may take its place now
        cell.stats.buried += 1
        envelope.fail(HandlerCrashed(cell.path, error))


def tell_crash(cell: "Cell", key: str | None, error: Exception) -> None:
    """Log a crash that was over no message, and remember it."""
    cell.stats.note_failure(cell.now(), said(error))
    told = isinstance(error, IntensityExceeded)  # each crash of its children was
    log.error("crashed", actor=cell.path, key=key, cause=said(error), exc_info=None if told else error)


def _log_failure(cell: "Cell", entity: "Entity", envelope: Envelope, error: Exception, delay_s: float | None) -> None:
    log.error(
        "handler failed",
        actor=cell.path,
        key=entity.key,
        handling=describe(envelope.message),
        attempt=envelope.attempts,
        retry_in_s=delay_s,
        exc_info=error,
    )
