"""What is printed and what two systems are compared by, from results that are made up here."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from benchmarks.compare import Comparison, ratio_table, ratios
from benchmarks.distribution import Distribution
from benchmarks.fanout import FanoutRun
from benchmarks.ledger import Counts
from benchmarks.memory import MemoryUse
from benchmarks.reads import ReadRun
from benchmarks.report import as_json, as_tables, figures
from benchmarks.start import StartRun
from benchmarks.suite import Report
from benchmarks.sustained import SustainedRate
from benchmarks.table import render
from benchmarks.webhooks import WebhookRun


def times(p50: float) -> Distribution:
    return Distribution(count=10, p50_ms=p50, p95_ms=p50 * 2, p99_ms=p50 * 3, max_ms=p50 * 4)


COUNTS = Counts(
    sent=10, accepted=10, refused=0, failed=0, delivered=10, lost=0, doubled=0, stray=0, answers={"202": 10}
)
RUN = WebhookRun(rate=50.0, seconds=1.0, counts=COUNTS, post=times(2.0), event=times(4.0), send_lag=times(0.1))
REPORT = Report(
    system="ours",
    at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    machine="2 cores",
    starts=tuple(StartRun(how="servers already up", health_s=s, trade_s=s + 1) for s in (0.5, 9.0, 0.7)),
    webhooks=(RUN,),
    sustained=SustainedRate(rate=400.0, at_ceiling=False, limit_ms=100.0, attempts=(RUN,)),
    reads=(
        ReadRun(path="/health", connections=32, seconds=5, per_second=1500.0, latency=times(20), answers={"200": 9}),
    ),
    fanout=(FanoutRun(sockets=100, events=5, expected=500, received=500, doubled=0, each=times(10), last=times(20)),),
    memory=(MemoryUse(when="idle", product_mb=90.0, product_processes=1, servers_mb=None, server_processes=0),),
)


def test_every_section_is_a_table_and_absent_ones_are_left_out() -> None:
    text = as_tables(REPORT)
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert len(titles) == 7
    assert "| 50       |     2.00 | 4.00 | 6.00 |      4.00 |" in text
    empty = as_tables(Report(system="ours", at=REPORT.at, machine="2 cores"))
    assert "###" not in empty


def test_the_json_holds_all_of_it() -> None:
    found = json.loads(as_json(REPORT))
    assert found["webhooks"][0]["counts"]["delivered"] == 10
    assert found["sustained"]["attempts"][0]["event"]["p95_ms"] == 8.0
    assert found["at"] == "2026-11-22T12:00:00+00:00"


def test_the_figures_take_the_median_of_several_starts() -> None:
    found = figures(REPORT)
    assert found["servers already up: /health, s"] == 0.7
    assert found["event at 50/s, p95 ms"] == 8.0
    assert found["highest sustained rate, alerts/s"] == 400.0
    assert found["memory idle, MB"] == 90.0


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (replace(REPORT, webhooks=(replace(RUN, counts=replace(COUNTS, lost=2)),)), "webhooks at 50/s: 2 lost"),
        (replace(REPORT, fanout=(replace(REPORT.fanout[0], received=499),)), "fan-out to 100 sockets: 1 lost"),
        (replace(REPORT, reads=(replace(REPORT.reads[0], answers={"500": 9}),)), "GET /health: {'500': 9}"),
    ],
)
def test_what_went_wrong_is_a_problem_and_a_time_never_is(report: Report, problem: str) -> None:
    assert report.problems == [problem]
    assert replace(REPORT, webhooks=(replace(RUN, event=times(60_000.0)),)).problems == []


def test_a_problem_of_the_search_is_a_problem_of_the_report() -> None:
    attempt = replace(RUN, counts=replace(COUNTS, doubled=1))
    sustained = SustainedRate(rate=None, at_ceiling=False, limit_ms=100.0, attempts=(attempt,))
    assert replace(REPORT, sustained=sustained).problems == ["webhooks at 50/s: 1 doubled"]


def rival(event_p50: float) -> Report:
    return replace(REPORT, system="rival", webhooks=(replace(RUN, event=times(event_p50)),), memory=(), sustained=None)


def test_ratios_are_those_of_each_round() -> None:
    comparison = Comparison(rounds=tuple((REPORT, rival(p50)) for p50 in (8.0, 16.0, 10.0)))
    found = {ratio.figure: ratio.values for ratio in ratios(comparison)}
    assert found["event at 50/s, p50 ms"] == (0.5, 0.25, 0.4)
    assert found["POST at 50/s, p50 ms"] == (1.0, 1.0, 1.0)
    assert "memory idle, MB" not in found
    row = next(line for line in ratio_table(comparison).splitlines() if line.startswith("| event at 50/s, p50"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "4.00", "10.0", "0.50", "0.25", "0.40", "0.25", "0.40", "0.50"
    ]  # fmt: skip


def test_a_figure_that_one_round_lacks_is_compared_in_the_others() -> None:
    short = replace(REPORT, webhooks=())
    comparison = Comparison(rounds=((REPORT, rival(8.0)), (short, rival(8.0))))
    assert {r.figure: len(r.values) for r in ratios(comparison)}["event at 50/s, p50 ms"] == 1
    assert "| round 2 |" in ratio_table(comparison)


def test_the_problems_of_a_comparison_name_the_system() -> None:
    broken = replace(rival(8.0), fanout=(replace(REPORT.fanout[0], doubled=3),))
    assert Comparison(rounds=((REPORT, broken),)).problems == ["rival: fan-out to 100 sockets: 3 doubled"]


def test_a_table_is_aligned_and_shows_what_was_not_measured() -> None:
    rows = [("x", None), ("yy", 1234), ("z", 123.4), ("w", 12.34), ("v", 1.234)]
    assert render("T", ("", "a"), rows).splitlines() == [
        "### T",
        "",
        "|    | a     |",
        "| -- | ----: |",
        "| x  |     - |",
        "| yy | 1,234 |",
        "| z  |   123 |",
        "| w  |  12.3 |",
        "| v  |  1.23 |",
    ]
