"""`make simulate SEEDS=1000` runs many seeds; `make simulate SEED=123` replays one and prints its trace.

`ARGS="--scenario trees"` runs random trees of actors by themselves, some of them durable, `ARGS="--scenario mail"` a
durable mailbox that is restarted and cut off; otherwise it is the product's trading.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import islice

from tests.simulation.mail import run_mail
from tests.simulation.trading import Report, run_seed
from tests.simulation.trees import run_tree
from trendedge.runtime.simulation.campaign import Progress, run_seeds

SHOWN = 10
SCENARIOS: dict[str, Callable[..., Report]] = {"trading": run_seed, "trees": run_tree, "mail": run_mail}


def main() -> int:
    """Answers 1 when an invariant was broken."""
    options = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    options.add_argument("--scenario", choices=list(SCENARIOS), default="trading", help="what is run (default trading)")
    options.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many (default 1000)")
    options.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default 0)")
    options.add_argument("--processes", type=int, metavar="N", help="default: one for each core")
    options.add_argument("--seed", type=int, metavar="SEED", help="replay this one, with its trace")
    given = options.parse_args()
    if given.seed is not None:
        return _replay(given.seed, given.scenario)
    if given.seeds < 1:
        options.error("at least 1 seed")
    return _campaign(range(given.first, given.first + given.seeds), given.processes, given.scenario)


def _replay(seed: int, scenario: str) -> int:
    report = SCENARIOS[scenario](seed, verbose=True)
    sys.stdout.write("\n".join(report.lines) + "\n")
    sys.stdout.write(f"{report.failure or 'all invariants hold'}\n{report.digest}\n")
    return int(report.failure is not None)


def _campaign(seeds: range, processes: int | None, scenario: str) -> int:
    campaign = run_seeds(SCENARIOS[scenario], seeds, processes=processes, on_report=Progress(len(seeds)))
    happened = sorted(campaign.counts.items(), key=lambda one: (-one[1], one[0]))
    sys.stderr.write(", ".join(f"{kind} {times}" for kind, times in happened) + "\n")
    for report in islice(campaign.failures, SHOWN):
        again = "" if scenario == "trading" else f' ARGS="--scenario {scenario}"'
        sys.stderr.write(f"seed {report.seed}: {report.failure}\n  make simulate SEED={report.seed}{again}\n")
    if len(campaign.failures) > SHOWN:
        sys.stderr.write(f"and {len(campaign.failures) - SHOWN} more seeds\n")
    sys.stdout.write(f"{campaign.digest}\n")
    return int(bool(campaign.failures))


if __name__ == "__main__":
    sys.exit(main())
