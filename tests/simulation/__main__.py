"""`make simulate SEEDS=1000` runs many seeds; `make simulate SEED=123` replays one and prints its trace."""

import argparse
import sys
from itertools import islice

from tests.simulation.trading import run_seed
from trendedge.runtime.simulation.campaign import Progress, run_seeds

SHOWN = 10


def main() -> int:
    """Answers 1 when an invariant was broken."""
    options = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    options.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many (default 1000)")
    options.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default 0)")
    options.add_argument("--processes", type=int, metavar="N", help="default: one for each core")
    options.add_argument("--seed", type=int, metavar="SEED", help="replay this one, with its trace")
    given = options.parse_args()
    if given.seed is not None:
        return _replay(given.seed)
    if given.seeds < 1:
        options.error("at least 1 seed")
    return _campaign(range(given.first, given.first + given.seeds), given.processes)


def _replay(seed: int) -> int:
    report = run_seed(seed, verbose=True)
    sys.stdout.write("\n".join(report.lines) + "\n")
    sys.stdout.write(f"{report.failure or 'all invariants hold'}\n{report.digest}\n")
    return int(report.failure is not None)


def _campaign(seeds: range, processes: int | None) -> int:
    campaign = run_seeds(run_seed, seeds, processes=processes, on_report=Progress(len(seeds)))
    happened = sorted(campaign.counts.items(), key=lambda one: (-one[1], one[0]))
    sys.stderr.write(", ".join(f"{kind} {times}" for kind, times in happened) + "\n")
    for report in islice(campaign.failures, SHOWN):
        sys.stderr.write(f"seed {report.seed}: {report.failure}\n  make simulate SEED={report.seed}\n")
    if len(campaign.failures) > SHOWN:
        sys.stderr.write(f"and {len(campaign.failures) - SHOWN} more seeds\n")
    sys.stdout.write(f"{campaign.digest}\n")
    return int(bool(campaign.failures))


if __name__ == "__main__":
    sys.exit(main())
