"""A log that cannot be written ends nobody."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import anyio
import pytest
import structlog

from tests.runtime.support import running, until
from trendedge.runtime import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    MailboxSpec,
    RetryPolicy,
    Service,
    ServiceContext,
    ServiceSpec,
    SupervisorSpec,
)


class Disk:
    """A sink that is full until there is room."""

    full = True

    def __init__(self) -> None:
        self.lines: list[MutableMapping[str, Any]] = []

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> str:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(event)
        raise structlog.DropEvent


@pytest.fixture
def disk() -> Iterator[Disk]:
    before, disk = structlog.get_config(), Disk()
    structlog.configure(processors=[disk], cache_logger_on_first_use=True)
    try:
        yield disk
    finally:
        structlog.configure(**before)


class Fails(Actor[str]):
    async def receive(self, message: str) -> None:
        if message == "bad":
            raise ValueError(message)


class Ends(Service):
    def __init__(self, starts: list[int]) -> None:
        self._starts = starts

    async def run(self, context: ServiceContext) -> None:
        self._starts.append(1)
        context.started()
        if len(self._starts) == 1:
            raise ValueError("the first time")
        await context.stopping.wait()


@pytest.mark.parametrize("keyed", [False, True], ids=["one instance", "keyed"])
async def test_while_the_log_cannot_be_written_crashes_are_restarts_as_ever(disk: Disk, keyed: bool) -> None:
    ref, starts = ActorRef[str]("a"), list[int]()
    mailbox = MailboxSpec(key=(lambda message: "k") if keyed else None)
    child = ChildSpec("a", Fails, ref, mailbox=mailbox, retry=RetryPolicy((0.0,)))
    service = ServiceSpec("s", lambda: Ends(starts))
    async with running(SupervisorSpec("root", [child, service], backoff=Backoff(0.0, jitter=0.0))) as root:
        await ref.tell("bad")
        await ref.tell("good")
        await until(lambda: ref.cell.stats.handled == 1 and len(starts) == 2)
        assert root.status == "running"
        disk.full = False
        await ref.tell("bad")
        await until(lambda: ref.cell.stats.failed == 4)
    assert "log lines lost" in [line["event"] for line in disk.lines]


class Stubborn(Service):
    """Ends when it is cancelled, and not before."""

    def __init__(self, live: list[str]) -> None:
        self._live = live

    async def run(self, context: ServiceContext) -> None:
        self._live.append("here")
        context.started()
        try:
            await anyio.sleep_forever()
        finally:
            self._live.remove("here")


@pytest.mark.usefixtures("disk")
async def test_while_the_log_cannot_be_written_who_overruns_its_stop_is_ended() -> None:
    live = list[str]()
    services = [ServiceSpec(name, lambda: Stubborn(live), shutdown_s=0.01) for name in "ab"]
    async with running(SupervisorSpec("root", services)):
        assert live == ["here"] * 2
    assert live == []
