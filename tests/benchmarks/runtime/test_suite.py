"""The runtime's benchmark: its arithmetic, what it says of a peer that fails, and a run of it all, small."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.distribution import Distribution
from benchmarks.runtime import footprint
from benchmarks.runtime.durable import Durables
from benchmarks.runtime.messages import FLOORS, OURS
from benchmarks.runtime.peers import PeerFailed, Peers
from benchmarks.runtime.suite import IN_ORDER, OUR_NAME, Counts, Findings, measure, ratios, tables

TINY = Counts(
    messages=200, asks=50, peer_tells=50, peer_asks=50, durables=40, seconds=0.2, idle=20, children=10, rounds=1
)


def test_the_ratio_is_taken_in_each_round_by_itself() -> None:
    # The machine was half as fast in the second round: the ratio of the medians would hide that nothing changed.
    assert ratios([100.0, 50.0, 100.0], [50.0, 25.0, 80.0]) == (2.0, 1.25)


def test_the_table_shows_both_directions() -> None:
    findings = Findings()
    findings.tells[OUR_NAME] += [300.0, 300.0]
    findings.tells["other"] += [100.0, 150.0]
    findings.asks[OUR_NAME] += [10.0]
    latency = Distribution.of([0.001, 0.002])
    findings.durables[OUR_NAME] += [Durables(10.0, 100.0, latency)]
    findings.durables["slow"] += [Durables(None, 25.0, Distribution.of([0.004]))]
    findings.footprint["10 idle actors: MB"] += [1.0, 3.0]
    text = tables(findings)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["other", "125", "2.50", "2.00"] in rows
    assert ["slow", "-", "25.0", "4.00", "4.00", "4.00", "0.25"] in rows
    assert ["10 idle actors: MB", "2.00", "3.00"] in rows


@pytest.mark.parametrize("measured", [*OURS.values(), *FLOORS.values()])
async def test_each_way_carries_all_its_messages(measured: object) -> None:
    assert callable(measured)
    assert await measured(300) > 0


async def test_what_a_python_does_not_have_is_not_measured() -> None:
    assert (await Peers.found([Path(sys.executable)])).pythons == {}


async def test_a_driver_that_fails_is_named_with_its_words() -> None:
    with pytest.raises(PeerFailed, match=r"(?s)pykka: .*No module named 'pykka'"):
        await Peers({"pykka": Path(sys.executable)}).messages("pykka", "tell", 1)


async def test_all_of_it_small(tmp_path: Path) -> None:
    findings = await measure(TINY, [], tmp_path)
    assert set(findings.durables) == {OUR_NAME, IN_ORDER}
    for [durables] in findings.durables.values():
        assert durables.latency is not None
        assert durables.latency.count == 20
        assert durables.drained_per_s is not None
    assert min(findings.tells[OUR_NAME] + findings.asks[OUR_NAME]) > 0
    assert len(findings.footprint) == 3
    assert findings.problems == []
    assert json.dumps(tables(findings)).count("trendedge") == 4


async def test_the_footprint_counts_what_is_there() -> None:
    found = await footprint.children(30)
    assert found["start_s"] > 0
    assert set(await footprint.instances(30)) == {"mb"}
