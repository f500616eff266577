"""`make simulate`: what it runs, and what it says of a seed that breaks something."""

import io
import re
import subprocess
import sys

import pytest

from tests.simulation.__main__ import Scenario, explore
from tests.simulation.invariants import Broken
from tests.simulation.trading import Report, run_seed
from tests.simulation.trading import explore as run
from trendedge.runtime.simulation import SimulatedLoop
from trendedge.runtime.simulation.campaign import Progress, run_seeds


def breaks_sometimes(seed: int, *, verbose: bool = False) -> Report:
    """Seeds 3, 5 and 7 break something, after much has happened."""

    async def main(loop: SimulatedLoop) -> None:
        for number in range(100):
            loop.trace.note("noted", f"{number} of seed {seed}")
        if seed in (3, 5, 7):
            raise Broken({"nothing is lost": [f"something of seed {seed} was"]})

    return run(seed, main, verbose=verbose)


def holds(seed: int, *, verbose: bool = False) -> Report:
    """Breaks nothing."""

    async def main(loop: SimulatedLoop) -> None:
        loop.trace.note("noted")

    return run(seed, main, verbose=verbose)


def test_of_the_first_seed_that_breaks_something_the_end_of_its_trace_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert explore({"astray": breaks_sometimes, "sound": holds}, range(10), processes=1) == 1
    told = capsys.readouterr().err.splitlines()
    begins = told.index("the last steps of seed 3:") + 1
    assert tuple(told[begins : begins + 40]) == breaks_sometimes(3, verbose=True).lines[-40:]
    assert any("noted 99 of seed 3" in line for line in told)
    assert told[begins + 40 : begins + 46] == [
        line
        for seed in (3, 5, 7)
        for line in (
            f"seed {seed}: nothing is lost: something of seed {seed} was",
            f'  make simulate SEED={seed} ARGS="--scenario astray"',
        )
    ]
    assert sum("the last steps" in line for line in told) == 1


@pytest.mark.parametrize(
    ("scenarios", "status"),
    [({"sound": holds}, 0), ({"sound": holds, "astray": breaks_sometimes}, 1)],
    ids=["all hold", "the last one does not"],
)
def test_it_fails_when_a_seed_of_any_scenario_breaks_something(scenarios: dict[str, Scenario], status: int) -> None:
    assert explore(scenarios, range(4), processes=1) == status


def test_the_command_of_a_seed_of_the_product_names_no_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    explore({"trading": breaks_sometimes}, range(3, 4), processes=1)
    assert capsys.readouterr().err.splitlines()[-1] == "  make simulate SEED=3"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], ["trading", "trees", "mail", "flow"]), (["--scenario", "trees"], ["trees"])],
    ids=["all", "one"],
)
def test_it_runs_so_many_seeds_of_each_scenario_unless_it_is_told_which(
    arguments: list[str], expected: list[str]
) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "2", "--processes", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.findall(r"^(\w+) \[#{30}\] 2/2 seeds, 0 failed", done.stderr, re.MULTILINE) == expected
    assert re.findall(r"^(\w+): \w", done.stderr, re.MULTILINE) == expected
    assert re.fullmatch(r"[0-9a-f]{32}\n", done.stdout)


def fails_in_itself(seed: int) -> Report:
    """The scenario has a defect, which seed 4 meets."""
    return [holds(one) for one in range(4)][seed]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_seed_that_meets_a_defect_of_its_scenario_is_named(processes: int) -> None:
    with pytest.raises(IndexError) as caught:
        run_seeds(fails_in_itself, range(6), processes=processes)
    assert caught.value.__notes__ == ["in seed 4"]


def test_a_bar_without_a_name_is_a_bar() -> None:
    stream = io.StringIO()
    Progress(1, stream)(run_seed(0))
    assert stream.getvalue().startswith(f"[{'#' * 30}] 1/1 seeds, 0 failed")
