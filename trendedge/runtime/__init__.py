"""Supervised actors on asyncio: OTP's supervision, bounded mailboxes and mail that survives SIGKILL.

Nothing here knows of trading, of HTTP or of a particular store. Names are OTP's and Akka's.
"""

from trendedge.runtime.actor import Actor, Context, Terminated, Timer
from trendedge.runtime.breaker import BreakerChanged, BreakerSpec, BreakerState
from trendedge.runtime.control import Controls, NotRestartable, NotSuspendable, UnknownActor, UnknownBreaker
from trendedge.runtime.dead_letters import DeadLetters
from trendedge.runtime.durable import Durability
from trendedge.runtime.errors import (
    ActorStopped,
    AskCycle,
    AskTimeout,
    DeadlineExceeded,
    DuplicateChild,
    FailedElsewhere,
    Fenced,
    IntensityExceeded,
    JobCancelled,
    JournalUnavailable,
    LaneClosed,
    LaneFull,
    LaneTimeout,
    MailboxFull,
    MessageDropped,
    MessageRefused,
    MessageWithoutKey,
    RuntimeFault,
    SignificantChildEnded,
    StartFailed,
    StrayCancellation,
    UnknownChild,
    UnknownDeadLetter,
    UnknownLane,
    UnknownSchedule,
    UnreadableDeadLetter,
    WorkerDied,
)
from trendedge.runtime.inspection import Inspector
from trendedge.runtime.journal import (
    Announcement,
    Appended,
    Buried,
    DeadLetter,
    Duplicate,
    Entry,
    Journal,
    Settlement,
    Unique,
)
from trendedge.runtime.lanes import Cpu, Job, Lanes, LaneSpec, LanesService, cpu
from trendedge.runtime.mailbox import MailboxSpec, Overflow
from trendedge.runtime.ownership import Owner, Ownership
from trendedge.runtime.ref import ActorRef, Asked, DurableRef, Request
from trendedge.runtime.retry import RetryPolicy
from trendedge.runtime.schedule import LastFires, Misfire, Schedules, ScheduleSpec, SchedulesService
from trendedge.runtime.service import Service, ServiceContext
from trendedge.runtime.specs import Backoff, ChildSpec, Restart, ServiceSpec, Strategy, SupervisorSpec
from trendedge.runtime.supervisor import Supervisor
from trendedge.runtime.trigger import Cron, Every
from trendedge.runtime.watchdog import LoopLag, Watchdog

__all__ = [
    "Actor",
    "ActorRef",
    "ActorStopped",
    "Announcement",
    "Appended",
    "AskCycle",
    "AskTimeout",
    "Asked",
    "Backoff",
    "BreakerChanged",
    "BreakerSpec",
    "BreakerState",
    "Buried",
    "ChildSpec",
    "Context",
    "Controls",
    "Cpu",
    "Cron",
    "DeadLetter",
    "DeadLetters",
    "DeadlineExceeded",
    "Duplicate",
    "DuplicateChild",
    "Durability",
    "DurableRef",
    "Entry",
    "Every",
    "FailedElsewhere",
    "Fenced",
    "Inspector",
    "IntensityExceeded",
    "Job",
    "JobCancelled",
    "Journal",
    "JournalUnavailable",
    "LaneClosed",
    "LaneFull",
    "LaneSpec",
    "LaneTimeout",
    "Lanes",
    "LanesService",
    "LastFires",
    "LoopLag",
    "MailboxFull",
    "MailboxSpec",
    "MessageDropped",
    "MessageRefused",
    "MessageWithoutKey",
    "Misfire",
    "NotRestartable",
    "NotSuspendable",
    "Overflow",
    "Owner",
    "Ownership",
    "Request",
    "Restart",
    "RetryPolicy",
    "RuntimeFault",
    "ScheduleSpec",
    "Schedules",
    "SchedulesService",
    "Service",
    "ServiceContext",
    "ServiceSpec",
    "Settlement",
    "SignificantChildEnded",
    "StartFailed",
    "Strategy",
    "StrayCancellation",
    "Supervisor",
    "SupervisorSpec",
    "Terminated",
    "Timer",
    "Unique",
    "UnknownActor",
    "UnknownBreaker",
    "UnknownChild",
    "UnknownDeadLetter",
    "UnknownLane",
    "UnknownSchedule",
    "UnreadableDeadLetter",
    "Watchdog",
    "WorkerDied",
    "cpu",
]
