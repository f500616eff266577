"""What can go wrong in the runtime, built from facts."""

from collections.abc import Iterable


def text_of(error: BaseException) -> str:
    """What an error says. The text of some cannot even be made: what fails is reported all the same."""
    try:
        return str(error)
    except Exception as defect:
        return f"its text cannot be made: {type(defect).__name__}"


def said(error: BaseException) -> str:
    """Type and text of an error, for people."""
    return f"{type(error).__name__}: {text_of(error)}"


class RuntimeFault(Exception):
    """Base of all errors of this package."""


class MailboxFull(RuntimeFault):
    """The mailbox is at capacity, the sender does not wait for room, and nothing may be dropped or replaced for it."""

    def __init__(self, actor: str, capacity: int, *, besides: str = "") -> None:
        super().__init__(f"{actor}: mailbox is full ({capacity} messages){besides}")
        self.actor, self.capacity = actor, capacity


class TellCycle(MailboxFull):
    """The mailbox is full, and the sender's handler would wait for itself: those who could make room wait for it."""

    def __init__(self, actor: str, capacity: int, cycle: tuple[str, ...]) -> None:
        besides = f", and waiting for room would be in a cycle: {' -> '.join(cycle)}"
        super().__init__(actor, capacity, besides=besides)
        self.cycle = cycle
        """Paths of the actors, each waiting for the next; the last is the first again."""


class MessageRefused(RuntimeFault, TypeError):
    """The actor does not handle messages of this type."""

    def __init__(self, actor: str, message: str, accepted: tuple[str, ...]) -> None:
        super().__init__(f"{actor}: does not handle {message}, only {', '.join(accepted)}")
        self.actor, self.message, self.accepted = actor, message, accepted


class MessageDropped(RuntimeFault):
    """The message was taken out of the mailbox unhandled: by its overflow policy, or because its sender has crashed."""

    def __init__(self, actor: str, why: str) -> None:
        super().__init__(f"{actor}: dropped: {why}")
        self.actor, self.why = actor, why


class DeadlineExceeded(RuntimeFault):
    """The message's turn came after its deadline; it was not handled."""

    def __init__(self, actor: str, message: str, late_s: float) -> None:
        super().__init__(f"{actor}: {message} came to its turn {late_s:.3f} s after its deadline")
        self.actor, self.message, self.late_s = actor, message, late_s


class AskCycle(RuntimeFault):
    """The ask would wait for the asker itself: nobody in the circle could ever answer."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(f"ask in a cycle: {' -> '.join(cycle)}")
        self.cycle = cycle
        """Paths of the actors, each asking the next; the last is the first again."""


class DuplicateChild(RuntimeFault):
    """The supervisor has a child of this id already."""

    def __init__(self, child: str) -> None:
        super().__init__(f"{child}: is there already")
        self.child = child


class DuplicateRef(RuntimeFault):
    """The address is that of another child already: it could reach only one of them."""

    def __init__(self, child: str, ref: str, other: str) -> None:
        super().__init__(f"{child}: its ref {ref!r} is that of {other}")
        self.child, self.ref, self.other = child, ref, other


class UnknownChild(RuntimeFault):
    """The supervisor has no child of this id."""

    def __init__(self, child: str) -> None:
        super().__init__(f"{child}: there is no such child")
        self.child = child


class SignificantChildEnded(RuntimeFault):
    """A spawned child has ended that its parent is not to be without."""

    def __init__(self, child: str) -> None:
        super().__init__(f"{child}: has ended, and was significant")
        self.child = child


class ActorStopped(RuntimeFault):
    """The actor has ended, or ended before it answered."""

    def __init__(self, actor: str, how: str = "stopped") -> None:
        super().__init__(f"{actor}: {how}")
        self.actor = actor


class HandlerCrashed(ActorStopped):
    """The handler crashed over this request, and it is not tried again. The actor itself restarts."""

    def __init__(self, actor: str, error: Exception) -> None:
        """:param error: what the last attempt crashed of; it is the cause of this error"""
        super().__init__(actor, f"crashed over this request: {said(error)}")
        self.__cause__ = error


class AskTimeout(RuntimeFault):
    """No answer within the time that the caller gave."""

    def __init__(self, actor: str, request: str, timeout_s: float) -> None:
        super().__init__(f"{actor}: no answer to {request} within {timeout_s:g} s")
        self.actor, self.request, self.timeout_s = actor, request, timeout_s


class MessageWithoutKey(RuntimeFault):
    """The key function of a keyed mailbox gives None for the message: no instance could ever handle it."""

    def __init__(self, actor: str, message: str) -> None:
        super().__init__(f"{actor}: {message} has no key")
        self.actor, self.message = actor, message


class JournalUnavailable(RuntimeFault):
    """The journal's store cannot be reached, or did not answer in time."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"journal in {store} is unavailable: {reason}")
        self.store, self.reason = store, reason


