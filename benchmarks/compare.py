"""Two systems, measured in turn: A B A B. What counts is the ratio within a round, because a machine's speed drifts."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.progress import show
from benchmarks.report import figures
from benchmarks.suite import Plan, Report, measure
from benchmarks.system import System
from benchmarks.table import render


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The reports of both systems, round by round."""

    rounds: tuple[tuple[Report, Report], ...]

    @property
    def problems(self) -> list[str]:
        reports = (report for pair in self.rounds for report in pair)
        return [f"{report.system}: {problem}" for report in reports for problem in report.problems]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One figure of A over the same figure of B, for each round in which both have it."""

    figure: str
    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(a / b for a, b in zip(self.a, self.b, strict=True))


async def compare(a: System, b: System, *, rounds: int, plan: Plan) -> Comparison:
    """Measure A, then B, `rounds` times. Never both at once.

    :raises BenchmarkError: one of them could not be measured
    """
    pairs: list[tuple[Report, Report]] = []
    for number in range(1, rounds + 1):
        show(f"round {number} of {rounds}: {a.name}")
        of_a = await measure(a, plan)
        show(f"round {number} of {rounds}: {b.name}")
        pairs.append((of_a, await measure(b, plan)))
    return Comparison(rounds=tuple(pairs))


def ratios(comparison: Comparison) -> list[Ratio]:
    """The figures that both systems have, in the order of A's first report. A zero of B gives no ratio."""
    pairs = [(figures(a), figures(b)) for a, b in comparison.rounds]
    found: list[Ratio] = []
    for figure in dict.fromkeys(name for of_a, _ in pairs for name in of_a):
        both = [(of_a[figure], of_b[figure]) for of_a, of_b in pairs if figure in of_a and of_b.get(figure)]
        if both:
            values_a, values_b = zip(*both, strict=True)
            found.append(Ratio(figure=figure, a=values_a, b=values_b))
    return found


def ratio_table(comparison: Comparison) -> str:
    """A over B: the medians of both, the ratio of each round, and the ratios' minimum, median and maximum."""
    a, b = comparison.rounds[0]
    rounds = tuple(f"round {number}" for number in range(1, len(comparison.rounds) + 1))
    header = ("", a.system, b.system, *rounds, "min", "median", "max")
    rows = [_row(ratio, len(rounds)) for ratio in ratios(comparison)]
    return render(f"{a.system} over {b.system}", header, rows)


def _row(ratio: Ratio, rounds: int) -> Sequence[str | float | None]:
    values = ratio.values
    missing = (None,) * (rounds - len(values))
    spread = (min(values), median(values), max(values))
    return (ratio.figure, median(ratio.a), median(ratio.b), *values, *missing, *spread)
