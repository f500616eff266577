"""Whoever mends a crash finds it in the log: each is told once with its traceback, wherever it happened."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

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


class Fragile(Actor[str]):
    """Crashes where the message says."""

    def __init__(self, ill: list[str]) -> None:
        self._ill = ill

    async def on_start(self) -> None:
        if self._ill:
            raise OSError(self._ill.pop())

    async def receive(self, message: str) -> None:
        if message == "pipe":
            self.context.pipe_to_self(self._fail(), str)
        elif message == "start":
            self._ill.append("while it started")
            await self._fail()
        elif message == "handler":
            await self._fail()

    @staticmethod
    async def _fail() -> str:
        raise ValueError("the defect")


async def crashes(
    spec: SupervisorSpec, act: Callable[[], Awaitable[Any]], recovered: Callable[[], bool]
) -> list[MutableMapping[str, Any]]:
    """What the log says with a traceback."""
    with structlog.testing.capture_logs() as logs:
        async with running(spec):
            await act()
            await until(recovered)
    return [entry for entry in logs if entry.get("exc_info") is not None]


@pytest.mark.parametrize("key", [None, lambda message: "k"], ids=["one instance", "keyed"])
@pytest.mark.parametrize(
    ("where", "told"), [("handler", ["ValueError"]), ("pipe", ["ValueError"]), ("start", ["ValueError", "OSError"])]
)
async def test_a_crash_of_an_actor_is_told_once_with_its_traceback(where: str, told: list[str], key: Any) -> None:
    ill, ref = list[str](), ActorRef[str]("a")
    mailbox, retry = MailboxSpec(key=key), RetryPolicy(delays_s=(0.0,))
    child = ChildSpec("a", lambda: Fragile(ill), ref, mailbox=mailbox, retry=retry)
    spec = SupervisorSpec("root", [child], backoff=Backoff(0.0, jitter=0.0))

    async def act() -> None:
        await ref.tell(where)
        await until(lambda: ref.cell.stats.buried + ref.cell.stats.handled == 1)
        await ref.tell("well")

    found = await crashes(spec, act, lambda: ref.cell.stats.handled >= 1 and not ref.cell.depth)
    assert [type(entry["exc_info"]).__name__ for entry in found][: len(told)] == told
    assert all(entry["exc_info"].__traceback__ is not None for entry in found)
    assert len({id(entry["exc_info"]) for entry in found}) == len(found)


async def test_a_crash_of_a_service_is_told_with_its_traceback() -> None:
    runs: list[int] = []

    class Once(Service):
        async def run(self, context: ServiceContext) -> None:
            runs.append(1)
            context.started()
            if len(runs) == 1:
                raise ValueError("the defect")
            await context.stopping.wait()

    spec = SupervisorSpec("root", [ServiceSpec("s", Once)], backoff=Backoff(0.0, jitter=0.0))

    async def act() -> None:
        pass

    (entry,) = await crashes(spec, act, lambda: len(runs) == 2)
    assert (entry["event"], entry["actor"], type(entry["exc_info"])) == ("restarting", "root/s", ValueError)
