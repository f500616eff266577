"""`make simulate SEEDS=1000` runs so many seeds of each scenario; `make simulate SEED=123` replays one with its trace.

The scenarios: `trading` is the product, `trees` are random trees of actors by themselves, some durable, `mail` is
a durable mailbox that is restarted and cut off, `flow` are actors that wait for each other before full mailboxes.
`ARGS="--scenario trees"` runs that alone, or replays a seed of it.
"""

import argparse
import hashlib
import sys
from itertools import islice
from typing import Protocol

from tests.simulation.flow import run_flow
from tests.simulation.mail import run_mail
from tests.simulation.trading import Report, run_seed
from tests.simulation.trees import run_tree
from trendedge.runtime.simulation.campaign import Campaign, Progress, run_seeds

SHOWN = 10
"""Failing seeds that are named."""
TRACED = 40
"""Lines of the first one's trace that are shown, the last ones."""


class Scenario(Protocol):
    """Runs one seed."""

    def __call__(self, seed: int, *, verbose: bool = False) -> Report: ...


SCENARIOS: dict[str, Scenario] = {"trading": run_seed, "trees": run_tree, "mail": run_mail, "flow": run_flow}
PRODUCT = "trading"
"""What is replayed when nobody says which scenario the seed is of."""


def main() -> int:
    """Answers 1 when an invariant was broken."""
    options = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    options.add_argument("--scenario", choices=list(SCENARIOS), help="what is run (default: all, one after the other)")
    options.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many of each (default 1000)")
    options.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default 0)")
    options.add_argument("--processes", type=int, metavar="N", help="default: one for each core")
    options.add_argument("--seed", type=int, metavar="SEED", help=f"replay this one of {PRODUCT}, with its trace")
    given = options.parse_args()
    if given.seed is not None:
        return _replay(given.seed, given.scenario or PRODUCT)
    if given.seeds < 1:
        options.error("at least 1 seed")
    scenarios = SCENARIOS if given.scenario is None else {given.scenario: SCENARIOS[given.scenario]}
    return explore(scenarios, range(given.first, given.first + given.seeds), given.processes)


def _replay(seed: int, scenario: str) -> int:
    report = SCENARIOS[scenario](seed, verbose=True)
    sys.stdout.write("\n".join(report.lines) + "\n")
    sys.stdout.write(f"{report.failure or 'all invariants hold'}\n{report.digest}\n")
    return int(report.failure is not None)


def explore(scenarios: dict[str, Scenario], seeds: range, processes: int | None) -> int:
    """Run all seeds of each scenario, say what has failed, print one digest over all; answers 1 when something has."""
    digest, failed = hashlib.blake2b(digest_size=16), False
    for name, run in scenarios.items():
        campaign = run_seeds(run, seeds, processes=processes, on_report=Progress(len(seeds), name=name))
        _tell(campaign, name, run)
        digest.update(bytes.fromhex(campaign.digest))
        failed = failed or bool(campaign.failures)
    sys.stdout.write(f"{digest.hexdigest()}\n")
    return int(failed)


def _tell(campaign: Campaign, name: str, run: Scenario) -> None:
    happened = sorted(campaign.counts.items(), key=lambda one: (-one[1], one[0]))
    sys.stderr.write(f"{name}: " + ", ".join(f"{kind} {times}" for kind, times in happened) + "\n")
    if campaign.failures:
        first = run(campaign.failures[0].seed, verbose=True)
        sys.stderr.write(f"the last steps of seed {first.seed}:\n" + "\n".join(first.lines[-TRACED:]) + "\n")
    for report in islice(campaign.failures, SHOWN):
        again = "" if name == PRODUCT else f' ARGS="--scenario {name}"'
        sys.stderr.write(f"seed {report.seed}: {report.failure}\n  make simulate SEED={report.seed}{again}\n")
    if len(campaign.failures) > SHOWN:
        sys.stderr.write(f"and {len(campaign.failures) - SHOWN} more seeds\n")


if __name__ == "__main__":
    sys.exit(main())
