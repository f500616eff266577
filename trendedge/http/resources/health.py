"""Probes (PRD INF-FR-015): alive, ready, and everything that an operator wants to know."""

import asyncio
import platform
import time
from typing import Any

from quart import Blueprint, Response

from trendedge.http.doors import Doors
from trendedge.http.errors import utc_text
from trendedge.http.exchange import current
from trendedge.http.resources.blueprint import json_response
from trendedge.http.services import Services, Store
from trendedge.storage.errors import StoreUnavailable

PROBE_TIMEOUT_S = 2.0

type Check = dict[str, Any]


def health(services: Services, doors: Doors) -> Blueprint:
    """`/health`, `/health/ready` and, for operators, `/health/detailed`. None of them is rate limited."""
    blueprint = Blueprint("health", __name__)
    started = time.monotonic()
    version = services.settings.version

    @blueprint.get("/health")
    async def alive() -> Response:
        return json_response({"status": "ok", "version": version, "timestamp": utc_text(services.clock())})

    @blueprint.get("/health/ready")
    async def ready() -> Response:
        checks = await _checks(services)
        return _answer({"checks": {name: _public(check) for name, check in checks.items()}}, checks)

    @blueprint.get("/health/detailed")
    async def detailed() -> Response:
        doors.operator(current())
        checks = await _checks(services)
        stores: dict[str, Store] = {"database": services.database, "redis": services.redis}
        for name, store in stores.items():
            checks[name] |= {"address": store.address, "version": store.version}
        process = {
            "version": version,
            "environment": services.settings.environment,
            "python": platform.python_version(),
            "uptime_s": round(time.monotonic() - started, 1),
        }
        return _answer({"timestamp": utc_text(services.clock()), "process": process, "components": checks}, checks)

    return blueprint


def _answer(content: dict[str, Any], checks: dict[str, Check]) -> Response:
    fine = all(check["status"] == "ok" for check in checks.values())
    return json_response({"status": "ok" if fine else "degraded", **content}, 200 if fine else 503)


async def _checks(services: Services) -> dict[str, Check]:
    database, redis = await asyncio.gather(_probe(services.database), _probe(services.redis))
    running, expected = services.tree.running()
    journal = "degraded" if services.journal.degraded else "ok"
    return {
        "database": database,
        "redis": redis,
        "actors": {"status": "ok" if running >= expected else "error", "running": running, "expected": expected},
        "journal": {"status": journal},
    }


async def _probe(store: Store) -> Check:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            latency_s = await store.ping()
    except TimeoutError:
        return {"status": "error", "message": "Timed out", "reason": f"no answer within {PROBE_TIMEOUT_S:g} s"}
    except StoreUnavailable as error:
        message = "Connection refused" if "refused" in error.reason.lower() else "Unavailable"
        return {"status": "error", "message": message, "reason": error.reason}
    return {"status": "ok", "latency_ms": round(latency_s * 1000, 2)}


def _public(check: Check) -> Check:
    """Without the reason, which may name hosts."""
    return {name: value for name, value in check.items() if name != "reason"}
