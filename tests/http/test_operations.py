"""What operators see, and who is one."""

import uuid
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.http.conftest import MakeStage, Stage
from tests.http.support import OPERATOR_KEY, token_for
from tests.http.test_app import error_of
from tests.runtime.support import running
from trendedge.http.app import create_app
from trendedge.http.limits import RateLimits
from trendedge.runtime import (
    Actor,
    ActorRef,
    BreakerSpec,
    ChildSpec,
    Controls,
    Inspector,
    MailboxSpec,
    Restart,
    Service,
    ServiceContext,
    ServiceSpec,
    SupervisorSpec,
)


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(str(uuid.uuid4()), **claims)}"}


@pytest.mark.parametrize("headers", [{"X-API-Key": OPERATOR_KEY}, bearer(app_metadata={"role": "operator"})])
async def test_an_operator_sees_the_tree(stage: Stage, headers: dict[str, str]) -> None:
    client = stage.app.test_client()
    body = await (await client.get("/ops/actors", headers=headers)).get_json()
    assert [actor["path"] for actor in body["actors"]] == ["trendedge/trading/executor", "trendedge/front"]
    one = await client.get("/ops/actors/trendedge/trading/executor", headers=headers)
    assert (await one.get_json())["kind"] == "actor"
    assert [lane["name"] for lane in body["lanes"]] == ["high", "default", "low", "notifications"]
    missing = await client.get("/ops/actors/trendedge/nobody", headers=headers)
    assert missing.status_code == 404


@pytest.mark.parametrize("degraded", [False, True])
async def test_an_operator_sees_whether_the_journal_is_degraded(stage: Stage, degraded: bool) -> None:
    stage.journal.degraded = degraded
    answer = await stage.app.test_client().get("/ops/actors", headers={"X-API-Key": OPERATOR_KEY})
    assert (await answer.get_json())["journal"] == ("degraded" if degraded else "ok")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "wrong"}, 401),
        ({"X-API-Key": "é"}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": f"Basic {OPERATOR_KEY}"}, 401),
        (bearer(), 403),
        (bearer(user_metadata={"role": "operator"}), 403),
    ],
)
async def test_nobody_else_does(stage: Stage, headers: dict[str, str], status: int) -> None:
    for path in ("/ops/actors", "/ops/actors/trendedge/front"):
        response = await stage.app.test_client().get(path, headers=headers)
        assert response.status_code == status
        await error_of(response)


async def test_without_an_operator_key_no_key_opens(make_stage: MakeStage) -> None:
    client = make_stage(operator_key=None).app.test_client()
    for key in ("", "None", OPERATOR_KEY):
        assert (await client.get("/ops/actors", headers={"X-API-Key": key})).status_code == 401


