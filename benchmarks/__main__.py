"""`python -m benchmarks`: measure the product. `python -m benchmarks compare`: measure two systems in turn.

The table goes to stdout, what happens meanwhile to stderr. Ends with 1 when something could not be measured, or when an
acknowledged alert was lost or executed twice; never because of a time.
"""

import asyncio
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson
import uvloop

from benchmarks.compare import compare, ratio_table
from benchmarks.description import PRODUCT, read_system
from benchmarks.errors import BenchmarkError
from benchmarks.report import as_json, as_tables
from benchmarks.runtime import suite as runtime_suite
from benchmarks.suite import Plan, Section, measure
from benchmarks.system import AttachedSystem, CommandSystem, System
from benchmarks.target import Match, Target
from trendedge.storage.embedded import EmbeddedFault
from trendedge.storage.errors import StoreUnavailable

QUICK = Plan(seconds=3.0, read_seconds=2.0, events=10, warm_up_alerts=40, starts=1)


def numbers(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Comma-separated positive numbers; click's callback."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter("numbers, with commas between them") from error
    if not all(value > 0 for value in values):
        raise click.BadParameter("every number has to be above 0")
    return values


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what is measured."""
    options = (
        click.option(
            "--only",
            multiple=True,
            type=click.Choice([section.value for section in Section]),
            help="Only these sections.",
        ),
        click.option("--rates", callback=numbers, help="Alerts a second, such as 20,50."),
        click.option("--sockets", callback=numbers, help="Sizes of the fan-out, such as 100,1000."),
        click.option("--seconds", type=click.FloatRange(0.5, 300), help="Length of each load."),
        click.option("--ceiling", type=click.FloatRange(200, 20_000), help="Highest rate that is searched."),
        click.option("--quick", is_flag=True, help="A smoke test: everything, but short."),
        click.option("--json", "json_file", type=click.Path(path_type=Path), help="Everything, as JSON."),
    )
    for option in options:
        command = option(command)
    return command


def make_plan(
    *,
    only: tuple[str, ...],
    rates: tuple[float, ...] | None,
    sockets: tuple[float, ...] | None,
    seconds: float | None,
    ceiling: float | None,
    quick: bool,
) -> Plan:
    """The default plan, or the quick one, with what the options change."""
    plan = QUICK if quick else Plan()
    search = replace(plan.search, ceiling=ceiling or plan.search.ceiling)
    if quick:
        search = replace(search, seconds=2.0, resolution=0.25)
    return replace(
        plan,
        sections=frozenset(map(Section, only)) or plan.sections,
        rates=rates or plan.rates,
        sockets=tuple(map(int, sockets)) if sockets else plan.sockets,
        seconds=seconds or plan.seconds,
        search=search,
    )


@click.group()
def commands() -> None:
    """Load the product, or another implementation of its URLs, and print what came of it."""


@commands.command()
@plan_options
@click.option("--rival-cmd", help="Start this shell command instead of the product. Needs --base.")
@click.option("--base", help="Load the server at this URL; without --rival-cmd it runs already.")
@click.option("--api-key", default="", envvar="BENCH_API_KEY", help="Webhook key of the user, with --base.")
@click.option("--jwt", default="", envvar="BENCH_JWT", help="Token of the same user, with --base.")
@click.option(
    "--match", type=click.Choice([match.value for match in Match]), help="Field of an event that names its alert."
)
def run(
    *,
    rival_cmd: str | None,
    base: str | None,
    api_key: str,
    jwt: str,
    match: str | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Measure one system: the product, unless another is named."""
    plan = make_plan(**options)
    with tempfile.TemporaryDirectory(prefix="trendedge-bench-") as scratch:
        if base is None:
            if rival_cmd is not None:
                raise click.UsageError("--rival-cmd needs --base, --api-key and --jwt")
            system = read_system(PRODUCT, scratch=Path(scratch))
        else:
            field = Match(match) if match else Match.SIGNAL_ID if rival_cmd is None else Match.ALERT_ID
            target = Target(base=base.rstrip("/"), api_key=api_key, jwt=jwt, match=field)
            system = _other(target, rival_cmd, scratch=Path(scratch))
        report = _complete(partial(measure, system, plan))
    click.echo(as_tables(report))
    if json_file is not None:
        json_file.write_bytes(as_json(report))
    _end(report.problems)


def _other(target: Target, command: str | None, *, scratch: Path) -> System:
    if command is None:
        return AttachedSystem(name=target.base, target=target)
    return CommandSystem(name=command, command=command, target=target, directory=Path.cwd(), log=scratch / "rival.log")


@commands.command("compare")
@plan_options
@click.option("--a", default=PRODUCT, show_default=True, help="`product`, or a TOML file that describes a system.")
@click.option("--b", required=True, help="Likewise.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20))
def compare_(*, a: str, b: str, rounds: int, json_file: Path | None, **options: Any) -> None:
    """Measure A and B in turn and print the ratios: A B A B."""
    plan = make_plan(**options)
    with tempfile.TemporaryDirectory(prefix="trendedge-bench-") as scratch:
        systems = [read_system(text, scratch=Path(scratch) / name) for text, name in ((a, "a"), (b, "b"))]
        comparison = _complete(partial(compare, *systems, rounds=rounds, plan=plan))
    click.echo(ratio_table(comparison))
    if json_file is not None:
        json_file.write_bytes(orjson.dumps(comparison, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    _end(comparison.problems)


@commands.command("runtime")
@click.option("--rounds", type=click.IntRange(1, 20), help="Rounds; 3 unless --quick.")
@click.option("--quick", is_flag=True, help="A smoke test: everything, but short.")
@click.option(
    "--peers-python",
    "pythons",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python that has some of the other libraries: they are measured beside ours. Can be given several times.",
)
def runtime_(*, rounds: int | None, quick: bool, pythons: tuple[Path, ...]) -> None:
    """Measure the runtime by itself: messages, durable messages, idle actors."""
    counts = runtime_suite.QUICK if quick else runtime_suite.Counts()
    counts = replace(counts, rounds=rounds or counts.rounds)
    with tempfile.TemporaryDirectory(prefix="trendedge-bench-") as scratch:
        findings = _complete(partial(runtime_suite.measure, counts, pythons, Path(scratch)))
    click.echo(runtime_suite.tables(findings))
    _end(findings.problems)


def _complete[T](work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it to its end. SIGTERM cancels it as SIGINT does, so that no server is left behind."""

    async def supervised() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        return await work()

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(supervised())
    except (asyncio.CancelledError, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except (BenchmarkError, EmbeddedFault, StoreUnavailable, OSError) as error:
        raise click.ClickException(f"could not measure: {error or type(error).__name__}") from error


def _end(problems: list[str]) -> None:
    for problem in problems:
        click.echo(f"PROBLEM {problem}", err=True)
    if problems:
        sys.exit(1)


def main() -> None:
    """Run the command line; without a command, `run`."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] != "--help"):
        arguments = ["run", *arguments]
    commands(arguments, prog_name="python -m benchmarks")


if __name__ == "__main__":
    main()
