"""A report as tables, as JSON, and as a flat set of figures that two systems can be compared by."""

from collections.abc import Iterator
from statistics import median

import orjson

from benchmarks.distribution import Distribution
from benchmarks.suite import Report
from benchmarks.table import Cell, render


def as_json(report: Report) -> bytes:
    """Everything that was measured, each attempt of the search included."""
    return orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def as_tables(report: Report) -> str:
    """What `make bench` prints: a table for each section that was measured."""
    head = f"## {report.system}\n\n{report.at:%Y-%m-%d %H:%M} UTC, {report.machine}\n"
    return "\n".join((head, *_tables(report)))


def figures(report: Report) -> dict[str, float]:
    """The figures that a comparison is about, by name. Several starts of one kind give their median."""
    found: dict[str, float] = {}
    for run in report.webhooks:
        for what, times in (("POST", run.post), ("event", run.event)):
            found |= _times(f"{what} at {run.rate:g}/s", times)
    if report.sustained is not None and report.sustained.rate is not None:
        found["highest sustained rate, alerts/s"] = report.sustained.rate
    for read in report.reads:
        found[f"GET {read.path}, requests/s"] = read.per_second
    for fanout in report.fanout:
        found |= _times(f"fan-out to {fanout.sockets}", fanout.each)
    for how in dict.fromkeys(start.how for start in report.starts):
        same = [start for start in report.starts if start.how == how]
        found[f"{how}: /health, s"] = median(start.health_s for start in same)
        found[f"{how}: trade event, s"] = median(start.trade_s for start in same)
    for use in report.memory:
        if use.product_mb is not None:
            found[f"memory {use.when}, MB"] = use.product_mb
    return found


def _times(what: str, times: Distribution | None) -> dict[str, float]:
    if times is None:
        return {}
    return {f"{what}, p50 ms": times.p50_ms, f"{what}, p95 ms": times.p95_ms, f"{what}, p99 ms": times.p99_ms}


def _spread(times: Distribution | None) -> tuple[Cell, Cell, Cell]:
    return (None, None, None) if times is None else (times.p50_ms, times.p95_ms, times.p99_ms)


def _tables(report: Report) -> Iterator[str]:
    if report.starts:
        rows = [(start.how, start.health_s, start.trade_s) for start in report.starts]
        yield render("Start, s", ("", "first /health 200", "first trade event"), rows)
    if report.webhooks:
        yield _webhooks(report)
        yield _counts(report)
    if report.sustained is not None:
        yield _sustained(report)
    if report.reads:
        yield _reads(report)
    if report.fanout:
        yield _fanout(report)
    if report.memory:
        yield _memory(report)


def _webhooks(report: Report) -> str:
    header = ("alerts/s", "POST p50", "p95", "p99", "event p50", "p95", "p99", "tool's lag p99")
    rows = [
        (f"{run.rate:g}", *_spread(run.post), *_spread(run.event), _spread(run.send_lag)[2]) for run in report.webhooks
    ]
    return render("Webhooks: from when the POST was due to its answer, and to its trade event, ms", header, rows)


def _counts(report: Report) -> str:
    header = ("alerts/s", "sent", "accepted", "refused", "failed", "delivered", "lost", "doubled", "stray")
    counted = [(f"{run.rate:g}", run.counts) for run in report.webhooks]
    rows = [
        (rate, c.sent, c.accepted, c.refused, c.failed, c.delivered, c.lost, c.doubled, c.stray) for rate, c in counted
    ]
    return render("Webhooks: what became of them", header, rows)


def _sustained(report: Report) -> str:
    found = report.sustained
    if found is None:
        return ""
    rate = "none" if found.rate is None else f"{found.rate:.0f}{' or more' if found.at_ceiling else ''}"
    row = (f"event p95 under {found.limit_ms:g} ms, nothing refused", rate, len(found.attempts))
    return render("Highest sustained rate", ("", "alerts/s", "attempts"), [row])


def _reads(report: Report) -> str:
    header = ("", "requests/s", "p50 ms", "p95 ms", "p99 ms", "connections")
    rows = [(r.path, r.per_second, *_spread(r.latency), r.connections) for r in report.reads]
    return render("Reads, closed loop", header, rows)


def _fanout(report: Report) -> str:
    header = ("sockets", "p50", "p95", "p99", "last p50", "last p95", "expected", "received", "doubled")
    rows = [
        (f"{run.sockets}", *_spread(run.each), *_spread(run.last)[:2], run.expected, run.received, run.doubled)
        for run in report.fanout
    ]
    return render("Fan-out: from when the POST was due to each socket, and to the last, ms", header, rows)


def _memory(report: Report) -> str:
    header = ("", "product MB", "processes", "servers MB", "server processes")
    rows = [
        (use.when, use.product_mb, use.product_processes, use.servers_mb, use.server_processes) for use in report.memory
    ]
    return render("Memory (PSS)", header, rows)