class UnknownDeadLetter(RuntimeFault):
    """There is no such dead letter, or not any more: somebody has replayed or discarded it."""

    def __init__(self, dead_id: str) -> None:
        super().__init__(f"there is no dead letter {dead_id[:256]!r}")
        self.dead_id = dead_id


class NoMessageInHand(RuntimeFault):
    """Somebody wants to put a message aside who does not handle one: work beside the handler, a timer, `on_start`."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor}: a message is put aside by the handler that has it in hand, and by nobody else")
        self.actor = actor


class StashFull(RuntimeFault):
    """A message is to be put aside that would fill the mailbox with such messages, and the actor expects nothing of its
    own: what it waits for would find no room."""

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(f"{actor}: nothing but stashed messages would be in its mailbox ({capacity} messages)")
        self.actor, self.capacity = actor, capacity


class UnreadableDeadLetter(RuntimeFault):
    """This release cannot read the payload: a replay would only bury it again."""

    def __init__(self, dead_id: str, reason: str) -> None:
        super().__init__(f"dead letter {dead_id} cannot be read: {reason}")
        self.dead_id, self.reason = dead_id, reason


class LaneFull(RuntimeFault):
    """As many jobs wait for the lane as may."""

    def __init__(self, lane: str, pending_limit: int) -> None:
        super().__init__(f"lane {lane} is full ({pending_limit} jobs wait)")
        self.lane, self.pending_limit = lane, pending_limit


class LaneClosed(RuntimeFault):
    """The lane takes no work, or was closed before the job had ended."""

    def __init__(self, lane: str, job: str) -> None:
        super().__init__(f"lane {lane} is closed: {job} was not done")
        self.lane, self.job = lane, job


class LaneTimeout(RuntimeFault):
    """The job ran for longer than it may."""

    def __init__(self, lane: str, job: str, timeout_s: float) -> None:
        super().__init__(f"lane {lane}: {job} had not ended after {timeout_s:g} s")
        self.lane, self.job, self.timeout_s = lane, job, timeout_s


class JobCancelled(RuntimeFault):
    """The job was cancelled by whoever holds it."""

    def __init__(self, lane: str, job: str) -> None:
        super().__init__(f"lane {lane}: {job} was cancelled")
        self.lane, self.job = lane, job


class UnknownLane(RuntimeFault):
    """No lane of this name is declared."""

    def __init__(self, lane: str, known: Iterable[str]) -> None:
        super().__init__(f"no lane {lane!r}, only {', '.join(known)}")
        self.lane = lane


class UnknownSchedule(RuntimeFault):
    """No schedule of this id is declared."""

    def __init__(self, id: str, known: Iterable[str]) -> None:
        super().__init__(f"no schedule {id!r}, only {', '.join(known) or 'none at all'}")
        self.id = id


class WorkerDied(RuntimeFault):
    """The worker process ended before the function had returned; `exitcode` is negative for a signal."""

    def __init__(self, function: str, exitcode: int | None) -> None:
        super().__init__(f"the worker process of {function} died (exit code {exitcode})")
        self.function, self.exitcode = function, exitcode


class FailedElsewhere(RuntimeFault):
    """An error of a worker process that cannot be pickled: its type and text; its traceback is a note."""


class Fenced(JournalUnavailable):
    """Another process has adopted this mailbox's mail: what was asked for has not been done, and changed nothing.

    The mailbox has to forget what it holds in memory and to recover, which makes it an owner again. To an actor with
    another mailbox, or none, it is an error like any other.
    """

    def __init__(self, mailbox: str, epoch: int, *, valid_from: int = 0) -> None:
        super().__init__(f"mailbox {mailbox}", f"epoch {epoch} was fenced by another process")
        self.mailbox, self.epoch = mailbox, epoch
        self.valid_from = valid_from
        """The lowest epoch that whoever has refused it lets act; 0 when it did not say."""


class StartFailed(RuntimeFault):
    """A child did not become ready."""

    def __init__(self, child: str, cause: BaseException) -> None:
        super().__init__(f"{child}: did not start: {said(cause)}")
        self.child, self.cause = child, cause


class StrayCancellation(RuntimeFault):
    """A handler awaited something that somebody else had cancelled, or cancelled its own task: its host has not."""

    def __init__(self) -> None:
        super().__init__("it awaited what was cancelled elsewhere")


class ForeignError(RuntimeFault):
    """An actor raised what is no `Exception`, as the panic of an extension is not; that is its cause."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(said(error))


class IntensityExceeded(RuntimeFault):
    """More restarts within the period than the supervisor tolerates."""

    def __init__(self, supervisor: str, child: str, restarts: int, period_s: float) -> None:
        super().__init__(f"{supervisor}: {restarts} restarts within {period_s:g} s, the last by {child}")
        self.supervisor, self.child, self.restarts, self.period_s = supervisor, child, restarts, period_s