async def test_too_many_wrong_operator_keys_are_429(make_stage: MakeStage) -> None:
    client = make_stage(rate_limits=RateLimits(auth=2)).app.test_client()
    answers = [await client.get("/ops/actors", headers={"X-API-Key": f"guess {n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert (await client.get("/ops/actors", headers={"X-API-Key": OPERATOR_KEY})).status_code == 200


class Recorder(Actor[str]):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def receive(self, message: str) -> None:
        self.seen.append(message)


class Idle(Service):
    async def run(self, context: ServiceContext) -> None:
        context.started()
        await context.stopping.wait()


class Once(Idle):
    """Starts once."""

    started = False

    async def run(self, context: ServiceContext) -> None:
        if self.started:
            raise OSError("port in use")
        type(self).started = True
        await super().run(context)


async def test_actors_are_suspended_resumed_and_restarted(stage: Stage) -> None:
    seen: list[str] = []
    ref: ActorRef[str] = ActorRef("recorder")
    once = ServiceSpec("once", Once, restart=Restart.TEMPORARY)
    recorder = ChildSpec("recorder", lambda: Recorder(seen), ref)
    children: list[ChildSpec[Any] | ServiceSpec] = [recorder, ServiceSpec("idle", Idle), once]
    inner = SupervisorSpec("inner", children)
    async with running(SupervisorSpec("root", [inner])) as root:
        client = create_app(replace(stage.services, tree=Inspector(root), controls=Controls(root))).test_client()

        async def act(path: str, verb: str) -> tuple[int, Any]:
            response = await client.post(f"/ops/actors/{path}/{verb}", headers={"X-API-Key": OPERATOR_KEY})
            return response.status_code, await response.get_json()

        status, body = await act("root/inner/recorder", "suspend")
        assert (status, body["path"], body["status"]) == (200, "root/inner/recorder", "suspended")
        status, body = await act("root/inner/recorder", "restart")
        assert (status, body["incarnation"], body["status"]) == (200, 2, "suspended")
        await ref.tell("held")
        assert seen == []
        status, body = await act("root/inner/recorder", "resume")
        assert (status, body["status"]) == (200, "running")
        await anyio.wait_all_tasks_blocked()
        assert seen == ["held"]
        assert (await act("root/inner/idle", "restart"))[1]["incarnation"] == 2
        for path, verb, expected, word in (
            ("root/nobody", "restart", 404, "no such actor"),
            ("root/inner/idle", "suspend", 409, "A service has no mailbox"),
            ("root/inner", "resume", 409, "A supervisor has no mailbox"),
            ("root", "restart", 409, "restart the process instead"),
            ("root/inner/once", "restart", 409, "It did not start"),
        ):
            status, body = await act(path, verb)
            assert status == expected
            assert word in body["error"]["message"]


async def test_a_restart_that_takes_long_is_answered_202_and_goes_on(make_stage: MakeStage) -> None:
    go_on = anyio.Event()

    class Slow(Service):
        async def run(self, context: ServiceContext) -> None:
            context.started()
            await context.stopping.wait()
            await go_on.wait()

    services = make_stage(restart_wait_s=0.01).services
    async with running(SupervisorSpec("root", [ServiceSpec("slow", Slow, shutdown_s=60)])) as root:
        client = create_app(replace(services, tree=Inspector(root), controls=Controls(root))).test_client()
        response = await client.post("/ops/actors/root/slow/restart", headers={"X-API-Key": OPERATOR_KEY})
        assert (response.status_code, (await response.get_json())["status"]) == (202, "stopping")
        go_on.set()
        with anyio.fail_after(10):
            while root.children[0].status != "running":  # noqa: ASYNC110 - a status has no event
                await anyio.sleep(0.01)
        assert root.children[0].generation == 2


async def test_breakers_are_listed_and_reset(stage: Stage) -> None:
    class Down(Exception):
        pass

    class Caller(Actor[str]):
        async def receive(self, message: str) -> None:
            raise Down

    ref: ActorRef[str] = ActorRef("caller")
    breaker = BreakerSpec(trips_on=(Down,), failures=1)
    child = ChildSpec("caller", Caller, ref, mailbox=MailboxSpec(key=lambda text: text), breaker=breaker)
    async with running(SupervisorSpec("root", [child])) as root:
        client = create_app(replace(stage.services, tree=Inspector(root), controls=Controls(root))).test_client()
        headers = {"X-API-Key": OPERATOR_KEY}

        async def listed() -> Any:
            return (await (await client.get("/ops/breakers", headers=headers)).get_json())["items"]

        assert [(one["name"], one["state"]) for one in await listed()] == [("root/caller", "closed")]
        ref.tell_nowait("venue/a")
        with anyio.fail_after(10):
            while (await listed())[0]["state"] != "open":  # noqa: ASYNC110 - a state has no event
                await anyio.sleep(0.01)
        assert (await listed())[0]["name"] == "root/caller[venue/a]"
        ref.cell.suspend()  # or it would be tried again, and be open again, before it is looked at
        for name in ("root/caller[venue/a]", "root/caller"):
            response = await client.post(f"/ops/breakers/{name}/reset", headers=headers)
            assert response.status_code == 200
            assert {one["state"] for one in (await response.get_json())["breakers"]} == {"closed"}
        assert (await client.post("/ops/breakers/root/nobody/reset", headers=headers)).status_code == 404
        assert (await client.post("/ops/breakers/root/caller/reset", headers=bearer())).status_code == 403
